"""Both directions of the types that have no parts.

Each is made for a place: what it refuses, it refuses with that place as the path.
"""

# ruff: noqa: BLE001 - what is caught is raised again, with its place

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import PurePath
from types import NoneType
from typing import Any, Final, NoReturn, TypeAlias
from uuid import UUID

from .._ids import JobId
from .._timestamps import duration_from_text, duration_to_text
from .refusal import Refusal, described, reraise
from .text import check_digits, float_from_int, untyped, untyped_float

#: One direction of one type, for one place. The second argument is cattrs' own, and ignored.
Hook: TypeAlias = Callable[..., Any]
#: Makes the hook of a place.
Make: TypeAlias = Callable[[str], Hook]

#: The integers up to here have a float each.
_EXACT: Final = 2**53
_FRACTION: Final = re.compile(r"-?\d+(/\d+)?", re.ASCII)


def _exactly(kind: type, what: str) -> tuple[Make, Make]:
    def make(place: str) -> Hook:
        def refusal(value: Any) -> Refusal:
            return Refusal(f"must be {what}, not {described(value)}", place)

        def check(value: Any, _: Any = None) -> Any:
            if value.__class__ is not kind:
                raise refusal(value)
            return value

        return check

    return make, make


def _none(place: str) -> Hook:
    def check(value: Any, _: Any = None) -> None:
        if value is not None:
            raise Refusal(f"must be None, not {described(value)}", place)

    return check


def never(place: str) -> Hook:
    """Either direction of what does not return."""

    def refuse(value: Any, _: Any = None) -> NoReturn:
        raise Refusal(f"there must be no value, and there is one: {described(value)}", place)

    return refuse


def _float(place: str) -> Hook:
    def either_way(value: Any, _: Any = None) -> float:
        if value.__class__ is float:
            number: float = value
            if not math.isfinite(number):
                raise Refusal(f"{number} is not a JSON number", place)
            return number
        if value.__class__ is not int:
            raise Refusal(f"must be a float, not {described(value)}", place)
        if -_EXACT <= value <= _EXACT:
            return float(value)
        try:
            return float_from_int(value)
        except Refusal as refusal:
            reraise(refusal, place)

    return either_way


def float_beside_int(place: str) -> Hook:
    """From a float to JSON, where nothing says that it was one and no int."""

    def to_json(value: float) -> float | int:
        try:
            return untyped_float(value)
        except Refusal as refusal:
            reraise(refusal, place)

    return to_json


def _any(place: str) -> Hook:
    def either_way(value: Any, _: Any = None) -> Any:
        try:
            return untyped(value)
        except Exception as error:
            reraise(error, place)

    return either_way


def _as_text(
    kind: type,
    to_text: Callable[[Any], str],
    from_text: Callable[[str], Any],
    *,
    also: type | None = None,
) -> tuple[Make, Make]:
    what = _what(kind)
    kinds = (kind, also or kind)

    def encoder(place: str) -> Hook:
        def to_json(value: Any, _: Any = None) -> str:
            if value.__class__ not in kinds:
                raise Refusal(f"must be {what}, not {described(value)}", place)
            try:
                return to_text(value)
            except Exception as error:
                reraise(error, place)

        return to_json

    return encoder, _from_text(kind, from_text)


def _from_text(kind: type, from_text: Callable[[str], Any]) -> Make:
    what = _what(kind)

    def decoder(place: str) -> Hook:
        def from_json(value: Any, _: Any = None) -> Any:
            if value.__class__ is not str:
                raise Refusal(f"must be {what} as a string, not {described(value)}", place)
            try:
                return from_text(value)
            except (ValueError, ArithmeticError):
                pass  # Some of these print the value: none becomes the refusal's context.
            except Exception as error:
                reraise(error, place)
            raise Refusal(f"must be {what} as a string, and this string is none", place)

        return from_json

    return decoder


def _what(kind: type) -> str:
    name = kind.__name__
    return f"an {name}" if name.startswith("I") else f"a {name}"


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
        raise Refusal("is a datetime without a time zone")
    return value.astimezone(UTC)


def _time_to_text(value: time) -> str:
    # The offset of a zone whose clocks are changed depends on the date.
    if value.tzinfo is not None and value.utcoffset() is None:
        raise Refusal("has a time zone, and without a date no offset from UTC")
    return value.isoformat()


def _decimal_to_text(value: Decimal) -> str:
    if not value.is_finite():
        raise Refusal("is not a finite number")
    return str(value)


def _decimal_from_text(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise Refusal("is not a finite number")
    return value


def _fraction_to_text(value: Fraction) -> str:
    check_digits(value.numerator)
    check_digits(value.denominator)
    return str(value)


def _fraction_from_text(text: str) -> Fraction:
    # `Fraction` reads "1e999999999" too, for as long as that takes.
    if _FRACTION.fullmatch(text) is None:
        raise ValueError
    return Fraction(text)


def _bytes_from_text(text: str) -> bytes:
    return base64.b64decode(text.encode(), validate=True)


def _bytes_to_text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def path(kind: type[PurePath]) -> tuple[Make, Make]:
    """Both directions of a class of paths.

    Raises:
        NotImplementedError: it is that of another system.
    """
    made = type(kind())

    def encoder(place: str) -> Hook:
        def to_json(value: Any, _: Any = None) -> str:
            # The class of this system comes back: equal to what went in, or it may not go in.
            if value.__class__ is not made and not (
                isinstance(value, kind) and made(value) == value
            ):
                raise Refusal(f"must be a {kind.__name__}, not {described(value)}", place)
            return str(value)

        return to_json

    return encoder, _from_text(kind, kind)


#: By type: what makes its hook to JSON, and what makes its hook from JSON.
LEAVES: Final[dict[Any, tuple[Make, Make]]] = {
    Any: (_any, _any),
    object: (_any, _any),
    NoneType: (_none, _none),
    str: _exactly(str, "a string"),
    int: _exactly(int, "a whole number"),
    bool: _exactly(bool, "a truth value"),
    float: (_float, _float),
    datetime: _as_text(datetime, _datetime_to_text, _datetime_from_text),
    date: _as_text(date, date.isoformat, date.fromisoformat),
    time: _as_text(time, _time_to_text, time.fromisoformat),
    timedelta: _as_text(timedelta, duration_to_text, duration_from_text),
    Fraction: _as_text(Fraction, _fraction_to_text, _fraction_from_text),
    # A job's id comes back as a plain UUID, equal to what went in.
    UUID: _as_text(UUID, str, UUID, also=JobId),
    JobId: _as_text(JobId, str, JobId),
    IPv4Address: _as_text(IPv4Address, str, IPv4Address),
    IPv6Address: _as_text(IPv6Address, str, IPv6Address),
    IPv4Network: _as_text(IPv4Network, str, IPv4Network),
    IPv6Network: _as_text(IPv6Network, str, IPv6Network),
    IPv4Interface: _as_text(IPv4Interface, str, IPv4Interface),
    IPv6Interface: _as_text(IPv6Interface, str, IPv6Interface),
    Decimal: _as_text(Decimal, _decimal_to_text, _decimal_from_text),
    bytes: _as_text(bytes, _bytes_to_text, _bytes_from_text),
}


def is_leaf(kind: Any) -> bool:
    """Whether a type is one of these."""
    return isinstance(kind, type) and kind in LEAVES
