"""A queue's handler in a process of its own: both ends of what goes to and fro.

Nothing is pickled: a pickled exception may lose its fields or its class. The process imports the
queue by name. It is sent the input as the database has it, as JSON text, and answers with JSON:

    {"output": "…"}                        the output, as JSON text
    {"error": "…"}                         a declared error, as the queue's codec writes it
    {"crash": ["type", "message", "…"]}    anything else that was raised; with the traceback
    {"undecodable": ["path", "reason", false]}   the input is not of the handler's type; whether
                                           newer workers may know it
    {"refused": ["path", "reason"]}        the output cannot be kept

With "request", what the handler has asked for by raising it, beside the error or the crash:

    {"crash": […], "request": ["RetryAfter", 30.0, {"whole_rate": false}]}
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, Final

import attrs

from ._codec import Codec, Undecodable
from ._crash import describe_crash
from ._errors import InvalidQueue, RaisedInProcess, ValueRefused
from ._handler import Handler, kept_of, request_of
from ._handler_errors import GiveUp, Request, RetryAfter, Snooze
from ._processes import MARK, ProcessPool, Target
from ._queue import Queue


class UndecodedElsewhere(Undecodable):
    """The process could not decode the input."""


class AskedElsewhere(RaisedInProcess):
    """A `GiveUp` or `RetryAfter` as it was raised in the process, from nothing else."""


def reference_of(queue: Queue[Any, Any, Any]) -> tuple[str, str]:
    """The module and the name by which a process can import a queue.

    Raises:
        InvalidQueue: there is none, or it cannot run here.
    """
    if sys.platform == "win32":
        raise InvalidQueue(f'queue {queue.name!r:.80}: runs="process" does not work on Windows')
    if MARK in os.environ:
        raise InvalidQueue(
            f"queue {queue.name!r:.80}: this is a process that runs handlers, and it runs the "
            'program again as it imports it; start the program below `if __name__ == "__main__":`'
        )
    home = getattr(queue.handler_function, "__module__", None)
    # The handler's own module first, and the main module last: to import that is to run it.
    for module in sorted(sys.modules, key=lambda name: (name != home, name == "__main__")):
        names = getattr(sys.modules[module], "__dict__", {})
        for name, value in tuple(names.items()):
            if value is queue:
                return module, name
    raise InvalidQueue(
        f'queue {queue.name!r:.80}: with runs="process" its process imports it by name, and it is '
        "at the top of no module; declare it there, not inside a function"
    )


# In the process


def serve(module: str, name: str) -> Callable[[str], str]:
    """Import a queue, and return the function from an input to an answer."""
    handler: Handler[Any, Any, Any] = getattr(import_module(module), name).handler
    return lambda text: json.dumps(_answer(handler, text))


def _answer(handler: Handler[Any, Any, Any], text: str) -> dict[str, Any]:
    call: Callable[[Any], Any] = handler.function
    try:
        value = handler.decode_input(text)
    except Undecodable as error:
        return {"undecodable": [error.path, error.reason, error.is_newer]}
    try:
        output = call(value)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is this attempt's
        return _raised(handler, error)
    try:
        return {"output": handler.encode_output(output)}
    except ValueRefused as refused:
        return {"refused": [refused.path, refused.reason]}


def _raised(handler: Handler[Any, Any, Any], error: BaseException) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if (request := request_of(error)) is not None:
        told = str(request) if isinstance(request, GiveUp) else request.delay.total_seconds()
        # A subclass is known here alone: the program is told what it asks for.
        name = next(name for name, cls in _REQUESTS.items() if isinstance(request, cls))
        options = {"whole_rate": request.whole_rate} if isinstance(request, RetryAfter) else {}
        asked = {"request": [name, told, options]}
    kept = kept_of(error, request)
    declared = handler.declared(kept)
    if declared is not None:
        try:
            return {"error": handler.encode_error(declared), **asked}
        except ValueRefused as refused:
            # Its traceback has the declared error's, too: the place where it was raised says more.
            refused.__cause__ = declared
            return {"crash": describe_crash(refused), **asked}
    kind = "asked" if kept is request else "crash"
    return {kind: describe_crash(kept, is_cause=kept is not error), **asked}


# In the program


@attrs.frozen
class _AsText(Codec[Any]):
    """Takes what goes to the process, and what comes from it, as it is."""

    def encode(self, value: Any, what: str) -> str:  # noqa: ARG002 - the codec's signature
        if isinstance(value, ValueRefused):
            raise value
        text: str = value
        return text

    def decode(self, text: str | bytes) -> Any:
        return text


_REQUESTS: Final[dict[str, type[Request]]] = {
    cls.__name__: cls for cls in (RetryAfter, GiveUp, Snooze)
}
_AS_TEXT: Final = _AsText(str, str)


def processes_for(queue: Queue[Any, Any, Any]) -> ProcessPool:
    """The processes of a queue, not opened yet.

    Raises:
        InvalidQueue: as `reference_of` does.
    """
    module, name = reference_of(queue)
    target = Target(__name__, serve.__name__, (module, name), needs_main=module == "__main__")
    return ProcessPool(target, queue.max_concurrency)


def remote_handler(
    handler: Handler[Any, Any, Any], call: Callable[[str], Awaitable[str]]
) -> Handler[Any, Any, Any]:
    """The handler as it is called here: with text, which goes to a process by `call`."""

    async def function(text: str) -> Any:
        return _read(handler, json.loads(await call(text)))

    return attrs.evolve(handler, function=function, input_codec=_AS_TEXT, output_codec=_AS_TEXT)


def _read(handler: Handler[Any, Any, Any], answer: dict[str, Any]) -> Any:
    """What a handler returned: text, or the reason why that cannot be kept.

    Raises:
        Exception: the declared error that it raised.
        RetryAfter, GiveUp, Snooze: what it has asked for; the cause is what is kept.
        RaisedInProcess: anything else that it raised.
        UndecodedElsewhere: the input is not of the handler's type.
    """
    if request := answer.pop("request", None):
        name, asked, options = request
        try:
            _read(handler, answer)
        except Exception as cause:
            raise _REQUESTS[name](asked, **options) from cause
    ((kind, told),) = answer.items()
    match kind:
        case "output":
            return told
        case "refused":
            return ValueRefused("output", *told)
        case "error":
            raise handler.error_codec.decode(told)
        case "undecodable":
            raise UndecodedElsewhere(*told)
        case "asked":
            raise AskedElsewhere(*told)
        case _:
            raise RaisedInProcess(*told)
