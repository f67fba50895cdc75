"""Durations as users give them: seconds as a number, Trio's habit, or a `timedelta`."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final, TypeAlias

#: Seconds, or a `timedelta`.
Duration: TypeAlias = float | timedelta

#: The longest duration taken anywhere. A century: long enough to mean "never", short enough that a
#: point in time plus a duration is still one that PostgreSQL and Python can both hold.
LONGEST: Final = timedelta(days=36525)


def as_timedelta(
    value: object, name: str, error: type[ValueError], *, zero: bool = False
) -> timedelta:
    """Return `value`, seconds or a `timedelta`, as a `timedelta` of whole microseconds.

    Raises:
        error: it is not a duration, is negative (or zero, unless `zero`), is not finite, is shorter
            than a microsecond, or is longer than a century. The message begins with `name`.
    """
    if isinstance(value, timedelta):
        seconds: float = value.total_seconds()
    # Not by isinstance, since a bool is an int.
    elif type(value) is int or type(value) is float:
        seconds = value
    else:
        raise error(f"{name} must be seconds as a number, or a timedelta; not {value!r:.80}")
    if not -math.inf < seconds < math.inf:
        raise error(f"{name} must be finite, not {value!r}")
    low = "zero or more" if zero else "more than zero"
    # The text does not repeat the value, which may have thousands of digits.
    if abs(seconds) > LONGEST.total_seconds():
        raise error(f"{name} must be {low}, and at most {LONGEST.days} days")
    if seconds < 0 or (seconds == 0 and not zero):
        raise error(f"{name} must be {low}, not {value!r}")
    duration = value if isinstance(value, timedelta) else timedelta(seconds=seconds)
    if not duration and seconds:
        raise error(f"{name} must be at least a microsecond, not {value!r}")
    return duration
