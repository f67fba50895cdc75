"""The scheduler: gives each tick of a client's schedules its job.

There is no leader. Every process that has declared a schedule wakes at its next tick, by the
database's clock, and tries to claim it; the claim and the job are one statement, so one of them has
it. What a process must know for that is in the schedule's row, and is read anew each time.

Where processes declare one name differently, the latest to be started has the schedule, and the
others leave it alone. Should all those end that have declared it as it is, nobody would be left to
give it its ticks. So they renew their declaration now and then, and one that is renewed no more is
replaced by that of any process which is still there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol

import trio

from ._errors import M25Error
from ._events import ScheduleChanged, ScheduleReplaced, TickFailed, TicksPassedOver, TickWaits
from ._ids import id_of_tick
from ._job import JobId
from ._queue import Queue
from ._runtime import Runtime
from ._schedule import Due, Schedule
from ._store.failures import RowRefused, StatementFailed
from ._store.protocol import NewJob, NewSchedule, NewTick, ScheduleRow, Schedules, Ticked
from ._timestamps import duration_from_text, timestamp_from_text

#: How often schedules are read though none is due, in seconds: one may have been resumed, or
#: declared otherwise; and clocks drift.
_LONGEST_PAUSE: Final = 10.0
#: How often a tick is tried that waits for the end of the job before, or whose row is locked, in
#: seconds.
_WAITING_PAUSE: Final = 1.0
#: How old the latest word of those who have declared a schedule may be, before one says so again.
_RENEWED_AFTER: Final = timedelta(minutes=5)
#: And how old, before another process takes it that they are gone.
_GONE_AFTER: Final = timedelta(minutes=15)
#: How long asking for the cancel of a job may hold up other schedules, in seconds.
_CANCEL_TIMEOUT: Final = 1.0
#: How late a tick may be for the job before it until that is told.
_LATE: Final = timedelta(minutes=10)
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


class Looked(NamedTuple):
    """What a look at the schedules has come to."""

    #: The time, by the database's clock.
    now: datetime
    #: When the next tick comes, if any does.
    next_tick: datetime | None
    #: Some tick is due and could not be claimed: its row was locked, or the job before it is live.
    is_waiting: bool
    #: Some tick was claimed.
    has_ticked: bool


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
        self.written = trio.Event()
        #: Why they were not the latest time, if they were not.
        self.latest_failure: StatementFailed | None = None
        #: By name: the revision by which another process has declared it, as was told.
        self._replaced: dict[str, int] = {}
        #: By name: the job whose cancel was asked for.
        self._cancelled: dict[str, str] = {}
        #: By name: the job of which was told that a tick waits for it.
        self._waited_for: dict[str, str] = {}
        #: One at a time looks what is due.
        self._turn = trio.Lock()

    async def run(self) -> None:
        """Give ticks their jobs, until cancelled."""
        tries = self._runtime.tries()
        while True:
            try:
                looked = await self.look()
            except StatementFailed as failure:
                self.latest_failure = failure
                pause = tries.failed(failure)
            else:
                tries.worked()
                pause = _WAITING_PAUSE if looked.is_waiting else _LONGEST_PAUSE
                if looked.next_tick is not None:
                    pause = min(pause, (looked.next_tick - looked.now).total_seconds())
            with trio.move_on_after(pause):
                await self._runtime.hints.schedules.wait()

    async def look(self) -> Looked:
        """Give all ticks that are due their jobs.

        Raises:
            StatementFailed: the database failed.
        """
        async with self._turn:
            if not self.written.is_set():
                await self._declare(self.schedules)
                self.written.set()
            waiting: set[str] = set()
            has_ticked = False
            while True:
                now, rows = await self._read()
                tries = [
                    self._try(schedule, row, due)
                    for schedule, row in rows
                    if schedule.name not in waiting
                    and (due := schedule.due(timestamp_from_text(row.last_tick), now)) is not None
                ]
                if not tries:
                    return Looked(now, _next_tick(now, rows), bool(waiting), has_ticked)
                left = await self._tick(tries, now)
                waiting |= left
                has_ticked = has_ticked or len(left) < len(tries)

    async def _declare(self, names: Iterable[str]) -> None:
        declared = [_declared(self.schedules[name]) for name in names]
        for name in await self._store.declare_schedules(declared):
            self._emit(ScheduleChanged, self.schedules[name])

    async def _read(self) -> tuple[datetime, list[tuple[Schedule[Any], ScheduleRow]]]:
        """The database's time, and the schedules that are as declared here, and not paused."""
        found = await self._find()
        now = timestamp_from_text(found.now)
        undeclared = self.schedules.keys() - {row.name for row in found.rows}  # a row was deleted
        undeclared |= {row.name for row in found.rows if self._is_left(row, now)}
        if undeclared:
            await self._declare(undeclared)
            found = await self._find()
        rows: list[tuple[Schedule[Any], ScheduleRow]] = []
        to_renew: list[ScheduleRow] = []
        for row in found.rows:
            schedule = self.schedules[row.name]
            if not _is_as_declared(schedule, row):
                if self._replaced.get(row.name) != row.revision:
                    self._replaced[row.name] = row.revision
                    self._emit(ScheduleReplaced, schedule)
                continue
            if now - timestamp_from_text(row.declared_at) > _RENEWED_AFTER:
                to_renew.append(row)
            if row.paused_at is None:
                rows.append((schedule, row))
        if to_renew:
            await self._store.renew_schedules(to_renew)
        return timestamp_from_text(found.now), rows

    async def _find(self) -> Schedules:
        return await self._store.find_schedules(list(self.schedules))

    def _is_left(self, row: ScheduleRow, now: datetime) -> bool:
        """Whether it is declared otherwise than here, and all who have declared it so are gone."""
        is_renewed = now - timestamp_from_text(row.declared_at) <= _GONE_AFTER
        return not is_renewed and not _is_as_declared(self.schedules[row.name], row)

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

    async def _tick(self, tries: Sequence[_Try], now: datetime) -> set[str]:
        """Claim ticks; return the names of the schedules that are to be looked at again soon."""
        queues = {one.schedule.queue.name for one in tries}
        try:
            answers = await self._store.tick([one.tick for one in tries], sorted(queues))
        except RowRefused as refused:
            if len(tries) > 1:
                # One of them is the reason; each is tried alone.
                return {name for one in tries for name in await self._tick([one], now)}
            (one,) = tries
            if not one.tick.jobs:
                raise
            failed = dict.fromkeys(one.due.ticks, refused) | dict(one.failed)
            without_jobs = one._replace(tick=one.tick._replace(jobs=()), failed=failed)
            return await self._tick([without_jobs], now)
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
                self._tell_waiting(one, now)
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

    def _tell_waiting(self, one: _Try, now: datetime) -> None:
        """Say once for each job that a tick waits long for it."""
        name, job_id = one.schedule.name, one.row.last_job_id
        first = one.due.ticks[0] if one.due.ticks else one.due.until
        if job_id is None or self._waited_for.get(name) == job_id or now - first < _LATE:
            return
        self._waited_for[name] = job_id
        self._emit(TickWaits, one.schedule, tick=first.isoformat(), job_id=job_id)

    def _tell_passed_over(
        self, schedule: Schedule[Any], first: datetime, last: datetime, reason: str
    ) -> None:
        times = {"first": first.isoformat(), "last": last.isoformat()}
        self._emit(TicksPassedOver, schedule, **times, reason=reason)

    def _emit(self, event: Callable[..., Any], schedule: Schedule[Any], **facts: Any) -> None:
        self._runtime.events.emit(event(schedule=schedule.name, queue=schedule.queue.name, **facts))


def _next_tick(now: datetime, rows: Iterable[tuple[Schedule[Any], ScheduleRow]]) -> datetime | None:
    # The database's clock may have been set back.
    begins = ((schedule, max(timestamp_from_text(row.last_tick), now)) for schedule, row in rows)
    ticks = (next(schedule.ticks(after), None) for schedule, after in begins)
    return min((tick for tick in ticks if tick is not None), default=None)


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
