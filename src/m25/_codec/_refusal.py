"""What is raised on the way, and how it learns where in the value it is."""

from __future__ import annotations

from typing import Any

_LONGEST_SHOWN = 80


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
    """JSON text is not that of a value of the codec's type."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


def key_part(key: object) -> str:
    """A key of a mapping, as a part of a path."""
    return f"[{shown(key)}]"


def shown(value: Any) -> str:
    """A value, briefly: payloads are private, and may be large."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - any code can be behind repr()
        return f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def reason_of(error: BaseException) -> str:
    """Why somebody else's code refused a value, briefly."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - any code can be behind str()
        text = ""
    if isinstance(error, KeyError):
        return f"missing key {text}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return f"{type(error).__name__}: {text[:_LONGEST_SHOWN]}" if text else type(error).__name__
