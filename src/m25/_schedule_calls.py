"""What a client is asked about schedules, whoever has declared them: to list, pause and resume."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from ._job import JobId
from ._query import raise_query_error
from ._runtime import Runtime
from ._schedule_errors import InvalidSchedule, NoScheduleFound
from ._store.failures import StatementFailed
from ._store.protocol import ScheduleRow, Schedules
from ._text import check_text
from ._ticks import ticks_of
from ._timestamps import duration_from_text, timestamp_from_text

#: Processes that declare a schedule say so every five minutes. Where none has for this long, none
#: is there.
_LEFT: Final = timedelta(minutes=10)


@attrs.frozen(kw_only=True)
class ScheduleRecord:
    """A schedule as it is written down in the database."""

    name: str
    #: The queue whose jobs it puts there.
    queue_name: str
    #: Five fields as of cron; or `None`, and `every` is the time between ticks.
    expression: str | None
    every: timedelta | None
    timezone: str
    catch_up: str
    overlap: str
    #: When a process has last said that it has declared it so. While one runs, it says so every
    #: five minutes: what was declared longer ago has no ticks, since nobody is there for them.
    declared_at: datetime
    #: Since when it is paused, if it is.
    paused_at: datetime | None
    #: The latest tick that was claimed, in UTC; at first, when the schedule was declared.
    last_tick: datetime
    #: The tick that comes next, if a process is there for it; one that lies in the past is late.
    #: `None` where it is paused, its time zone is not known here, or no day of 50 years has one.
    next_tick: datetime | None
    #: The job of the latest tick that has one.
    last_job_id: JobId | None

    def is_left(self, now: datetime) -> bool:
        """Whether no process is there any more that declares it: then it has no ticks."""
        return now - self.declared_at > _LEFT


async def list_schedules(runtime: Runtime) -> list[ScheduleRecord]:
    """See `M25.schedules`."""
    return [_record(row) for row in (await _find(runtime, None)).rows]


async def find_time(runtime: Runtime) -> datetime:
    """What time it is by the database's clock, by which ticks come.

    Raises:
        JobRecordFetchQueryError: the database failed.
    """
    return timestamp_from_text((await _find(runtime, [])).now)


async def _find(runtime: Runtime, names: Sequence[str] | None) -> Schedules:
    try:
        return await runtime.store.find_schedules(names)
    except StatementFailed as failure:
        raise_query_error(failure)


async def pause_schedule(runtime: Runtime, name: str, *, is_paused: bool) -> None:
    """See `M25.pause_schedule` and `M25.resume_schedule`."""
    check_text(name, "a schedule's name", InvalidSchedule)
    try:
        is_there = await runtime.store.pause_schedule(name, is_paused=is_paused)
    except StatementFailed as failure:
        raise_query_error(failure)
    if not is_there:
        raise NoScheduleFound(name)
    runtime.hints.schedules.set()


def _record(row: ScheduleRow) -> ScheduleRecord:
    return ScheduleRecord(
        name=row.name,
        queue_name=row.queue_name,
        expression=row.expression,
        every=None if row.every is None else duration_from_text(row.every),
        timezone=row.timezone,
        catch_up=row.catch_up,
        overlap=row.overlap,
        declared_at=timestamp_from_text(row.declared_at),
        paused_at=None if row.paused_at is None else timestamp_from_text(row.paused_at),
        last_tick=timestamp_from_text(row.last_tick),
        next_tick=_next_tick(row),
        last_job_id=None if row.last_job_id is None else JobId(row.last_job_id),
    )


def _next_tick(row: ScheduleRow) -> datetime | None:
    """When a schedule ticks next, if it does."""
    if row.paused_at is not None:
        return None
    every = None if row.every is None else duration_from_text(row.every)
    after = timestamp_from_text(row.last_tick)
    try:
        return next(ticks_of(every, row.expression, row.timezone, after), None)
    except InvalidSchedule:
        # As where another machine has declared it, which knows more time zones.
        return None
