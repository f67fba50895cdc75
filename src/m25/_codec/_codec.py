"""A codec: both ways between a value and its JSON text."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs

from .._errors import ValueRefused
from ._refusal import Refusal, Undecodable, reason_of
from ._text import find_fault, from_text, to_text

T = TypeVar("T")


@attrs.frozen
class Codec(Generic[T]):
    """Turns values into JSON text and back.

    `to_json` and `decoder` work on plain JSON values: what `json.loads` returns. Where the two are
    the fast ones of a type, `trace_to_json` and `trace_decoder` do the same slowly, and find out
    where in the value the fault is.
    """

    to_json: Callable[[T], Any]
    decoder: Callable[[Any], T]
    trace_to_json: Callable[[T], Any] | None = attrs.field(default=None, repr=False)
    trace_decoder: Callable[[Any], T] | None = attrs.field(default=None, repr=False)
    #: The type says how deeply its values are nested.
    bounded: bool = attrs.field(default=False, repr=False)
    #: The type runs code of its user's in making a value, which may make another than it was.
    prove: bool = attrs.field(default=False, repr=False)
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
            text = to_text(plain, bounded=self.bounded)
            # A character takes four bytes at most.
            if len(text) * 4 > self.size_limit:
                self._weigh(text)
            return text
        except Exception as error:
            refusal = self._trace(error, self.trace_to_json, value, then=find_fault)
            raise ValueRefused(what, refusal.place, refusal.reason) from error

    def decode(self, text: str | bytes) -> T:
        """Read a value from JSON text.

        Raises:
            Undecodable: it is not that of a value of this type.
        """
        try:
            plain = from_text(text)
        except Refusal as error:
            raise Undecodable(error.place, error.reason) from error
        try:
            return self.decoder(plain)
        except Exception as error:
            refusal = self._trace(error, self.trace_decoder, plain)
            raise Undecodable(refusal.place, refusal.reason) from error

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

    @staticmethod
    def _trace(
        error: Exception,
        trace: Callable[[Any], Any] | None,
        value: Any,
        *,
        then: Callable[[Any], None] | None = None,
    ) -> Refusal:
        """The refusal behind an error, with the path where that can be found out."""
        if trace is not None:
            try:
                found = trace(value)
                if then is not None:
                    then(found)
            except Refusal as refusal:
                return refusal
            except Exception as other:  # noqa: BLE001 - a type's own code may raise anything
                error = other
        return error if isinstance(error, Refusal) else Refusal(reason_of(error))
