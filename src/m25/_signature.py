"""The signature of a handler: an async function, however it is wrapped, bound, or made.

It is read once, when the queue is declared; nothing here is called while jobs run.
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Mapping
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any, Final

from ._errors import InvalidQueue

#: Modules through which a queue is declared: the declaration itself is in whatever calls them.
_OURS: Final = (__name__, "m25._queue", "m25._decorator", "contextlib")


def function_of(handler: Any) -> Any:
    """The function behind a handler; that of a partial, without the partial's arguments."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return handler


def _code(handler: Any) -> CodeType | None:
    function = function_of(handler)
    if not callable(function):
        return None
    function = inspect.unwrap(function)
    if not inspect.isroutine(function):
        # An object with an async `__call__`.
        function = function.__class__.__call__
    return getattr(function, "__code__", None)


def place_of(handler: Any) -> str:
    """The file and line of a handler's code; where it has no code, of its queue's declaration."""
    if (code := _code(handler)) is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    frame = _declaring_frame()
    return "an unknown place" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def described(handler: Any) -> str:
    """Name a handler and the place where it is written."""
    function = function_of(handler)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{name} ({place_of(handler)})"


def _declaring_frame() -> FrameType | None:
    """The frame of the code that declares a queue: the first that is neither ours nor attrs'."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and (
        frame.f_globals.get("__name__") in _OURS
        or frame.f_code.co_filename.startswith("<attrs generated")
    ):
        frame = frame.f_back
    return frame


def names_around(handler: Any) -> dict[str, Any]:
    """The names that a handler's annotations, as strings, may use beside those of its module."""
    names: dict[str, Any] = {}
    # The annotations of a handler inside a function may use the function's local names.
    frame = _declaring_frame()
    while frame is not None and frame.f_code.co_name != "<module>":
        names = {**frame.f_locals, **names}
        frame = frame.f_back if frame.f_back and frame.f_back.f_globals is frame.f_globals else None
    with suppress(TypeError, ValueError):
        names |= inspect.getclosurevars(inspect.unwrap(function_of(handler))).nonlocals
    return names


def hints_of(handler: Any, names: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations of a handler, with the types that they name.

    Raises:
        InvalidQueue: an annotation cannot be evaluated: it uses a name that is not defined, say.
    """
    function = function_of(handler)
    if not inspect.isroutine(function):
        function = type(function).__call__
    function = inspect.unwrap(function)
    try:
        try:
            return typing.get_type_hints(function, include_extras=True)
        except NameError:
            known = getattr(function, "__globals__", {})
            return typing.get_type_hints(function, localns={**known, **names}, include_extras=True)
    except Exception as error:
        raise InvalidQueue(
            f"an annotation of the handler {described(handler)} cannot be resolved: {error}; "
            "declare the type at the top of its module"
        ) from error


def is_required(parameter: inspect.Parameter) -> bool:
    """Whether a call must bring an argument for this parameter."""
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )


def input_parameter(handler: Any, *, has_setup: bool) -> str:
    """Check that a handler takes its input and, with `setup`, what that yields.

    Returns:
        the name of its parameter for the input.

    Raises:
        InvalidQueue: the handler cannot be called with these arguments.
    """
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError) as error:
        raise InvalidQueue(
            f"the handler {described(handler)} does not say what arguments it takes"
        ) from error
    given = ["input", "what setup yields"] if has_setup else ["input"]
    placed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [each for each in parameters if each.kind in placed]
    rest = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    fits = bool(places) and (len(places) >= len(given) or rest)
    others = [each for each in parameters if each not in places[: len(given)]]
    if not fits or any(map(is_required, others)):
        raise InvalidQueue(
            f"the handler {described(handler)} is called with {len(given)} "
            f"argument{'s' if has_setup else ''} ({', '.join(given)}), and takes "
            f"({', '.join(each.name for each in parameters)})"
        )
    return places[0].name
