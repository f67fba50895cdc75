"""`Store` without a database: the same promises, kept in the memory of one process.

It is there for tests and simulations: any number of clients share one store, whole clusters in one
process, under Trio's mock clock. What each statement in `sql/` does to the job table is done here
under the same name to a dictionary of rows, and every move is checked against `MOVES`. The reasons
are given there, beside the statements.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias
from uuid import uuid4

import attrs
import psycopg
import trio

from .._job import MOVES, FailureReason, JobStatus, has_next_attempt
from .failures import Sorting
from .protocol import (
    ClaimedJob,
    Enqueued,
    Exists,
    Held,
    JobRow,
    NewJob,
    Outcome,
    Position,
    Started,
    Store,
    Swept,
    SweptQueue,
    WriteResult,
)

#: Awaited with the name of a call, before it is applied and after: it may raise
#: `psycopg.OperationalError`, as a connection does that dies on the way there or back, and the call
#: fails as it would on a database; take its time; or never return.
Fault: TypeAlias = Callable[[str, Literal["before", "after"]], Awaitable[None]]

_LIVE: Final = frozenset({JobStatus.RESERVED, JobStatus.EXECUTING})

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
#: As far as a deadline or a retry may be put off.
_LONGEST: Final = 365_250 * _DAY
#: Earlier than any time of a row.
_EARLIEST: Final = -(2**63)
_LARGEST_INTEGER: Final = 2**31 - 1

#: What pending jobs are ordered by: priority, when it may run, id.
_Key: TypeAlias = tuple[int, int, str]


@attrs.define(eq=False)
class _Row:
    """A row of the job table; times are microseconds since the epoch, durations microseconds."""

    id: str
    queue_name: str
    created_at: int
    scheduled_at: int | None
    input: str
    timeout: int
    max_attempts: int
    retry_delay: int
    unique_key: str | None
    priority: int
    meta: str | None
    attempt: int = 1
    original_attempt_id: str | None = None
    previous_attempt_id: str | None = None
    losses: int = 0
    reserved_at: int | None = None
    started_at: int | None = None
    cancelled_at: int | None = None
    finished_at: int | None = None
    output: str | None = None
    deadline: int | None = None
    latest_heartbeat_at: int | None = None
    failure_reason: str | None = None
    error_data: str | None = None
    crash_type: str | None = None
    crash_message: str | None = None
    crash_traceback: str | None = None
    claim_token: str | None = None
    lease_expires_at: int | None = None

    @property
    def status(self) -> JobStatus:
        """As the table's generated column has it."""
        if self.cancelled_at is not None:
            return JobStatus.CANCELLED
        if self.reserved_at is None:
            return JobStatus.PENDING
        if self.started_at is None:
            return JobStatus.RESERVED
        if self.finished_at is None:
            return JobStatus.EXECUTING
        return JobStatus.SUCCEEDED if self.failure_reason is None else JobStatus.FAILED

    @property
    def key(self) -> _Key:
        run_at = self.created_at if self.scheduled_at is None else self.scheduled_at
        return self.priority, run_at, self.id

    @property
    def longest_run(self) -> int:
        """Its timeout, within what a deadline can hold."""
        return max(0, min(self.timeout, _LONGEST))

    def answer(self) -> JobRow:
        """What `get`, `cancel` and `claim` return of it."""
        return JobRow(
            id=self.id,
            queue_name=self.queue_name,
            created_at=_seconds(self.created_at),
            scheduled_at=_optional_seconds(self.scheduled_at),
            input=self.input,
            reserved_at=_optional_seconds(self.reserved_at),
            started_at=_optional_seconds(self.started_at),
            cancelled_at=_optional_seconds(self.cancelled_at),
            finished_at=_optional_seconds(self.finished_at),
            timeout=_seconds(self.timeout),
            status=self.status.value,
            output=self.output,
            deadline=_optional_seconds(self.deadline),
            latest_heartbeat_at=_optional_seconds(self.latest_heartbeat_at),
            failure_reason=self.failure_reason,
            error_data=self.error_data,
            attempt=self.attempt,
            max_attempts=self.max_attempts,
            original_attempt_id=self.original_attempt_id,
            previous_attempt_id=self.previous_attempt_id,
            retry_delay=_seconds(self.retry_delay),
            unique_key=self.unique_key,
            priority=self.priority,
            losses=self.losses,
            crash_type=self.crash_type,
            crash_message=self.crash_message,
            crash_traceback=self.crash_traceback,
            meta=self.meta,
        )


