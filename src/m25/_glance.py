"""What somebody sees who watches, in the terminal or in the browser: how figures are written where
there is little room, and which of them are bad.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ._operator import MOST_COUNTED

#: From when on something is bad: a job waits, or a worker has said nothing, for so long.
LONG_WAIT: Final = timedelta(minutes=1)
LONG_SILENCE: Final = timedelta(seconds=90)

#: Of times, the largest first, in seconds.
UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (0.001, "ms"))

#: Of those in which something is so many times, the shortest first, in seconds.
_TIMES: Final = ((1.0, "a second"), (60.0, "a minute"), (3_600.0, "an hour"), (86_400.0, "a day"))


def count(number: int) -> str:
    """How many, as far as was counted."""
    return f"{number:,}" + ("+" if number >= MOST_COUNTED else "")


def pace(interval: timedelta) -> str:
    """How often something is that is once in so much time: in the shortest time in which it is
    once or more.
    """
    seconds = interval.total_seconds()
    for length, name in _TIMES:
        # An interval is rounded up.
        if (number := round(length / seconds, 1)) >= 1:
            return f"{number:,.1f}".removesuffix(".0") + f" {name}"
    return f"one in {whole(seconds)}"


def whole(seconds: float) -> str:
    """A time in words, in the largest unit of which there is one or more."""
    for length, unit in UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return "0 s"
