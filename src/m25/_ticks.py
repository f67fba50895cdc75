"""When a schedule runs: the ticks of a cron expression or of an interval, as pure functions.

Every tick is an instant in UTC, and they come in order. Clocks that are set forward or back in the
expression's time zone are dealt with here alone; docs/schedules.md has the rule for users.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from ._schedule_errors import InvalidSchedule

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)

_MONTHS: Final = (
    "JAN",
    "FEB",
    "MAR",
    "APR",
    "MAY",
    "JUN",
    "JUL",
    "AUG",
    "SEP",
    "OCT",
    "NOV",
    "DEC",
)
_WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
#: The five fields: what each is called, its least and its greatest number, and its names.
_FIELDS: Final[tuple[tuple[str, int, int, tuple[str, ...]], ...]] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _WEEKDAYS),
)
#: One term of a field: everything, a value or a range; and a step, after the first or the last.
_TERM: Final = re.compile(r"(?:\*|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d+))?", re.ASCII)


def next_ticks(expression: str, *, timezone: str = "UTC", after: datetime) -> Iterator[datetime]:
    """The ticks of a cron expression after a point in time: one after the other, in UTC.

        first = next(m25.next_ticks("30 2 * * *", timezone="Europe/Berlin", after=now))

    An expression has five fields: minute, hour, day of the month, month, day of the week. A field
    is `*`, a number, a range `8-18`, a step `*/15` or `8-18/2`, or several of these with commas.
    Months and days of the week may be named (`JAN`, `mon`); 0 and 7 are Sunday. Where neither field
    of days begins with `*`, a day need match one of them only, as in cron.

    Where the zone's clocks are changed:

    - A time that is skipped has its tick at the first instant after the gap. Several that are
      skipped have one.
    - A time that comes twice has its tick the first time.
    - Where the field of the hour begins with `*` it is not a time of the day that is meant, but
      each real hour or quarter: skipped ones have none, and those that come twice have two.

    The iterator ends where the expression matches no day of the next 50 years.

    Args:
        expression: the five fields.
        timezone: the name of a zone of the IANA database, in whose local time it is meant.
        after: an aware datetime; a tick at that very instant is not among those returned.

    Raises:
        InvalidSchedule: the expression or the zone is not as above; it is raised at once, and not
            when the first tick is asked for.
        ValueError: `after` has no time zone.
    """
    check_expression(expression)
    zone = find_zone(timezone)
    if after.tzinfo is None:
        raise ValueError(f"after must have a time zone, and {after!r} has none")
    return _ticks(expression, zone, after.astimezone(UTC))


def ticks_of(
    every: timedelta | None, expression: str | None, timezone: str, after: datetime
) -> Iterator[datetime]:
    """The ticks after a point in time of a schedule, which has an interval or an expression.

    Raises:
        InvalidSchedule: as `next_ticks` does.
    """
    if every is not None:
        return interval_ticks(every, after)
    return next_ticks(expression or "", timezone=timezone, after=after)


def interval_ticks(every: timedelta, after: datetime) -> Iterator[datetime]:
    """The multiples of an interval, counted from 1970-01-01 00:00 UTC, after a point in time.

    They are the same in each process, and after each restart.
    """
    count = (after - _UNIX_EPOCH) // every
    while True:
        count += 1
        yield _UNIX_EPOCH + count * every


def check_expression(expression: object) -> None:
    """Check a cron expression.

    Raises:
        InvalidSchedule: it is none; the error names the field.
    """
    if not isinstance(expression, str):
        raise InvalidSchedule(f"a cron expression is a text of five fields, not {expression!r:.80}")
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        raise InvalidSchedule(
            f"the cron expression {expression!r:.80} has {len(fields)} fields, and must have five:"
            " minute, hour, day of the month, month, day of the week"
        )
    for text, (field, low, high, names) in zip(fields, _FIELDS, strict=True):
        for term in text.split(","):
            if not _is_term(term, low, high, names):
                raise InvalidSchedule(
                    f"the field of the {field}, {text!r:.80}, of the cron expression"
                    f" {expression!r:.80} holds {term!r:.40}; it takes *, numbers from {low} to"
                    f" {high}{' or names as ' + names[0] if names else ''}, ranges, and steps as"
                    f" */{high // 2} after * or a range"
                )
    try:
        CronSim(expression, datetime(2000, 1, 1))  # noqa: DTZ001 - its times are local ones
    except CronSimError as error:
        raise InvalidSchedule(
            f"the cron expression {expression!r:.80} matches no day: no such month has so many"
        ) from error


def find_zone(name: object) -> ZoneInfo:
    """The time zone of this name.

    Raises:
        InvalidSchedule: there is none.
    """
    try:
        if isinstance(name, str):
            return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        reason: Exception | None = error
    else:
        reason = None
    raise InvalidSchedule(
        f"timezone must be the name of a zone of the IANA database, such as 'Europe/Berlin', and"
        f" {name!r:.80} is none that is known here"
    ) from reason


def _is_term(term: str, least: int, greatest: int, names: tuple[str, ...]) -> bool:
    """Whether it is one that any cron takes: cronsim takes more, each library in its own way."""
    match = _TERM.fullmatch(term)
    if match is None:
        return False
    low, high, step = match["low"], match["high"], match["step"]
    if step is not None and ((low is not None and high is None) or not 0 < int(step) <= greatest):
        return False
    numbers = [_number(text, names, least) for text in (low, high) if text is not None]
    if not all(number is not None and least <= number <= greatest for number in numbers):
        return False
    return numbers == sorted(number for number in numbers if number is not None)


def _number(text: str, names: tuple[str, ...], least: int) -> int | None:
    if text.isdigit():
        return int(text)
    return names.index(text.upper()) + least if text.upper() in names else None


def _ticks(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    # cronsim is asked for local times only. When these are, is found here: cronsim's own answer
    # depends on where it was begun, and may lie before its beginning.
    has_each = expression.split()[1].startswith("*")
    latest = after
    #: The second instants of local times that come twice: they follow all the first ones.
    second_pass: deque[datetime] = deque()
    for local in _local_times(expression, _begin(after.astimezone(zone))):
        first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
        second = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
        while second_pass and second_pass[0] < first:
            yield second_pass.popleft()
        if second < first:
            if has_each:
                continue
            first = _end_of_gap(zone, second, first)  # rule: a skipped time is moved
        elif first < second and has_each and second > after:
            second_pass.append(second)
        if first > latest:  # rule: no tick lies before another
            latest = first
            yield first
    yield from second_pass


def _begin(local: datetime) -> datetime:
    """Where local times must be begun with, so that none after this instant is left out.

    In the first pass of times that come twice the second instants of earlier ones are to come.
    """
    first, second = local.replace(fold=0), local.replace(fold=1)
    overlap = second.astimezone(UTC) - first.astimezone(UTC)
    if local.fold == 0 and overlap > timedelta(0):
        local -= overlap
    return local.replace(tzinfo=None)


def _local_times(expression: str, begin: datetime) -> Iterator[datetime]:
    try:
        yield from CronSim(expression, begin)
    except OverflowError:
        # Python's calendar ends with the year 9999.
        return


@lru_cache(64)
def _end_of_gap(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The instant, to the second, at which clocks were set forward between these two in UTC."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after
