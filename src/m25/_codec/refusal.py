"""What is raised on the way, and how it learns where in the value it is."""

from __future__ import annotations

import json
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PurePath
from types import NoneType
from typing import Final, NoReturn
from uuid import UUID

#: In characters.
_LONGEST_SHOWN: Final = 80
_LONGEST_PATH: Final = 300


#: Keys that are written out in a path, as strings are; of any other only the class is named.
_NAMED_KEYS: Final = (
    int,
    float,
    Decimal,
    Fraction,
    date,
    time,
    timedelta,
    UUID,
    Enum,
    PurePath,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    NoneType,
)


class Refusal(Exception):
    """A value, or a part of it, is not what it should be.

    `reason` says what it is and what was expected, and nothing of what is in it: payloads are
    private, and the texts of exceptions are logged.

    `path` grows from the inside out: each container that it passes adds its part in front.

    `is_newer` says that a newer version of the type may well know it: a field more, a member of an
    Enum, a class of a union.
    """

    def __init__(self, reason: str, path: str = "", *, is_newer: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path
        self.is_newer = is_newer

    def inside(self, part: str) -> Refusal:
        """Say that it happened inside this part of a container."""
        self.path = part + self.path
        return self


class Undecodable(Exception):
    """JSON text is not that of a value of the codec's type.

    `path` says where in the value, and `reason` why. `is_newer` is that of a `Refusal`.
    """

    def __init__(self, path: str, reason: str, is_newer: bool = False) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason
        self.is_newer = is_newer


def reraise(error: Exception, place: str) -> NoReturn:
    """Raise an error again: as the refusal that it is or means, and with its place."""
    if isinstance(error, Refusal):
        raise error.inside(place)
    raise Refusal(reason_of(error), place) from error


def cut(text: str, longest: int = _LONGEST_SHOWN) -> str:
    """A text, or its beginning."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def key_part(key: object) -> str:
    """A key of a mapping, as a part of a path."""
    if isinstance(key, str):
        # What cannot be printed is escaped.
        return f"[{cut(json.dumps(str(key), ensure_ascii=not key.isprintable()))}]"
    if isinstance(key, _NAMED_KEYS):
        return f"[{shown(key)}]"
    return f"[<{described(key)}>]"


def described(value: object) -> str:
    """What a value is, without saying what is in it."""
    return "None" if value is None else value.__class__.__name__


def shown(value: object) -> str:
    """A key of a mapping or a choice of a type, as Python would write it, or the beginning."""
    try:
        return cut(repr(value))
    except Exception:  # noqa: BLE001 - any code can be behind repr()
        return f"<{described(value)}>"


def place_of(error: Exception) -> str:
    """Where in the value it happened, or the beginning of that.

    A value that holds itself has an endless path.
    """
    return cut(error.path, _LONGEST_PATH) if isinstance(error, Refusal) else ""


def is_newer(error: Exception) -> bool:
    """Whether a newer version of the type may know what was refused."""
    return isinstance(error, Refusal) and error.is_newer


def reason_of(error: BaseException) -> str:
    """Why a value was refused.

    What somebody else's error says is not repeated: it may print the value, and what is in a value
    is in no text of ours.
    """
    if isinstance(error, Refusal):
        return error.reason
    if isinstance(error, RecursionError):
        return "nested too deeply, or within itself"
    return type(error).__name__
