"""Both directions of the types that have no parts.

Each function takes the value, and ignores the second argument, which is cattrs' own.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import PurePath
from typing import Any, Final, NoReturn, TypeAlias
from uuid import UUID

from .._timestamps import duration_from_text, duration_to_text
from ._refusal import Refusal, shown
from ._text import float_from_int

#: One direction of one type.
Hook: TypeAlias = Callable[..., Any]

#: The integers up to here have a float each.
_EXACT: Final = 2**53


def described(value: object) -> str:
    """What a value is, without saying what is in it."""
    return "None" if value is None else value.__class__.__name__


def _exactly(kind: type, what: str) -> tuple[Hook, Hook]:
    def check(value: Any, _: Any = None) -> Any:
        if value.__class__ is not kind:
            raise Refusal(f"must be {what}, not {described(value)}")
        return value

    return check, check


def none(value: Any, _: Any = None) -> None:
    """Both directions of `None`."""
    if value is not None:
        raise Refusal(f"must be None, not {described(value)}")


def never(value: Any, _: Any = None) -> NoReturn:
    """Both directions of what does not return."""
    raise Refusal(f"there must be no value, and there is one: {described(value)}")


def _float(value: Any, _: Any = None) -> float:
    if value.__class__ is float:
        number: float = value
        if not math.isfinite(number):
            raise Refusal(f"{number} is not a JSON number")
        return number
    if value.__class__ is not int:
        raise Refusal(f"must be a float, not {described(value)}")
    return float(value) if -_EXACT <= value <= _EXACT else float_from_int(value)


def _as_text(
    kind: type, to_text: Callable[[Any], str], from_text: Callable[[str], Any]
) -> tuple[Hook, Hook]:
    def to_json(value: Any, _: Any = None) -> str:
        if value.__class__ is not kind:
            raise Refusal(f"must be a {kind.__name__}, not {described(value)}")
        return to_text(value)

    def decoder(value: Any, _: Any = None) -> Any:
        if value.__class__ is not str:
            raise Refusal(f"must be a {kind.__name__} as a string, not {described(value)}")
        try:
            return from_text(value)
        except (ValueError, OverflowError, InvalidOperation) as error:
            raise Refusal(f"{shown(value)} is not a {kind.__name__}") from error

    return to_json, decoder


def _datetime_to_text(value: datetime) -> str:
    if value.utcoffset() is None:
        raise Refusal("must be aware of its time zone, as datetime.now(UTC) is")
    try:
        return value.astimezone(UTC).isoformat()
    except OverflowError as error:
        raise Refusal("lies outside the years 1 to 9999 in UTC") from error


def _datetime_from_text(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    if value.utcoffset() is None:
        raise Refusal(f"{shown(text)} has no time zone")
    return value.astimezone(UTC)


def _time_to_text(value: time) -> str:
    # The offset of a zone whose clocks are changed depends on the date.
    if value.tzinfo is not None and value.utcoffset() is None:
        raise Refusal("has a time zone, and without a date no offset from UTC")
    return value.isoformat()


def _decimal_to_text(value: Decimal) -> str:
    if not value.is_finite():
        raise Refusal(f"{value} is not a number")
    return str(value)


def _decimal_from_text(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise Refusal(f"{shown(text)} is not a number")
    return value


def _bytes_from_text(text: str) -> bytes:
    return base64.b64decode(text.encode(), validate=True)


def _bytes_to_text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def path(kind: type[PurePath]) -> tuple[Hook, Hook]:
    """Both directions of a class of paths.

    Raises:
        NotImplementedError: it is that of another system.
    """
    made = type(kind())
    _, decoder = _as_text(kind, str, kind)

    def to_json(value: Any, _: Any = None) -> str:
        # What comes back is the class of this system: equal to what went in, or it may not.
        if value.__class__ is not made and not (isinstance(value, kind) and made(value) == value):
            raise Refusal(f"must be a {kind.__name__}, not {described(value)}")
        return str(value)

    return to_json, decoder


SCALARS: Final[dict[Any, tuple[Hook, Hook]]] = {
    str: _exactly(str, "a string"),
    int: _exactly(int, "a whole number"),
    bool: _exactly(bool, "a truth value"),
    float: (_float, _float),
    datetime: _as_text(datetime, _datetime_to_text, _datetime_from_text),
    date: _as_text(date, date.isoformat, date.fromisoformat),
    time: _as_text(time, _time_to_text, time.fromisoformat),
    timedelta: _as_text(timedelta, duration_to_text, duration_from_text),
    UUID: _as_text(UUID, str, UUID),
    Decimal: _as_text(Decimal, _decimal_to_text, _decimal_from_text),
    bytes: _as_text(bytes, _bytes_to_text, _bytes_from_text),
}
