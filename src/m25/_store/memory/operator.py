"""`Operator` in memory: the same promises, over the same table as the store."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from statistics import mean
from typing import Final

from ..._lifecycle import FINAL, KEYLESS, LIVE, JobStatus
from ..columns import INHERITED
from ..jsonb import as_jsonb_text, contains_jsonb
from ..lanes import key_of
from ..operator import (
    Answer,
    CountedJobs,
    FoundJob,
    FoundJobs,
    JobFilter,
    JobWait,
    LimitState,
    Look,
    NewAttempt,
    Operator,
    QueueRate,
    QueueState,
    Refusal,
    WorkerState,
)
from ..operator_steps import source_of
from .keys import Keys
from .limits import Limits
from .listeners import Listeners
from .pruning import Pruning
from .queues import Queues
from .rates import Rates
from .rows import FAR_AWAY, LARGEST_INTEGER, MICROSECOND, SECOND, UNIX_EPOCH, Row, seconds
from .table import Table
from .way import Way
from .workers import Workers

#: How many characters of an input or an error there are in a list.
_CUT: Final = 300


class MemoryOperator(Operator):
    """One for each store, of whose parts it is made."""

    def __init__(
        self,
        way: Way,
        table: Table,
        keys: Keys,
        queues: Queues,
        limits: Limits,
        rates: Rates,
        workers: Workers,
        listeners: Listeners,
        pruning: Pruning,
    ) -> None:
        self._way = way
        self._table = table
        self._keys = keys
        self._queues = queues
        self._limits = limits
        self._rates = rates
        self._workers = workers
        self._listeners = listeners
        self._pruning = pruning

    async def queues(self, most: int, silence: timedelta) -> list[QueueState]:
        async with self._way.call("queues") as now:
            failed = Counter(
                row.queue_name
                for row in self._table.rows.values()
                if row.status is JobStatus.FAILED and self._is_latest(row)
            )
            names = {*self._table.unended_queue_names(), *failed, *self._queues.names()}
            since = now - silence // MICROSECOND
            return [
                self._state(name, min(failed[name], most), most, since, now)
                for name in sorted(names)
            ]

    async def limits(self, most: int) -> list[LimitState]:
        async with self._way.call("limits") as now:
            return self._limits.states(most, now)

    async def workers(self, silence: timedelta) -> list[WorkerState]:
        async with self._way.call("workers") as now:
            return self._workers.states(now, now - silence // MICROSECOND)

    async def rates(self, within: timedelta, walk: int) -> list[QueueRate]:
        async with self._way.call("rates") as now:
            since = now - within // MICROSECOND
            ended = defaultdict[str, list[Row]](list)
            for id in sorted(self._table.rows)[-walk:]:
                row = self._table.rows[id]
                if row.started_at and row.finished_at and row.finished_at > since:
                    ended[row.queue_name].append(row)
            return [_rate(name, rows) for name, rows in sorted(ended.items())]

    async def find(
        self, wanted: JobFilter, *, after: str | None, limit: int, walk: int
    ) -> FoundJobs:
        async with self._way.call("find"):
            rows, look = self._walk(wanted, after, walk)
            if len(rows) >= limit:
                rows = rows[:limit]
                look = Look(rows[-1].id, seconds(rows[-1].created_at))
            return FoundJobs([_found(row) for row in rows], look)

    async def count(self, wanted: JobFilter, *, after: str | None, walk: int) -> CountedJobs:
        async with self._way.call("count"):
            rows, look = self._walk(wanted, after, walk)
            return CountedJobs(Counter(row.status.value for row in rows), look)

    async def find_below(self, id: str, most: int) -> list[FoundJob]:
        async with self._way.call("find_below"):
            row = self._table.rows.get(id)
            below = () if row is None else self._table.tree([row.job_id], [])
            jobs = list(dict.fromkeys(each.job_id for each in below))[:most]
            return [_found(self._table.chain(job_id)[-1]) for job_id in jobs]

    async def find_wait(self, id: str, silence: timedelta) -> JobWait | None:
        async with self._way.call("find_wait") as now:
            row = self._table.rows.get(id)
            if row is None or row.status is not JobStatus.PENDING:
                return None
            queue = self._queues.row(row.queue_name)
            declared = self._queues.declared(row.queue_name)
            path = None if declared is None else declared.held_by
            key = None if path is None else key_of(row.input, path)
            is_ordered = declared is not None and declared.order_path is not None
            places = self._table.places
            return JobWait(
                seconds(row.run_at),
                row.run_at <= now,
                queue.paused_at is not None,
                queue.pause_reason,
                self._workers.serving(row.queue_name, now - silence // MICROSECOND),
                row.setup_failures,
                row.awaits,
                row.follows if self._table.waits_for_end(row) else None,
                row.order_key if is_ordered else None,
                places.stopped_before(row) if is_ordered else None,
                self._first_before(row) if is_ordered else None,
                row.is_held_up,
                queue.limiter,
                key,
                self._limits.size(queue.limiter),
                self._limits.running(queue.limiter, declared, key),
                self._limits.held(queue.limiter, declared, key),
                self._rates.next_start_at(declared, key, now),
            )

    def _first_before(self, row: Row) -> str | None:
        """The first job of a row's key that has not ended, if that is another one."""
        if row.order_key is None:
            return None
        head = self._table.places.head(row.queue_name, row.order_key)
        return None if head is None or head == row.id else self._table.rows[head].job_id

    async def retry(
        self,
        attempts: Sequence[NewAttempt],
        *,
        lock_wait: timedelta | None = None,  # noqa: ARG002 - nobody holds a lock here
    ) -> list[Answer]:
        async with self._way.call("retry") as now:
            answered: dict[str, Answer] = {}
            for attempt in attempts:
                chain = self._table.chain(attempt.id)
                if not chain:
                    continue
                # One job may be asked for by the ids of several of its attempts.
                answer = answered.get(chain[0].job_id) or self._retry(chain[-1], attempt, now)
                answered[chain[0].job_id] = answered[attempt.id] = answer._replace(id=attempt.id)
            return [answered.get(one.id) or Answer(one.id, Refusal.UNKNOWN) for one in attempts]

    async def holds_others(self, id: str) -> bool:
        async with self._way.call("holds_others"):
            row = self._table.rows.get(id)
            if row is None or not self._queues.has_order(row.queue_name):
                return False
            return self._table.places.is_stopped_for(id)

    async def skip(self, ids: Sequence[str]) -> list[Answer]:
        async with self._way.call("skip"):
            return [self._skip(id) for id in ids]

    async def delete(self, ids: Sequence[str]) -> list[Answer]:
        async with self._way.call("delete"):
            chains = {id: self._table.chain(id) for id in ids}
            answered: dict[str, Refusal | None] = {}
            for chain in chains.values():
                if chain and chain[0].job_id not in answered:
                    answered[chain[0].job_id] = self._delete(chain[-1])
            return [
                Answer(id, answered[chain[0].job_id] if chain else Refusal.UNKNOWN)
                for id, chain in chains.items()
            ]

    # What the calls share

    def _skip(self, id: str) -> Answer:
        row = self._table.rows.get(id)
        if row is None:
            return Answer(id, Refusal.UNKNOWN)
        if not self._table.places.is_stopped_for(row.job_id):
            return Answer(id, Refusal.HOLDS_NONE)
        # rule: in memory, too, what is skipped holds its key no more
        self._table.places.go_on(row.job_id)
        self._listeners.notify([row.queue_name])
        return Answer(id, None)

    def _state(self, name: str, failed: int, most: int, since: int, now: int) -> QueueState:
        declared = self._queues.row(name)
        pending = self._table.pending(name)[:most]
        due = sum(run_at <= now for _, run_at, _ in pending)
        waiting = sum(run_at >= FAR_AWAY for _, run_at, _ in pending)
        first = self._table.first_due(name)
        return QueueState(
            *declared[:7],
            self._limits.size(declared.limiter),
            due,
            len(pending) - due - waiting,
            waiting,
            min(len(self._table.live(name)), most),
            failed,
            seconds(first) if first is not None and first <= now else None,
            self._workers.serving(name, since),
        )

    def _walk(self, wanted: JobFilter, after: str | None, walk: int) -> tuple[list[Row], Look]:
        """What is found in a part of a walk, and where that ends."""
        source = source_of(wanted)
        rows = [
            row
            for row in sorted(self._table.rows.values(), key=lambda row: row.id, reverse=True)
            if (after is None or row.id < after)
            and (source != "unsuccessful" or row.status in KEYLESS)
            and (source != "unended" or row.status not in FINAL)
        ]
        look = Look(None, None)
        if source != "unended" and len(rows) >= walk:
            rows = rows[:walk]
            look = Look(rows[-1].id, seconds(rows[-1].created_at))
        return [row for row in rows if self._is_wanted(row, wanted)], look

    def _is_wanted(self, row: Row, wanted: JobFilter) -> bool:
        if wanted.queue_name is not None and row.queue_name != wanted.queue_name:
            return False
        if wanted.statuses is not None and row.status.value not in wanted.statuses:
            return False
        created_at, ended_at = row.created_at, _ended_at(row)
        if wanted.since is not None and _time(created_at) < wanted.since:
            return False
        if (before := wanted.ended_before) is not None and (
            ended_at is None or _time(ended_at) >= before
        ):
            return False
        if not self._is_latest(row):
            return False
        return wanted.where is None or contains_jsonb(row.input, wanted.where)

    def _is_latest(self, row: Row) -> bool:
        return self._table.chain(row.id)[-1] is row

    def _retry(self, row: Row, attempt: NewAttempt, now: int) -> Answer:
        refusal, other_id = self._why_not(row)
        if refusal is not None:
            return Answer(attempt.id, refusal, other_id)
        number = min(row.attempt, LARGEST_INTEGER - 1) + 1
        inherited = {name: getattr(row, name) for name in INHERITED}
        inherited["expires_at"] = None
        inherited["max_attempts"] = max(
            row.max_attempts, min(row.attempt - row.losses + 1, LARGEST_INTEGER)
        )
        self._table.insert(
            Row(
                **inherited,
                id=attempt.next_id,
                created_at=now,
                scheduled_at=now,
                attempt=number,
                original_attempt_id=row.job_id,
                previous_attempt_id=row.id,
            )
        )
        self._table.places.go_on(row.job_id)
        self._listeners.notify([row.queue_name])
        return Answer(attempt.id, None, attempt.next_id)

    def _why_not(self, row: Row) -> tuple[Refusal | None, str | None]:
        """Why a job cannot be retried, if it cannot; and who has its key."""
        if row.status is JobStatus.SUCCEEDED:
            return Refusal.SUCCEEDED, None
        if row.status not in KEYLESS:
            return Refusal.LIVE, None
        if row.parent_id is not None:
            return Refusal.CHILD, None
        if row.has_begun is not None and not self._keys.is_of(row.job_id):
            return Refusal.KEY_HELD, None
        if row.unique_key is not None and (holder := self._table.holder(row.unique_key)):
            return Refusal.KEY_HELD, holder
        if row.id in self._table.locked:
            return Refusal.LOCKED, None
        return None, None

    def _delete(self, latest: Row) -> Refusal | None:
        if latest.parent_id is not None:
            return Refusal.CHILD
        tree = list(self._tree(latest))
        if any(row.status not in FINAL for row in tree):
            return Refusal.LIVE
        if any(row.id in self._table.locked for row in tree):
            return Refusal.LOCKED
        self._pruning.delete(tree)
        return None

    def _tree(self, latest: Row) -> Iterator[Row]:
        yield from self._table.chain(latest.id)
        if latest.has_children:
            yield from self._table.tree([latest.job_id], [])


