"""Durations as users give them: seconds as a number, Trio's habit, or a `timedelta`."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TypeAlias

#: Seconds, or a `timedelta`.
Duration: TypeAlias = float | timedelta

#: The longest duration taken anywhere. A century: long enough to mean "never", short enough that a
#: point in time plus a duration is still one that PostgreSQL and Python can both hold.
LONGEST = timedelta(days=36525)


def as_timedelta(
    value: Duration, name: str, error: type[ValueError], *, zero: bool = False
) -> timedelta:
    """Return `value` as a `timedelta`, whole microseconds.

    Raises:
        error: it is not a duration, is negative (or zero, unless `zero`), is not finite, or is
            longer than a century. The message begins with `name`.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif type(value) in (int, float):
        seconds = value
    else:
        raise error(f"{name} must be seconds as a number, or a timedelta; not {value!r}")
    if not math.isfinite(seconds):
        raise error(f"{name} must be finite, not {value!r}")
    if seconds > LONGEST.total_seconds():
        raise error(f"{name} must be at most {LONGEST.days} days, not {value!r}")
    if seconds < 0 or (seconds == 0 and not zero):
        raise error(f"{name} must be {'zero or more' if zero else 'more than zero'}, not {value!r}")
    return value if isinstance(value, timedelta) else timedelta(seconds=seconds)
