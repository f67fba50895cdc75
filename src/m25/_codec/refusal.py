"""What is raised on the way, and how it learns where in the value it is."""

from __future__ import annotations

import json
from typing import Final, NoReturn

#: In characters. A message names a value, and does not print it: payloads are private, and large.
_LONGEST_SHOWN: Final = 80
_LONGEST_PATH: Final = 300


class Refusal(Exception):
    """A value, or a part of it, is not what it should be.

    `path` grows from the inside out: each container that it passes adds its part in front.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path

    def inside(self, part: str) -> Refusal:
        """Say that it happened inside this part of a container."""
        self.path = part + self.path
        return self


class Undecodable(Exception):
    """JSON text is not that of a value of the codec's type.

    `path` says where in the value, and `reason` why.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


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
    return f"[{shown(key)}]"


def described(value: object) -> str:
    """What a value is, without saying what is in it."""
    return "None" if value is None else value.__class__.__name__


def shown(value: object) -> str:
    """A value, briefly."""
    if isinstance(value, str | bytes):
        value = value[: _LONGEST_SHOWN + 1]
    try:
        return cut(repr(value))
    except Exception:  # noqa: BLE001 - any code can be behind repr()
        return f"<{type(value).__name__}>"


def place_of(error: Exception) -> str:
    """Where in the value it happened, or the beginning of that.

    A value that holds itself has an endless path.
    """
    return cut(error.path, _LONGEST_PATH) if isinstance(error, Refusal) else ""


def reason_of(error: BaseException) -> str:
    """Why somebody else's code refused a value, briefly."""
    if isinstance(error, Refusal):
        return error.reason
    if isinstance(error, RecursionError):
        return "nested too deeply, or within itself"
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - any code can be behind str()
        text = ""
    if isinstance(error, KeyError):
        return f"missing key {cut(text)}"
    return f"{type(error).__name__}: {cut(text)}" if text else type(error).__name__
