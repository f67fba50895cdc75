"""Durations and times, as people write and read them."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta
from typing import Final

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)?", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
#: A duration is told in the first of these of which it has two at least.
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))


def parse_duration(text: str) -> timedelta:
    """A duration from the command line: "90", "90s", "30min", "2h", "7d", "1w".

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    match = _DURATION.fullmatch(text.strip())
    try:
        if match is not None:
            return timedelta(seconds=float(match[1]) * _SECONDS[match[2] or "s"])
    except OverflowError:
        pass
    raise argparse.ArgumentTypeError(
        f"not a duration: {text!r}; write seconds, or 30min, 2h, 7d or 1w"
    )


def span(duration: timedelta) -> str:
    """How long something takes, in one unit."""
    seconds = max(0.0, duration.total_seconds())
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{seconds:.3g} s" if seconds < 10 else f"{int(seconds)} s"


def ago(time: datetime) -> str:
    """How long ago something was; or in how long it is to be."""
    seconds = (datetime.now(UTC) - time).total_seconds()
    if seconds < 0:
        return f"in {span(timedelta(seconds=-seconds))}"
    return span(timedelta(seconds=int(seconds)))


def stamp(time: datetime) -> str:
    """A time in full, and how long ago that was."""
    when = ago(time)
    return f"{time:%Y-%m-%d %H:%M:%S} UTC ({when if when.startswith('in ') else f'{when} ago'})"
