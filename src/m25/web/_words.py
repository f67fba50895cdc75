"""Values as the pages write them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Final

from .._glance import UNITS, whole

#: How much of a text is shown where there is little room.
_LINE: Final = 300
#: Longer texts are not laid out anew.
_LONGEST: Final = 200_000


def span(length: timedelta | float) -> str:
    """How long something takes, in one unit, with two digits at least where it has as many."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    for unit, name in UNITS:
        if seconds >= unit:
            value = seconds / unit
            digits = f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:.0f}"
            return f"{digits} {name}"
    return "0 s"


def ago(time: datetime, now: datetime) -> str:
    """How long ago something was, or in how long it is to be."""
    seconds = round((now - time).total_seconds())
    if seconds < 0:
        return f"in {whole(-seconds)}"
    return f"{whole(seconds)} ago" if seconds else "now"


def stamp(time: datetime) -> str:
    """A time in full."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def line(text: str) -> str:
    """The beginning of a text, on one line."""
    return " ".join(text[:_LINE].split())


def pretty(text: str) -> str:
    """JSON in lines, if it is JSON, and not too long for that."""
    if len(text) > _LONGEST:
        return text
    try:
        value = json.loads(text)
        return json.dumps(value, indent=2, ensure_ascii=False)
    # RecursionError: it is deeper than Python reads.
    except (ValueError, RecursionError):
        return text
