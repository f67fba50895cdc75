"""Durations and points in time as decimal text: seconds, to the microsecond."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS: Final = re.compile(r"(-?)(\d+)(?:\.(\d{1,6}))?", re.ASCII)


def duration_from_text(seconds: str) -> timedelta:
    """Read a number of seconds.

    Raises:
        ValueError: the text is no such number, or is infinite.
        OverflowError: the number is more than a `timedelta` can hold.
    """
    match = _SECONDS.fullmatch(seconds)
    if match is None:
        raise ValueError(f"not a number of seconds: {seconds[:40]!r}")
    sign, whole, fraction = match.groups("")
    duration = timedelta(seconds=int(whole), microseconds=int(fraction.ljust(6, "0")))
    return -duration if sign else duration


def duration_to_text(duration: timedelta) -> str:
    """Write a number of seconds, as short as it can be."""
    microseconds = duration // timedelta(microseconds=1)
    whole, fraction = divmod(abs(microseconds), 1_000_000)
    digits = f".{fraction:06}".rstrip("0") if fraction else ""
    return f"{'-' if microseconds < 0 else ''}{whole}{digits}"


def timestamp_from_text(seconds: str) -> datetime:
    """Read a number of seconds since the epoch as an aware datetime in UTC.

    Raises:
        ValueError: the text is no such number, or is infinite.
        OverflowError: the time lies outside the years 1 to 9999.
    """
    return _EPOCH + duration_from_text(seconds)


def timestamp_to_text(timestamp: datetime) -> str:
    """Write an aware datetime as a number of seconds since the epoch, with six decimals."""
    microseconds = (timestamp - _EPOCH) // timedelta(microseconds=1)
    whole, fraction = divmod(abs(microseconds), 1_000_000)
    return f"{'-' if microseconds < 0 else ''}{whole}.{fraction:06}"
