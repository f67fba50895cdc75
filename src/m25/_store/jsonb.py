"""JSON as PostgreSQL keeps it: what a `jsonb` column refuses, and what it gives back."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Final, cast

import psycopg

#: A string, or a number that is not given back as it is: with an exponent, or a negative zero.
_STRING_OR_NUMBER: Final = re.compile(
    r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?[eE][+-]?\d+|-0(?:\.0+)?(?![.\d])'
)
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
#: How many digits PostgreSQL's numbers have, before the point and after it.
_MOST_DIGITS: Final = 131_072
_MOST_DECIMALS: Final = 16_383


def as_jsonb(text: str) -> str:
    """JSON as a `jsonb` column gives it back, as far as a reader can tell.

    Its numbers are decimal and have no exponent, so that 1e300 comes back as an integer, and -0.0
    as 0.0.

    Raises:
        psycopg.DataError: a `jsonb` column would not take it.
    """
    try:
        value = json.loads(text, parse_int=str, parse_constant=_refuse_constant)
        if "\\u" in text:
            if _NUL.search(text):
                raise ValueError("\\u0000 cannot be converted to text")
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate cannot be encoded
        return _STRING_OR_NUMBER.sub(_as_decimal, text)
    except ValueError as error:
        raise psycopg.DataError(f"invalid JSON: {error}") from error
    except RecursionError:
        # Deeper than Python's parser goes, though not too deep for the database's.
        return text


def optional_jsonb(text: str | None) -> str | None:
    """The same, of JSON that may be missing."""
    return None if text is None else as_jsonb(text)


def as_jsonb_text(text: str) -> str:
    """JSON that `as_jsonb` has returned, written as `jsonb::text` writes it.

    Keys are in order, the shorter first, the last of several alike counts, and numbers keep their
    digits.
    """
    try:
        return _written(json.loads(text, parse_int=Decimal, parse_float=Decimal))
    except RecursionError:
        return text


def _written(value: object) -> str:
    if isinstance(value, dict):
        pairs = [
            (key.encode(), _written(each)) for key, each in cast("dict[str, object]", value).items()
        ]
        pairs.sort(key=lambda pair: (len(pair[0]), pair[0]))
        return f"{{{', '.join(f'{_written(key.decode())}: {each}' for key, each in pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, cast('list[object]', value)))}]"
    if isinstance(value, Decimal):
        return _in_digits(value)
    return json.dumps(value, ensure_ascii=False)


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


def contains_jsonb(whole: str, part: str) -> bool:
    """Whether one `jsonb` value contains another, as its operator `@>` has it."""
    try:
        value = _comparable(whole)
        return _contains(value, _as_in_list(value, _comparable(part)))
    except RecursionError:
        return False


def _as_in_list(whole: object, part: object) -> object:
    """A part as it is compared: alone at the top, what is in a list need not be in one itself."""
    is_alone = type(whole) is list and type(part) not in (list, dict)
    return [part] if is_alone else part


def _contains(whole: object, part: object) -> bool:
    if isinstance(whole, dict) and isinstance(part, dict):
        held = cast("dict[str, object]", whole)
        return all(
            key in held and _contains(held[key], value)
            for key, value in cast("dict[str, object]", part).items()
        )
    if isinstance(whole, list) and isinstance(part, list):
        elements = cast("list[object]", whole)
        return all(
            any(_contains(element, each) for element in elements)
            for each in cast("list[object]", part)
        )
    return whole == part


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


def _as_decimal(match: re.Match[str]) -> str:
    if match[0].startswith('"'):
        return match[0]
    number = Decimal(match[0])
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    if number.adjusted() >= _MOST_DIGITS or -exponent > _MOST_DECIMALS:
        raise ValueError(f"the number {match[0]} is out of range")
    return _in_digits(number)


def _in_digits(number: Decimal) -> str:
    # PostgreSQL's numbers have no negative zero.
    return f"{number or abs(number):f}"
