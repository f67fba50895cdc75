"""A codec: both ways between a value and its JSON text."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs

from .._errors import ValueRefused
from .refusal import Refusal, Undecodable, is_newer, place_of, reason_of
from .text import find_fault, from_text, to_text

T = TypeVar("T")


def _find_fault(plain: Any, _value: Any) -> None:
    find_fault(plain)


def _any_schema() -> dict[str, Any]:
    return {"$comment": "what a codec made by hand takes"}


@attrs.frozen
class Codec(Generic[T]):
    """Turns values into JSON text and back.

    `to_json` and `decoder` work on plain JSON values: what `json.loads` returns.
    """

    to_json: Callable[[T], Any]
    decoder: Callable[[Any], T]
    #: Looks in plain JSON, which could not be written, for the fault, and raises a refusal with the
    #: path in the value that the JSON was made of.
    find_fault: Callable[[Any, T], None] = attrs.field(default=_find_fault, repr=False)
    #: The type says how deeply its values are nested.
    bounded: bool = attrs.field(default=False, repr=False)
    #: The type runs code of its user's in making a value, which may make another than it was.
    prove: bool = attrs.field(default=False, repr=False)
    #: Makes the JSON Schema of its values; that of a codec made by hand says nothing of them.
    make_schema: Callable[[], dict[str, Any]] = attrs.field(default=_any_schema, repr=False)
    #: How many bytes the text of a value may have.
    size_limit: float = attrs.field(default=math.inf, repr=False)

    def encode(self, value: T, what: str) -> str:
        """Write a value as JSON text; `what` is its name in an error's message.

        Raises:
            ValueRefused: it cannot be kept as JSON, or would not come back equal.
        """
        try:
            plain = self.to_json(value)
            if self.prove:
                self._prove(plain)
            try:
                text = to_text(plain, bounded=self.bounded)
            except Refusal:
                self.find_fault(plain, value)
                raise
            # A character takes four bytes at most.
            if len(text) * 4 > self.size_limit:
                self._weigh(text)
            return text
        except Exception as error:
            raise ValueRefused(what, place_of(error), reason_of(error)) from error

    def decode(self, text: str | bytes) -> T:
        """Read a value from JSON text.

        Raises:
            Undecodable: it is not that of a value of this type.
        """
        try:
            return self.decoder(from_text(text))
        except Exception as error:
            raise Undecodable(place_of(error), reason_of(error), is_newer(error)) from error

    def _weigh(self, text: str) -> None:
        size = len(text.encode())
        if size > self.size_limit:
            raise Refusal(
                f"takes {size:,} bytes as JSON, more than the queue's size_limit of"
                f" {self.size_limit:,}"
            )

    def _prove(self, plain: Any) -> None:
        try:
            again = self.to_json(self.decoder(plain))
        except Exception as error:
            raise Refusal(f"could not be read again: {reason_of(error)}") from error
        if again != plain:
            raise Refusal("would not come back equal: its class makes another value of its fields")