def _rate(queue_name: str, ended: Sequence[Row]) -> QueueRate:
    begins_and_ends = [(row.run_at, row.started_at or 0, row.finished_at or 0) for row in ended]
    return QueueRate(
        queue_name,
        len(ended),
        sum(row.failure_reason is not None for row in ended),
        mean(max(begin - due, 0) for due, begin, _ in begins_and_ends) / SECOND,
        mean(end - begin for _, begin, end in begins_and_ends) / SECOND,
    )


def _ended_at(row: Row) -> int | None:
    return row.cancelled_at if row.finished_at is None else row.finished_at


def _time(microseconds: int) -> datetime:
    return UNIX_EPOCH + microseconds * MICROSECOND


def _found(row: Row) -> FoundJob:
    error = None if row.cancelled_at is None else row.cancel_reason
    if row.error_data is not None:
        error = as_jsonb_text(row.error_data)
    if row.crash_type is not None:
        message = "" if row.crash_message is None else f": {row.crash_message[:_CUT]}"
        error = row.crash_type[:_CUT] + message
    ended_at = _ended_at(row)
    return FoundJob(
        row.id,
        row.job_id,
        row.queue_name,
        row.status.value,
        row.attempt,
        row.max_attempts,
        row.losses,
        row.priority,
        seconds(row.created_at),
        seconds(row.was_due_at if row.is_held_up and row.was_due_at is not None else row.run_at),
        None if row.started_at is None else seconds(row.started_at),
        None if ended_at is None else seconds(ended_at),
        row.failure_reason,
        None if error is None else error[:_CUT],
        as_jsonb_text(row.input)[:_CUT],
        row.unique_key,
        row.parent_id,
        row.cancel_requested_at is not None and row.status in LIVE,
    )
