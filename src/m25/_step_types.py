"""What the function of a step takes and returns, by its annotations.

They say how its result is kept as JSON, and how what it is given becomes a fingerprint, by which a
step that is given something else in a later attempt is found.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import attrs

from ._codec import Codec, value_codec
from ._errors import InvalidQueue, UsageError
from ._signature import described, function_of, hints_of, names_around

#: In hexadecimal digits, of four bits each: that two differ by more than chance is enough.
_LENGTH: Final = 32


@attrs.frozen
class StepTypes:
    """One for each function."""

    #: The function and its place, for messages.
    described: str
    result: Codec[Any]
    #: For each positional parameter.
    parameters: Sequence[Codec[Any]]
    #: For each further argument, where the function takes any number.
    rest: Codec[Any]

    def fingerprint(self, name: str, args: Sequence[Any]) -> str:
        """A digest of what a step is given: the same for equal arguments.

        Raises:
            UsageError: an argument cannot be written as JSON.
        """
        plain: list[Any] = []
        for number, value in enumerate(args):
            codec = self.parameters[number] if number < len(self.parameters) else self.rest
            try:
                plain.append(json.loads(codec.encode(value, f"argument {number + 1}")))
            except ValueError as error:
                raise UsageError(
                    f"step {name!r}: what it is given is remembered, so that a later attempt which"
                    f" gives it something else is found, and {error}; bind what is no value, a"
                    f" client or a file, by functools.partial or in a closure: that is not looked"
                    f" at. Its function is {self.described}"
                ) from error
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


class StepFunctions:
    """The types of functions, remembered as long as the functions are there.

    Args:
        given: how many arguments each is given before those of its caller.
    """

    def __init__(self, given: int = 0) -> None:
        self._given = given
        self._known = WeakKeyDictionary[Any, StepTypes]()

    def types_of(self, name: str, function: Callable[..., Any]) -> StepTypes:
        """The types of a step's function; to be called before anything is awaited.

        Raises:
            UsageError: it is no `async def`, or does not say what it takes and returns.
        """
        # What is bound by a partial takes places of its parameters, so it is no key by itself.
        key: Any = function if inspect.isfunction(function) else None
        if key in self._known:
            return self._known[key]
        try:
            types = self._read(function)
        except InvalidQueue as error:
            raise UsageError(f"step {name!r}: {error}") from error
        if key is not None:
            self._known[key] = types
        return types

    def _read(self, function: Callable[..., Any]) -> StepTypes:
        place = described(function)
        unwrapped = inspect.unwrap(function_of(function))
        if inspect.isroutine(unwrapped) and not inspect.iscoroutinefunction(unwrapped):
            raise InvalidQueue(f"its function must be an `async def`, and {place} is none")
        names: dict[str, Any] = {}
        try:
            hints = hints_of(function, names)
        except InvalidQueue:
            # Of a function that was made in another one: it may use the names there.
            names = names_around(function)
            hints = hints_of(function, names, "the function")
        if "return" not in hints:
            raise InvalidQueue(
                f"{place} needs a return annotation, which says how its result is kept as JSON"
            )
        positional: list[Codec[Any]] = []
        rest = value_codec(Any, "an argument")
        for parameter in inspect.signature(function).parameters.values():
            kind = hints.get(parameter.name, Any)
            if parameter.kind is parameter.VAR_POSITIONAL:
                rest = self._parameter(kind, place, names)
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                if len(positional) < self._given:
                    positional.append(rest)
                else:
                    positional.append(self._parameter(kind, place, names))
        result = value_codec(hints["return"], f"the result of {place}", names)
        return StepTypes(place, result, positional[self._given :], rest)

    def _parameter(self, kind: Any, place: str, names: dict[str, Any]) -> Codec[Any]:
        return value_codec(kind, f"a parameter of {place}", names)
