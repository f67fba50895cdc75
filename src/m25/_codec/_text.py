"""JSON text, and what neither it nor PostgreSQL's jsonb can hold."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from ._refusal import Refusal, key_part, reason_of

#: How deeply lists and objects may be nested. Python's own parser, and the stacks of those who
#: handle a value, set limits in the hundreds; so that a refusal is clear, ours comes first.
DEEPEST: Final = 200

#: The most digits of an integer: Python refuses to convert more.
MOST_DIGITS: Final = 4_300

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode


def to_text(plain: Any) -> str:
    """Write a plain JSON value.

    Raises:
        Refusal: it holds what cannot be kept; with the path.
    """
    try:
        text = _encode(plain)
        # Quick tests on the whole; only what fails them is searched. A backslash that was in a string
        # is doubled, so the first may also hit what is harmless.
        if "\\u0000" not in text and (text.isascii() or text.encode()):
            if text.count("[") + text.count("{") < DEEPEST:
                return text
    except (ValueError, TypeError, RecursionError) as error:
        find_fault(plain)
        raise Refusal(reason_of(error)) from error
    find_fault(plain)
    return text


def from_text(text: str | bytes) -> Any:
    """Read JSON text.

    Raises:
        Refusal: it is none, or holds what Python cannot.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise Refusal("nested too deeply") from error
    except ValueError as error:
        reason = "an integer has too many digits" if "digits" in str(error) else reason_of(error)
        raise Refusal(reason) from error


def find_fault(value: Any, depth: int = 0) -> None:
    """Search a value that should be plain JSON for what is not.

    Raises:
        Refusal: at the first that is found; with the path.
    """
    kind = type(value)
    if kind is str:
        _check_text(value)
    elif kind is int:
        if abs(value).bit_length() > MOST_DIGITS * 3.33 and not _has_text(value):
            raise Refusal(f"an integer of more than {MOST_DIGITS} digits")
    elif kind is float:
        if not math.isfinite(value):
            raise Refusal(f"{value} is not a JSON number")
    elif kind is list or kind is dict:
        if depth >= DEEPEST:
            raise Refusal(f"nested more than {DEEPEST} levels deep, or within itself")
        if kind is list:
            for index, item in enumerate(value):
                _find_inside(item, f"[{index}]", depth)
        else:
            for key, item in value.items():
                part = key_part(key)
                if type(key) is not str:
                    raise Refusal(f"the key {part[1:-1]} is not a string")
                try:
                    _check_text(key)
                except Refusal as refusal:
                    raise Refusal(f"the key {part[1:-1]} {refusal.reason}") from refusal
                _find_inside(item, part, depth)
    elif value is not None and kind is not bool:
        raise Refusal(f"{kind.__name__} is not a JSON type")


def _find_inside(item: Any, part: str, depth: int) -> None:
    try:
        find_fault(item, depth + 1)
    except Refusal as refusal:
        raise refusal.inside(part)  # noqa: B904 - it is the same one


def _check_text(text: str) -> None:
    if "\0" in text:
        raise Refusal("holds the character NUL, which PostgreSQL cannot")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refusal("holds a lone surrogate, which is no character") from error


def _has_text(value: int) -> bool:
    try:
        return bool(str(value))
    except ValueError:
        return False
