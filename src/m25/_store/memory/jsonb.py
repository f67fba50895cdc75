"""JSON as PostgreSQL keeps it: what a `jsonb` column refuses, and what it gives back."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Final, cast

import psycopg

#: A string, or a number with an exponent.
_STRING_OR_NUMBER: Final = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?[eE][+-]?\d+')
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
#: How many digits PostgreSQL's numbers have, before the point and after it.
_MOST_DIGITS: Final = 131_072
_MOST_DECIMALS: Final = 16_383


def as_jsonb(text: str) -> str:
    """JSON as a `jsonb` column gives it back, as far as a reader can tell.

    Its numbers are decimal and have no exponent, so that 1e300 comes back as an integer.

    Raises:
        psycopg.DataError: a `jsonb` column would not take it.
    """
    try:
        value = json.loads(text, parse_int=str, parse_constant=_refuse_constant)
        if "\\u" in text:
            if _NUL.search(text):
                raise ValueError("\\u0000 cannot be converted to text")
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate cannot be encoded
        return _STRING_OR_NUMBER.sub(_without_exponent, text)
    except ValueError as error:
        raise psycopg.DataError(f"invalid JSON: {error}") from error
    except RecursionError:
        # Deeper than Python's parser goes, though not too deep for the database's.
        return text


def optional_jsonb(text: str | None) -> str | None:
    """The same, of JSON that may be missing."""
    return None if text is None else as_jsonb(text)


def is_same_jsonb(one: str, other: str) -> bool:
    """Whether PostgreSQL calls two `jsonb` values equal: whatever the order of their keys, and how
    their numbers are written.
    """
    if one == other:
        return True
    try:
        return _comparable(one) == _comparable(other)
    except RecursionError:
        return False


def _comparable(text: str) -> object:
    value = json.loads(text, parse_int=Decimal, parse_float=Decimal)
    return _told_apart(value)


def _told_apart(value: object) -> object:
    """The same, in which true is not one."""
    if isinstance(value, bool):
        return str(value), bool
    if isinstance(value, dict):
        return {key: _told_apart(each) for key, each in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_told_apart(each) for each in cast("list[object]", value)]
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _without_exponent(match: re.Match[str]) -> str:
    if match[0].startswith('"'):
        return match[0]
    number = Decimal(match[0])
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    if number.adjusted() >= _MOST_DIGITS or -exponent > _MOST_DECIMALS:
        raise ValueError(f"the number {match[0]} is out of range")
    return f"{number:f}"