@attrs.frozen(eq=False)
class _Listener:
    queue_names: frozenset[str]
    channel: trio.MemorySendChannel[str | None]

    def tell(self, name: str) -> None:
        # What was not taken in yet is summed up, so that nothing is lost and nothing grows: behind
        # a name that waits goes one `None`, which says "any queue", and behind that nothing more.
        waiting = self.channel.statistics().current_buffer_used
        if name in self.queue_names and waiting < 2:
            self.channel.send_nowait(None if waiting else name)


class MemoryStore(Store):
    """A job table in memory, to be shared by all clients of one `trio.run`.

    Its clock is the database's: it stands at `epoch` when the store is first used, and runs as
    Trio's does, a mock one too. As with a database, a call that is cancelled may have been applied.

    Args:
        epoch: an aware datetime.
        make_id: makes the ids of the attempts that `sweep` inserts; a simulation that is to run the
            same way twice gives its own.
        fault: what may happen to a call on its way there or back.
    """

    def __init__(
        self,
        *,
        epoch: datetime = datetime(2000, 1, 1, tzinfo=UTC),
        make_id: Callable[[], str] = lambda: str(uuid4()),
        fault: Fault | None = None,
    ) -> None:
        self._epoch = (epoch - _UNIX_EPOCH) // _MICROSECOND
        #: What Trio's clock showed at `epoch`.
        self._origin = math.nan
        self._make_id = make_id
        self._fault = fault
        self._rows: dict[str, _Row] = {}
        # The table's indexes
        self._pending = defaultdict[str, list[_Key]](list)
        self._live = defaultdict[str, dict[str, _Row]](dict)
        #: By unique key, the id of the row that holds it.
        self._holders: dict[str, str] = {}
        self._listeners: list[_Listener] = []
        self._watchers = trio.lowlevel.ParkingLot()

    # For tests

    def now(self) -> datetime:
        """What the store's clock shows."""
        return _UNIX_EPOCH + self._now() * _MICROSECOND

    def move_clock(self, by: timedelta) -> None:
        """Set the store's clock forward, or back, without any time passing for its clients."""
        self._now()
        self._epoch += by // _MICROSECOND

    def rows(self) -> list[JobRow]:
        """Every row, in the order they were inserted."""
        return [row.answer() for row in self._rows.values()]

    def has_work(self, queue_name: str) -> bool:
        """Whether a job of this queue is due or live."""
        return bool(self._live[queue_name] or self._due(queue_name, self._now(), 1))

    def skip_to_next(self, queue_names: Sequence[str]) -> bool:
        """Set the clock forward to when the first pending job of these queues is due.

        Their workers are told; whoever is at work keeps what was left of its lease. Return whether
        there was such a job.
        """
        due = [run_at for name in queue_names if (run_at := self._next_due(name)) is not None]
        if not due:
            return False
        by = max(0, min(due) - self._now())
        self._epoch += by
        for queue in self._live.values():
            for row in queue.values():
                if row.lease_expires_at is not None:
                    row.lease_expires_at += by
        self._notify(queue_names)
        return True

    async def wait_for_change(self) -> None:
        """Wait until some call has been applied."""
        await self._watchers.park()

    # The calls

    async def check_version(self) -> None:
        async with self._call("check_version"):
            pass

    async def enqueue(
        self, jobs: Sequence[NewJob], notify: Sequence[str], connection: Any = None
    ) -> list[Enqueued | Exists | Held]:
        _refuse_connection(connection)
        async with self._call("enqueue") as now:
            answers = self._insert_batch(jobs, now)
            if any(isinstance(answer, Enqueued) for answer in answers):
                self._notify(notify)
            return answers

    async def enqueue_all(
        self,
        batches: AsyncIterable[Sequence[NewJob]],
        notify: Sequence[str],
        on_batch: Callable[[Sequence[NewJob], Sequence[Enqueued | Exists | Held]], None],
        connection: Any = None,
    ) -> None:
        _refuse_connection(connection)
        found = [batch async for batch in batches]
        async with self._call("enqueue_all") as now:
            inserted: list[_Row] = []
            try:
                for batch in found:
                    answers = self._insert_batch(batch, now)
                    inserted += (
                        self._rows[job.id]
                        for job, answer in zip(batch, answers, strict=True)
                        if isinstance(answer, Enqueued)
                    )
                    on_batch(batch, answers)
            except BaseException:
                for row in inserted:
                    self._remove(row)
                raise
            if inserted:
                self._notify(notify)

    async def get(self, ids: Sequence[str], connection: Any = None) -> dict[str, JobRow]:
        _refuse_connection(connection)
        async with self._call("get"):
            return {id: self._rows[id].answer() for id in ids if id in self._rows}

    async def cancel(self, id: str, queue_name: str, connection: Any = None) -> JobRow | None:
        _refuse_connection(connection)
        async with self._call("cancel") as now:
            row = self._rows.get(id)
            if row is None or row.queue_name != queue_name or row.status is not JobStatus.PENDING:
                return None
            self._write("cancel", row, cancelled_at=now)
            return row.answer()

    async def claim(
        self,
        queue_name: str,
        *,
        token: str,
        limit: int,
        lease: timedelta,
        start: bool,
        after: Sequence[Position] = (),
        on_rows: Callable[[Sequence[JobRow]], None] | None = None,
    ) -> list[JobRow]:
        async with self._call("claim") as now:
            rows = [self._rows[id] for _, _, id in self._due(queue_name, now, limit, after)]
            for row in rows:
                self._write(
                    "claim",
                    row,
                    reserved_at=now,
                    claim_token=token,
                    started_at=now if start else None,
                    deadline=now + row.longest_run if start else None,
                    lease_expires_at=now + lease // _MICROSECOND,
                )
            claimed = [row.answer() for row in rows]
            if on_rows is not None:
                on_rows(claimed)
            return claimed

    async def confirm(self, claims: Sequence[ClaimedJob], lease: timedelta) -> set[str]:
        async with self._call("confirm") as now:
            held: set[str] = set()
            for id, token in claims:
                row = self._rows.get(id)
                if row is None or not (
                    row.status is JobStatus.PENDING
                    or (row.status is JobStatus.EXECUTING and row.claim_token == token)
                ):
                    continue
                started_at = now if row.started_at is None else row.started_at
                self._write(
                    "confirm",
                    row,
                    reserved_at=now if row.reserved_at is None else row.reserved_at,
                    claim_token=token,
                    started_at=started_at,
                    deadline=now + row.longest_run if row.deadline is None else row.deadline,
                    lease_expires_at=now + lease // _MICROSECOND,
                )
                held.add(id)
            return held

    async def release_claims(self, queue_name: str, tokens: Sequence[str]) -> list[str]:
        async with self._call("release_claims"):
            wanted = set(tokens)
            rows = [row for row in self._live[queue_name].values() if row.claim_token in wanted]
            for row in rows:
                self._hand_back("release_claims", row)
            return [row.id for row in rows]

    async def start(self, claims: Sequence[ClaimedJob], lease: timedelta) -> list[Started]:
        async with self._call("start") as now:
            started: list[Started] = []
            for row in self._held(claims):
                started_at = now if row.started_at is None else row.started_at
                deadline = now + row.longest_run if row.deadline is None else row.deadline
                self._write(
                    "start",
                    row,
                    started_at=started_at,
                    deadline=deadline,
                    lease_expires_at=now + lease // _MICROSECOND,
                )
                started.append(Started(row.id, _seconds(started_at), _seconds(deadline)))
            return started

    async def heartbeat(
        self, claims: Sequence[ClaimedJob], lease: timedelta, reserved_timeout: timedelta
    ) -> set[str]:
        async with self._call("heartbeat") as now:
            rows = self._held(claims)
            for row in rows:
                expiry = now + lease // _MICROSECOND
                if row.reserved_at is not None and row.status is JobStatus.RESERVED:
                    expiry = min(expiry, row.reserved_at + reserved_timeout // _MICROSECOND)
                self._write("heartbeat", row, latest_heartbeat_at=now, lease_expires_at=expiry)
            return {row.id for row in rows}

    async def settle(
        self, outcomes: Sequence[Outcome], allowed_losses: int
    ) -> dict[str, WriteResult]:
        async with self._call("settle") as now:
            # As in `enqueue`: one that is refused takes the others with it.
            with Sorting("settle"):
                storable = [
                    outcome._replace(
                        output=_optional_jsonb(outcome.output),
                        error_data=_optional_jsonb(outcome.error_data),
                    )
                    for outcome in outcomes
                ]
            return {one.id: self._settle(one, allowed_losses, now) for one in storable}

    async def release(self, claims: Sequence[ClaimedJob], notify: Sequence[str]) -> set[str]:
        async with self._call("release"):
            rows = self._held(claims)
            for row in rows:
                self._hand_back("release", row)
            if rows:
                self._notify(notify)
            return {row.id for row in rows}

    async def sweep(self, queues: Sequence[SweptQueue], limit: int) -> list[Swept]:
        async with self._call("sweep") as now:
            dead = [
                (queue, row)
                for queue in queues
                for row in self._live[queue.name].values()
                if _is_dead(row, queue, now)
            ]
            return [self._sweep(row, queue, now) for queue, row in dead[:limit]]

    async def survey(self, queue_names: Sequence[str]) -> dict[str, float]:
        async with self._call("survey") as now:
            due_in: dict[str, float] = {}
            for name in queue_names:
                run_at = self._next_due(name)
                if run_at is not None:
                    due_in[name] = max(0, min(run_at - now, _DAY)) / _SECOND
            return due_in

    async def notify(self, queue_names: Sequence[str]) -> None:
        async with self._call("notify"):
            self._notify(queue_names)

    @asynccontextmanager
    async def listen(self, queue_names: Sequence[str]) -> AsyncGenerator[AsyncIterator[str | None]]:
        await trio.lowlevel.checkpoint()
        send, receive = trio.open_memory_channel[str | None](2)
        listener = _Listener(frozenset(queue_names), send)
        # As after connecting: who knows what was told before.
        send.send_nowait(None)
        self._listeners.append(listener)
        try:
            with send, receive:
                yield receive
        finally:
            self._listeners.remove(listener)

    # What the calls share

    @asynccontextmanager
    async def _call(self, name: str) -> AsyncGenerator[int]:
        """The way of a call to the database and back; yields the time there.

        The body never awaits: whatever it does is done at once, as by one statement.
        """
        await trio.lowlevel.checkpoint()
        if self._fault is not None:
            with Sorting(name):
                await self._fault(name, "before")
        yield self._now()
        self._watchers.unpark_all()
        if self._fault is not None:
            with Sorting(name):
                await self._fault(name, "after")
        await trio.lowlevel.checkpoint()

    def _now(self) -> int:
        now = trio.current_time()
        if math.isnan(self._origin):
            self._origin = now
        return self._epoch + round((now - self._origin) * _SECOND)

    def _write(self, verb: str, row: _Row, **columns: Any) -> None:
        """Set columns of a row, and keep the indexes in step; only by a move the table has."""
        before = row.status
        for column, value in columns.items():
            setattr(row, column, value)
        after = row.status
        if after is before:
            return
        assert verb in MOVES.get((before, after), ()), f"{verb}: {before} → {after}"
        if before is JobStatus.PENDING:
            pending = self._pending[row.queue_name]
            del pending[bisect_left(pending, row.key)]
        elif after not in _LIVE:
            del self._live[row.queue_name][row.id]
        if after is JobStatus.PENDING:
            insort(self._pending[row.queue_name], row.key)
        elif after in _LIVE:
            self._live[row.queue_name][row.id] = row
        elif after is not JobStatus.SUCCEEDED and row.unique_key is not None:
            del self._holders[row.unique_key]

    def _insert(self, row: _Row) -> None:
        self._rows[row.id] = row
        insort(self._pending[row.queue_name], row.key)
        if row.unique_key is not None:
            self._holders[row.unique_key] = row.id

    def _insert_batch(self, jobs: Sequence[NewJob], now: int) -> list[Enqueued | Exists | Held]:
        # All are made before any is inserted: one that is refused takes the others with it.
        with Sorting("enqueue"):
            rows = {job.id: _new_row(job, now) for job in jobs}
        # Of two jobs with one key the lower id wins.
        answers = {id: self._insert_unless_taken(rows[id]) for id in sorted(rows)}
        return [answers[job.id] for job in jobs]

    def _remove(self, row: _Row) -> None:
        """Undo an insert."""
        # A job that was given twice was inserted once.
        if self._rows.pop(row.id, None) is None:
            return
        pending = self._pending[row.queue_name]
        del pending[bisect_left(pending, row.key)]
        if row.unique_key is not None:
            del self._holders[row.unique_key]

    def _insert_unless_taken(self, row: _Row) -> Enqueued | Exists | Held:
        if row.id in self._rows:
            return Exists(self._rows[row.id].answer())
        if row.unique_key is not None and row.unique_key in self._holders:
            return Held(self._holders[row.unique_key])
        self._insert(row)
        return Enqueued(_seconds(row.created_at))

    def _due(
        self, queue_name: str, now: int, limit: int, after: Sequence[Position] = ()
    ) -> list[_Key]:
        """The first pending jobs of a queue that are due, in the order of claims."""
        pending = self._pending[queue_name]
        positions = {
            position.priority: (position.priority, _microseconds(position.run_at), position.id)
            for position in after
        }
        due: list[_Key] = []
        for start, end in _levels(pending):
            if positions:
                position = positions.get(pending[start][0])
                if position is None:
                    continue
                start = bisect_right(pending, position, start, end)  # noqa: PLW2901
                if start == end:
                    continue
            due_end = bisect_left(pending, (pending[start][0], now + 1, ""), start, end)
            due += pending[start : min(due_end, start + limit - len(due))]
            if len(due) == limit:
                break
        return due

    def _next_due(self, queue_name: str) -> int | None:
        """When the next pending job of a queue is due, or was."""
        pending = self._pending[queue_name]
        return min((pending[start][1] for start, _ in _levels(pending)), default=None)

    def _held(self, claims: Sequence[ClaimedJob]) -> list[_Row]:
        """The live rows that are still held by their claims."""
        held: dict[str, _Row] = {}
        for id, token in claims:
            row = self._rows.get(id)
            if row is not None and row.claim_token == token and row.status in _LIVE:
                held[id] = row
        return list(held.values())

    def _hand_back(self, verb: str, row: _Row) -> None:
        self._write(
            verb,
            row,
            reserved_at=None,
            started_at=None,
            deadline=None,
            latest_heartbeat_at=None,
            claim_token=None,
            lease_expires_at=None,
        )

    def _settle(self, outcome: Outcome, allowed_losses: int, now: int) -> WriteResult:
        row = self._rows.get(outcome.id)
        if row is None or row.claim_token != outcome.token:
            return WriteResult.FENCED
        if row.finished_at is not None:
            return WriteResult.REPEATED
        if row.status is not JobStatus.EXECUTING:
            return WriteResult.FENCED
        retried = self._end(
            "settle",
            row,
            now,
            outcome.failure_reason,
            outcome.next_attempt_id,
            allowed_losses,
            output=outcome.output,
            error_data=outcome.error_data,
            crash_type=outcome.crash_type,
            crash_message=outcome.crash_message,
            crash_traceback=outcome.crash_traceback,
        )
        return WriteResult.RETRIED if retried else WriteResult.SETTLED

    def _sweep(self, row: _Row, queue: SweptQueue, now: int) -> Swept:
        if row.status is JobStatus.RESERVED:
            self._hand_back("sweep", row)
            return Swept(row.queue_name, row.id, None, False, row.attempt, row.max_attempts)
        ours = row.claim_token is not None
        reason = FailureReason.HEARTBEAT_TIMEOUT if ours else FailureReason.JOB_TIMEOUT
        retried = self._end(
            "sweep",
            row,
            now,
            reason.value,
            self._make_id(),
            queue.allowed_losses,
            claim_token=None,
            lease_expires_at=None,
        )
        return Swept(row.queue_name, row.id, reason.value, retried, row.attempt, row.max_attempts)

    def _end(
        self,
        verb: str,
        row: _Row,
        now: int,
        failure_reason: str | None,
        next_attempt_id: str | None,
        allowed_losses: int,
        **columns: Any,
    ) -> bool:
        """End an attempt; return whether the next was inserted, as the retry rule says."""
        lost = failure_reason == FailureReason.HEARTBEAT_TIMEOUT.value
        self._write(
            verb,
            row,
            finished_at=now,
            failure_reason=failure_reason,
            losses=min(row.losses, _LARGEST_INTEGER - 1) + lost,
            **columns,
        )
        if failure_reason is None or not has_next_attempt(
            FailureReason(failure_reason),
            attempt=row.attempt,
            max_attempts=row.max_attempts,
            losses=row.losses,
            allowed_losses=allowed_losses,
        ):
            return False
        assert next_attempt_id is not None
        if next_attempt_id in self._rows:
            return False
        self._insert(
            _Row(
                id=next_attempt_id,
                queue_name=row.queue_name,
                created_at=now,
                scheduled_at=now + max(0, min(row.retry_delay, _LONGEST)),
                input=row.input,
                timeout=row.timeout,
                max_attempts=row.max_attempts,
                retry_delay=row.retry_delay,
                unique_key=row.unique_key,
                priority=row.priority,
                meta=row.meta,
                attempt=min(row.attempt, _LARGEST_INTEGER - 1) + 1,
                original_attempt_id=row.original_attempt_id or row.id,
                previous_attempt_id=row.id,
                losses=row.losses,
            )
        )
        return True

    def _notify(self, queue_names: Sequence[str]) -> None:
        for listener in self._listeners:
            for name in queue_names:
                listener.tell(name)


def _new_row(job: NewJob, now: int) -> _Row:
    scheduled_at = job.scheduled_at
    return _Row(
        id=job.id,
        queue_name=job.queue_name,
        created_at=now,
        scheduled_at=None if scheduled_at is None else (scheduled_at - _UNIX_EPOCH) // _MICROSECOND,
        input=_jsonb(job.input),
        timeout=job.timeout // _MICROSECOND,
        max_attempts=job.max_attempts,
        retry_delay=job.retry_delay // _MICROSECOND,
        unique_key=job.unique_key,
        priority=job.priority,
        meta=_optional_jsonb(job.meta),
    )


def _is_dead(row: _Row, queue: SweptQueue, now: int) -> bool:
    """Whether nobody looks after a live row any more.

    A row without a token is the original's; no call here makes one, and a test may.
    """
    if row.claim_token is not None:
        return row.lease_expires_at is not None and row.lease_expires_at < now
    if row.status is JobStatus.EXECUTING:
        return row.deadline is not None and row.deadline < now
    return row.reserved_at is not None and (
        row.reserved_at < now - queue.reserved_timeout // _MICROSECOND
    )


def _levels(pending: Sequence[_Key]) -> Iterator[tuple[int, int]]:
    """Where the jobs of each priority begin and end, the most urgent first."""
    start = 0
    while start < len(pending):
        end = bisect_left(pending, (pending[start][0] + 1, _EARLIEST, ""), start)
        yield start, end
        start = end


def _seconds(microseconds: int) -> str:
    """As `extract(epoch from …)` writes it."""
    whole, fraction = divmod(abs(microseconds), _SECOND)
    return f"{'-' if microseconds < 0 else ''}{whole}.{fraction:06d}"


def _microseconds(seconds: str) -> int:
    """The same read again."""
    whole, _, fraction = seconds.partition(".")
    return int(whole + fraction.ljust(6, "0"))


def _optional_seconds(microseconds: int | None) -> str | None:
    return None if microseconds is None else _seconds(microseconds)


#: A string, or a number with an exponent.
_STRING_OR_NUMBER: Final = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?[eE][+-]?\d+')
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
#: How many digits PostgreSQL's numbers have, before the point and after it.
_MOST_DIGITS: Final = 131_072
_MOST_DECIMALS: Final = 16_383


def _jsonb(text: str) -> str:
    """JSON as a `jsonb` column gives it back, as far as a reader can tell.

    Its numbers are decimal and have no exponent, so that 1e300 comes back as an integer.

    Raises:
        psycopg.DataError: a `jsonb` column would not take it.
    """
    try:
        value = json.loads(text, parse_int=str, parse_constant=_refuse_constant)
        if "\\u" in text:
            if _NUL.search(text):
                raise ValueError("\\u0000 cannot be converted to text")
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate cannot be encoded
        return _STRING_OR_NUMBER.sub(_without_exponent, text)
    except ValueError as error:
        raise psycopg.DataError(f"invalid JSON: {error}") from error
    except RecursionError:
        # Deeper than Python's parser goes, though not too deep for the database's.
        return text


def _optional_jsonb(text: str | None) -> str | None:
    return None if text is None else _jsonb(text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _without_exponent(match: re.Match[str]) -> str:
    if match[0].startswith('"'):
        return match[0]
    number = Decimal(match[0])
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    if number.adjusted() >= _MOST_DIGITS or -exponent > _MOST_DECIMALS:
        raise ValueError(f"the number {match[0]} is out of range")
    return f"{number:f}"


def _refuse_connection(connection: object) -> None:
    if connection is not None:
        raise TypeError(
            "a MemoryStore is no database, and cannot take part in a connection's transaction: "
            f"connection must be None, not {connection!r}"
        )
