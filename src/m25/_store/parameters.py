"""Parameters of statements, written as the text of their PostgreSQL types.

psycopg finds out how to write a value each time it is given one, and each element of a list. Here
the statement says what it takes, and the store's values are text for the most part: all that is
left is to join them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta


def plain_array(values: Iterable[object]) -> str:
    """An array of what needs no quotes: ids, tokens, numbers."""
    return f"{{{','.join(map(str, values))}}}"


def array(values: Iterable[str | None]) -> str:
    """An array of any text, or of what is not there."""
    # Most are not there: without a call for each of these it takes half the time.
    return f"{{{','.join(['NULL' if value is None else _quoted(value) for value in values])}}}"


def _quoted(value: str) -> str:
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


@functools.lru_cache(1024)
def interval(duration: timedelta) -> str:
    """A duration of zero or more, which reads the same whatever `IntervalStyle` is."""
    return f"{duration.days} days {duration.seconds} secs {duration.microseconds} microseconds"


def timestamp(at: datetime | None) -> str | None:
    """A point in time, which reads the same whatever `DateStyle` and time zone are."""
    # PostgreSQL takes no offset of 16 hours or more, and Python does.
    return None if at is None else at.astimezone(UTC).isoformat()
