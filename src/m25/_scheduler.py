"""The scheduler: gives each tick of a client's schedules its job.

There is no leader. Every process that has declared a schedule wakes at its next tick, by the
database's clock, and tries to claim it; the claim and the job are one statement, so one of them has
it. What a process must know for that is in the schedule's row, and is read anew each time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol

import trio

from ._errors import M25Error
from ._events import ScheduleChanged, ScheduleReplaced, TickFailed, TicksPassedOver
from ._ids import id_of_tick
from ._job import JobId
from ._queue import Queue
from ._runtime import Runtime
from ._schedule import Due, Schedule
from ._store.failures import RowRefused, StatementFailed
from ._store.protocol import NewJob, NewSchedule, NewTick, ScheduleRow, Ticked
from ._timestamps import duration_from_text, timestamp_from_text

#: How often schedules are read though none is due, in seconds: one may have been resumed, or
#: declared otherwise; and clocks drift.
_LONGEST_PAUSE: Final = 10.0
#: How often a tick is tried that waits for the end of the job before, or whose row is locked.
_WAITING_PAUSE: Final = timedelta(seconds=1)
#: How long asking for the cancel of a job may hold up other schedules, in seconds.
_CANCEL_TIMEOUT: Final = 1.0
#: Why a tick is passed over.
_LIVE: Final = "the job before is live"


class MakeJob(Protocol):
    """Makes the row of a `Job`."""

    def __call__(
        self, queue: Queue[Any, Any, Any], job: object, *, id: str, waiter: str | None
    ) -> NewJob: ...


#: Asks for the cancel of a schedule's job.
CancelJob = Callable[[Schedule[Any], JobId], Awaitable[object]]


class _Try(NamedTuple):
    """Ticks of a schedule that are tried to be claimed."""

    schedule: Schedule[Any]
    row: ScheduleRow
    due: Due
    tick: NewTick
    #: Ticks whose job could not be made, and why.
    failed: Mapping[datetime, Exception]


class Scheduler:
    """One for each run of a client's queues and schedules."""

    def __init__(
        self,
        schedules: Sequence[Schedule[Any]],
        runtime: Runtime,
        make_job: MakeJob,
        cancel_job: CancelJob,
    ) -> None:
        self.schedules = {schedule.name: schedule for schedule in schedules}
        self._runtime = runtime
        self._store = runtime.store
        self._make_job = make_job
        self._cancel_job = cancel_job
        #: Set once the schedules were written down.
        self.declared = trio.Event()
        #: Why they were not the latest time, if they were not.
        self.latest_failure: StatementFailed | None = None
        #: By name: the revision by which another process has declared it, as was told.
        self._replaced: dict[str, int] = {}
        #: By name: the job whose cancel was asked for.
        self._cancelled: dict[str, str] = {}
        #: One at a time looks what is due.
        self._turn = trio.Lock()

    async def run(self) -> None:
        """Give ticks their jobs, until cancelled."""
        tries = self._runtime.tries()
        while True:
            try:
                now, next_look = await self.look()
            except StatementFailed as failure:
                self.latest_failure = failure
                pause = tries.failed(failure)
            else:
                tries.worked()
                pause = _LONGEST_PAUSE
                if next_look is not None:
                    pause = min(pause, (next_look - now).total_seconds())
            with trio.move_on_after(pause):
                await self._runtime.hints.schedules.wait()

    async def look(self) -> tuple[datetime, datetime | None]:
        """Give all ticks that are due their jobs; return the database's time, and that of the next.

        The latter is none where no schedule has any, and soon where a tick waits for a job.

        Raises:
            StatementFailed: the database failed.
        """
        async with self._turn:
            if not self.declared.is_set():
                await self._declare()
            waiting: set[str] = set()
            while True:
                now, rows = await self._read()
                tries = [
                    self._try(schedule, row, due)
                    for schedule, row in rows
                    if schedule.name not in waiting
                    and (due := schedule.due(timestamp_from_text(row.last_tick), now)) is not None
                ]
                if not tries:
                    return now, self._next_look(now, rows, waiting)
                waiting.update(await self._tick(tries))

    async def _declare(self) -> None:
        declared = [_declared(schedule) for schedule in self.schedules.values()]
        for name in await self._store.declare_schedules(declared):
            self._emit(ScheduleChanged, self.schedules[name])
        self.declared.set()

    async def _read(self) -> tuple[datetime, list[tuple[Schedule[Any], ScheduleRow]]]:
        """The database's time, and the schedules that are as declared here, and not paused."""
        found = await self._store.find_schedules(list(self.schedules))
        if len(found.rows) < len(self.schedules):
            # Somebody has deleted a row.
            await self._declare()
            found = await self._store.find_schedules(list(self.schedules))
        rows: list[tuple[Schedule[Any], ScheduleRow]] = []
        for row in found.rows:
            schedule = self.schedules[row.name]
            if not _is_as_declared(schedule, row):
                if self._replaced.get(row.name) != row.revision:
                    self._replaced[row.name] = row.revision
                    self._emit(ScheduleReplaced, schedule)
            elif row.paused_at is None:
                rows.append((schedule, row))
        return timestamp_from_text(found.now), rows

    def _next_look(
        self,
        now: datetime,
        rows: Sequence[tuple[Schedule[Any], ScheduleRow]],
        waiting: set[str],
    ) -> datetime | None:
        times: list[datetime] = []
        for schedule, row in rows:
            # The database's clock may have been set back.
            after = max(timestamp_from_text(row.last_tick), now)
            if schedule.name in waiting:
                times.append(now + _WAITING_PAUSE)
            elif (tick := next(schedule.ticks(after), None)) is not None:
                times.append(tick)
        return min(times, default=None)

    def _try(self, schedule: Schedule[Any], row: ScheduleRow, due: Due) -> _Try:
        jobs: list[NewJob] = []
        failed: dict[datetime, Exception] = {}
        for tick in due.ticks:
            try:
                job = schedule.make_job(tick)
                id = id_of_tick(schedule.name, tick)
                jobs.append(self._make_job(schedule.queue, job, id=id, waiter=None))
            except Exception as error:  # noqa: BLE001 - a user's function may raise anything
                failed[tick] = error
        after = timestamp_from_text(row.last_tick)
        new = NewTick(schedule.name, row.revision, after, due.until, schedule.overlap, jobs)
        return _Try(schedule, row, due, new, failed)

    async def _tick(self, tries: Sequence[_Try]) -> set[str]:
        """Claim ticks; return the names of the schedules that are to be looked at again soon."""
        queues = {one.schedule.queue.name for one in tries}
        try:
            answers = await self._store.tick([one.tick for one in tries], sorted(queues))
        except RowRefused as refused:
            if len(tries) > 1:
                # One of them is the reason; each is tried alone.
                return {name for one in tries for name in await self._tick([one])}
            (one,) = tries
            if not one.tick.jobs:
                raise
            failed = dict.fromkeys(one.due.ticks, refused) | dict(one.failed)
            return await self._tick([one._replace(tick=one.tick._replace(jobs=()), failed=failed)])
        by_name = {answer.name: answer for answer in answers}
        waiting: set[str] = set()
        for one in tries:
            answer = by_name.get(one.schedule.name)
            if answer is None:
                # Another process was first, or it is still at it, or a stranger has the row locked.
                waiting.add(one.schedule.name)
            elif answer.is_ticked:
                self._tell(one, answer)
            else:
                waiting.add(one.schedule.name)
                await self._cancel_the_one_before(one)
        return waiting

    async def _cancel_the_one_before(self, one: _Try) -> None:
        name, job_id = one.schedule.name, one.row.last_job_id
        if one.schedule.overlap != "cancel" or job_id is None:
            return
        if self._cancelled.get(name) == job_id:
            return
        with trio.move_on_after(_CANCEL_TIMEOUT):
            try:
                await self._cancel_job(one.schedule, JobId(job_id))
            except M25Error:
                # It has ended meanwhile, which the next try finds; or is to be asked for again.
                return
            self._cancelled[name] = job_id

    def _tell(self, one: _Try, answer: Ticked) -> None:
        """Say what ticks that were claimed have come to."""
        schedule, due = one.schedule, one.due
        self._runtime.hints.work(schedule.queue.name)
        if due.missed_from is not None:
            self._tell_passed_over(schedule, due.missed_from, due.until, "they were missed")
        if answer.is_live:
            first = due.ticks[0] if due.ticks else due.until
            self._tell_passed_over(schedule, first, due.until, _LIVE)
            return
        if due.ticks and due.until > due.ticks[-1]:
            first = next(schedule.ticks(due.ticks[-1]))
            self._tell_passed_over(schedule, first, due.until, _LIVE)
        for tick, error in one.failed.items():
            self._emit(TickFailed, schedule, tick=tick.isoformat(), error=error)

    def _tell_passed_over(
        self, schedule: Schedule[Any], first: datetime, last: datetime, reason: str
    ) -> None:
        times = {"first": first.isoformat(), "last": last.isoformat()}
        self._emit(TicksPassedOver, schedule, **times, reason=reason)

    def _emit(self, event: Callable[..., Any], schedule: Schedule[Any], **facts: Any) -> None:
        self._runtime.events.emit(event(schedule=schedule.name, queue=schedule.queue.name, **facts))


def _declared(schedule: Schedule[Any]) -> NewSchedule:
    return NewSchedule(
        schedule.name,
        schedule.queue.name,
        schedule.expression,
        schedule.every,
        schedule.timezone,
        schedule.catch_up,
        schedule.overlap,
    )


def _is_as_declared(schedule: Schedule[Any], row: ScheduleRow) -> bool:
    every = None if row.every is None else duration_from_text(row.every)
    return _declared(schedule) == (
        row.name,
        row.queue_name,
        row.expression,
        every,
        row.timezone,
        row.catch_up,
        row.overlap,
    )
