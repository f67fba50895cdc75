"""The signature of a handler: a function, however it is wrapped, bound, or made.

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
from typing import Any, Final, NamedTuple

from ._errors import InvalidQueue

#: Modules through which a queue is declared, or a step is called: the place where that is written
#: is in whatever calls them.
_OURS: Final = (
    __name__,
    "m25._queue",
    "m25._declare",
    "m25._decorator",
    "m25._running_job",
    "m25._steps",
    "m25._step_types",
    "contextlib",
)


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


def hints_of(handler: Any, names: Mapping[str, Any], what: str = "the handler") -> dict[str, Any]:
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
            f"an annotation of {what} {described(handler)} cannot be resolved: {error}; "
            "declare the type at the top of its module"
        ) from error


def is_required(parameter: inspect.Parameter) -> bool:
    """Whether a call must bring an argument for this parameter."""
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )


class Arguments(NamedTuple):
    """With which arguments a handler is called, beside its input, which is the first."""

    #: The name of its parameter for the input.
    input: str
    #: What setup yields is given as `resource=`; else, if there is a setup, as the second argument.
    resource_by_name: bool = False
    #: What lifespan yields is given as `shared=`.
    shared: bool = False


def arguments_of(
    handler: Any, *, has_setup: bool, has_lifespan: bool, is_transactional: bool = False
) -> Arguments:
    """Check that a handler takes what it will be called with, and asks for nothing else.

    Raises:
        InvalidQueue: the handler cannot be called with these arguments.
    """
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError) as error:
        raise InvalidQueue(
            f"the handler {described(handler)} does not say what arguments it takes"
        ) from error
    placed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [each.name for each in parameters if each.kind in placed]
    named = [
        each.name
        for each in parameters
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    ]
    given = ["input"]
    filled = places[:1]
    fits = bool(places)
    shared = has_lifespan and "shared" in named and filled != ["shared"]
    by_name = {"shared"} if shared else set[str]()
    if is_transactional:
        if "connection" not in named or filled == ["connection"]:
            raise InvalidQueue(
                f"the handler {described(handler)} of a transactional queue is given the connection"
                " of its transaction by name, and has no parameter `connection`: write"
                " `*, connection: m25.pg.AsyncConnection` behind its input"
            )
        by_name.add("connection")
    resource_by_name = False
    if has_setup:
        # A second parameter is the resource, whatever its name, but for what comes from lifespan.
        second = [name for name in places[1:2] if name not in by_name]
        resource_by_name = not second and "resource" in named
        rest = len(places) == 1 and any(each.kind is each.VAR_POSITIONAL for each in parameters)
        fits = fits and (bool(second) or resource_by_name or rest)
        given.append("what setup yields")
        filled += ["resource"] if resource_by_name else second
    given += sorted(by_name)
    filled += by_name
    if not fits or any(is_required(each) for each in parameters if each.name not in filled):
        count = f"{len(given)} argument{'s' if len(given) > 1 else ''}"
        raise InvalidQueue(
            f"the handler {described(handler)} is called with {count} ({', '.join(given)}), and "
            f"takes ({', '.join(each.name for each in parameters)}); beside its input it can take "
            "`resource`, which setup yields, and `shared`, which lifespan yields, where its queue "
            "has them, and `connection`, where its queue is transactional"
        )
    return Arguments(places[0], resource_by_name, shared)
