"""The calls of the store in memory; long, because it has all of them."""

from __future__ import annotations

import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import trio

from ..._errors import UsageError
from ..._keep import Keep
from ..._lifecycle import FINAL, LIVE, JobStatus, reason_of_death, seconds_apart
from ..failures import Sorting
from ..jsonb import as_jsonb, as_jsonb_text, optional_jsonb
from ..operator import Operator
from ..protocol import (
    FOREVER,
    LONGEST_UNKNOWN,
    AnyJob,
    AskedPlace,
    CancelAsked,
    CancelRequest,
    Change,
    Claimed,
    ClaimedInOrder,
    ClaimedJob,
    DeclaredQueue,
    Descendants,
    Due,
    Enqueued,
    Exists,
    FairClaim,
    FairlyClaimed,
    Fenced,
    Held,
    Hinted,
    JobRow,
    Kept,
    LetGo,
    LimitedClaim,
    Locked,
    LostHolder,
    NewChild,
    NewJob,
    NewMessage,
    NewReceive,
    NewSchedule,
    NewStep,
    NewTick,
    NoMessage,
    Outcome,
    PassedOn,
    Position,
    Pruned,
    RateHold,
    Refused,
    Release,
    ScheduleRow,
    Schedules,
    Sent,
    StackAnswer,
    StackAsked,
    Started,
    StepRow,
    Store,
    Suspect,
    Swept,
    SweptQueue,
    TakenPlaces,
    Ticked,
    Transaction,
    Turn,
    UniqueAnswer,
    UniqueJob,
    Unserved,
    Walked,
    WalkedHeldUp,
    Watched,
    Worker,
    WriteResult,
    Written,
    row_of,
)
from ..tree_steps import ENDED_ABOVE, TreeLocked
from .clock import Clock
from .holders import Holders
from .keys import Keys
from .lanes import Lanes
from .limits import Chosen, Limits
from .listeners import Listeners
from .messages import Messages
from .newer import NewerLine
from .operator import MemoryOperator
from .order import Order
from .pruning import Pruning
from .queues import Queues
from .rates import Rates
from .rows import (
    DAY,
    LARGEST_INTEGER,
    MICROSECOND,
    SECOND,
    UNIX_EPOCH,
    Row,
    microseconds,
    new_row,
    seconds,
)
from .schedules import ScheduleTable
from .steps import Steps, storable
from .table import Table
from .transactions import Writes, open_transaction
from .trees import Trees
from .way import Fault, Way, refuse_connection
from .workers import Workers, is_as_seen

#: The channel of jobs for which several processes wait.
_ALL_WAITERS: Final = "all"
#: When a job is due that waits for a message, however long that takes.
_FOREVER: Final = microseconds(FOREVER)
#: Of a job that is told of a failure, where its queue has no worker that says.
_TIMEOUT: Final = timedelta(minutes=5)


class MemoryStore(Store):
    """A job table in memory, to be shared by all clients of one `trio.run`.

    Its clock is the database's: it stands at `epoch` when the store is first used, and runs as
    Trio's does, a mock one too. As with a database, a call that is cancelled may have been applied.

    Args:
        epoch: an aware datetime.
        make_id: makes the ids of the attempts that `sweep` inserts; a simulation that is to run the
            same way twice gives its own.
        fault: what may happen to a call on its way there or back.
        connection: on which the handlers of transactional queues write, one after the other, and
            the functions of `RunningJob.transact`. In a transaction that the test has open, each of
            theirs is a savepoint.
    """

    def __init__(
        self,
        *,
        epoch: datetime = datetime(2000, 1, 1, tzinfo=UTC),
        make_id: Callable[[], str] = lambda: str(uuid4()),
        fault: Fault | None = None,
        connection: Any = None,
    ) -> None:
        self._clock = Clock(epoch)
        self._make_id = make_id
        self._table = Table()
        self._keys = Keys(self._table)
        self._steps = Steps()
        self._messages = Messages()
        self._queues = Queues()
        self._pruning = Pruning(self._table, self._queues, self._steps, self._messages)
        self._schedules = ScheduleTable(self._table)
        self._listeners = Listeners()
        self._trees = Trees(self._table, self._listeners, self._chain_ended)
        self._way = Way(self._clock, fault)
        self._connection = connection
        #: Whose turn it is to have a transaction on it.
        self._connection_turns = trio.Lock()
        self._writes = Writes(self._keep_step, self._settle, self.lock, self.unlock)
        self._unlocked = trio.lowlevel.ParkingLot()
        self._workers = Workers()
        self._holders = Holders(self._clock)
        self._limits = Limits(self._table, self._queues, self._holders, self._clock)
        self._lanes = Lanes(self._table, self._queues, self._limits)
        self._rates = Rates(self._table, self._queues, self._limits)
        self._order = Order(self._table, self._queues, self._limits)
        self._newer = NewerLine(self._table)
        self.operator: Operator = MemoryOperator(
            self._way,
            self._table,
            self._keys,
            self._queues,
            self._limits,
            self._rates,
            self._workers,
            self._listeners,
            self._pruning,
        )

    # For tests

    def now(self) -> datetime:
        """What the store's clock shows."""
        return UNIX_EPOCH + self._clock.now() * MICROSECOND

    def move_clock(self, by: timedelta) -> None:
        """Set the store's clock forward, or back, without any time passing for its clients."""
        self._clock.move(by)

    def lock(self, id: str) -> None:
        """Lock a row, as a stranger's open transaction does, until `unlock`."""
        self._table.locked.add(id)

    def unlock(self, id: str) -> None:
        """End the stranger's transaction; nothing happens where the row is not locked."""
        self._table.locked.discard(id)
        self._unlocked.unpark_all()

    def rows(self) -> list[JobRow]:
        """Every row, in the order they were inserted."""
        return [row.answer() for row in self._table.rows.values()]

    def has_work(self, queue_name: str) -> bool:
        """Whether a job of this queue is live; or due, or held up, and the queue not paused."""
        table = self._table
        if table.live(queue_name):
            return True
        if self._queues.pause_of(queue_name) is not None:
            return False
        return table.has_due(queue_name, self._clock.now()) or bool(table.held_up(queue_name))

    def skip_to_next(self, queue_names: Sequence[str]) -> bool:
        """Set the clock forward to when the first pending job of these queues is due.

        Their workers are notified; whoever is at work keeps what was left of its lease. Return
        whether there was such a job. One that waits for a message, however long that takes, is
        due at no time.
        """
        at = self.next_due(queue_names)
        if at is None:
            return False
        self.skip_to(at, queue_names)
        return True

    def next_due(self, queue_names: Sequence[str]) -> datetime | None:
        """When the first pending job of these queues is due that may begin, if there is one."""
        due = [
            run_at
            for name in queue_names
            if self._queues.pause_of(name) is None
            and (run_at := self._table.next_due(name)) is not None
            and run_at < _FOREVER
        ]
        return UNIX_EPOCH + min(due) * MICROSECOND if due else None

    def skip_to(self, at: datetime, queue_names: Sequence[str]) -> None:
        """Set the clock forward to a time, if that is to come, as `skip_to_next` does."""
        by = max(0, (at - UNIX_EPOCH) // MICROSECOND - self._clock.now())
        self._clock.move(by * MICROSECOND)
        for row in self._table.all_live():
            if row.lease_expires_at is not None:
                row.lease_expires_at += by
        self._holders.skip(by)
        self._listeners.notify(queue_names)

    async def wait_for_change(self) -> None:
        """Wait until some call has been applied."""
        await self._way.wait_for_change()

    def end_sessions(self, worker_id: str) -> None:
        """Do as a database does whose client is killed: the sessions of this worker are gone."""
        self._workers.end_sessions(worker_id)

    # The calls

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[None]:
        yield

    async def check_version(self) -> None:
        async with self._way.call("check_version"):
            pass

    async def enqueue(
        self,
        jobs: Sequence[NewJob],
        notify: Sequence[str],
        connection: Any = None,
        *,
        lock_wait: timedelta | None = None,  # noqa: ARG002 - nobody holds a lock here
    ) -> list[Enqueued | Exists | Held]:
        refuse_connection(connection)
        async with self._way.call("enqueue", is_awaited=True) as now:
            answers = self._insert_batch(jobs, now)
            if any(isinstance(answer, Enqueued) for answer in answers):
                self._listeners.notify(notify)
            return answers

    async def enqueue_unique(
        self,
        jobs: Sequence[UniqueJob],
        notify: Sequence[str],
        connection: Any = None,
        *,
        lock_wait: timedelta | None = None,  # noqa: ARG002
    ) -> list[UniqueAnswer]:
        refuse_connection(connection)
        async with self._way.call("enqueue_unique", is_awaited=True) as now:
            # All of them or none, as one transaction has it.
            with self._keys.transaction():
                answers = self._put_batch(jobs, now)
            self._listeners.notify(notify)
            return answers

    async def enqueue_all(
        self,
        batches: AsyncIterable[Sequence[AnyJob]],
        notify: Sequence[str],
        on_batch: Callable[[Sequence[AnyJob], Sequence[UniqueAnswer]], None],
        connection: Any = None,
        *,
        lock_wait: timedelta | None = None,  # noqa: ARG002
    ) -> None:
        refuse_connection(connection)
        found = [batch async for batch in batches]
        async with self._way.call("enqueue_all", is_awaited=True) as now:
            inserted: list[Row] = []
            try:
                with self._keys.transaction():
                    for batch in found:
                        answers = self._put_batch(batch, now)
                        inserted += (
                            self._table.rows[row_of(job).id]
                            for job, answer in zip(batch, answers, strict=True)
                            if isinstance(answer, Enqueued)
                        )
                        on_batch(batch, answers)
            except BaseException:
                for row in inserted:
                    self._table.remove(row)
                raise
            if inserted:
                self._listeners.notify(notify)

    async def start_children(
        self,
        children: Sequence[NewChild],
        notify: Sequence[str],
        *,
        lock_wait: timedelta | None = None,  # noqa: ARG002
    ) -> list[Enqueued | Exists | Held | Locked | Refused]:
        async with self._way.call("start_children", is_awaited=True) as now:
            with Sorting("start_children"):
                rows = [new_row(child.job, now) for child in children]
            for row, child in zip(rows, children, strict=True):
                row.nursery = child.nursery
            answers = [
                self._start_child(row, child.parent)
                for row, child in zip(rows, children, strict=True)
            ]
            if any(isinstance(answer, Enqueued) for answer in answers):
                self._listeners.notify(notify)
            return answers

    async def live_children(self, parent_id: str, nursery: str) -> set[str]:
        async with self._way.call("live_children"):
            return {
                row.job_id
                for row in self._table.children[parent_id]
                if row.nursery == nursery and row.status not in FINAL
            }

    async def cancel_descendants(
        self,
        parents: Sequence[str],
        ids: Sequence[str] = (),
        connection: Any = None,
        *,
        by: str | None = None,
        reason: str | None = None,
        holder: ClaimedJob | None = None,
    ) -> Descendants:
        refuse_connection(connection)
        async with self._way.call("cancel_descendants") as now:
            if holder is not None:
                held, locked = self._table.held([holder])
                if not held or held[0].status is not JobStatus.EXECUTING:
                    return Descendants(is_unfinished=bool(locked))
            reached = self._trees.cancel(parents, ids, now, by, reason)
            return Descendants(tuple(reached), self._trees.is_locked(parents, ids))

    async def get(self, ids: Sequence[str], connection: Any = None) -> dict[str, JobRow]:
        refuse_connection(connection)
        async with self._way.call("get"):
            return {id: self._table.rows[id].answer() for id in ids if id in self._table.rows}

    async def cancel(
        self,
        id: str,
        queue_name: str,
        connection: Any = None,
        *,
        by: str | None = None,
        reason: str | None = None,
        with_children: bool = False,
        lock_wait: timedelta | None = None,  # noqa: ARG002
    ) -> JobRow | None:
        refuse_connection(connection)
        while id in self._table.locked:
            await self._unlocked.park()
        async with self._way.call("cancel", is_awaited=True) as now:
            row = self._table.rows.get(id)
            if row is None or row.queue_name != queue_name or row.status is not JobStatus.PENDING:
                return None
            if row.has_children:
                if not with_children:
                    return None
                if self._trees.is_locked([row.job_id]):
                    raise TreeLocked
                self._trees.cancel([row.job_id], [], now, by, reason)
            self._table.write(
                "cancel", row, cancelled_at=now, cancelled_by=by, cancel_reason=reason
            )
            self._chain_ended(row)
            return row.answer()

    async def change(
        self,
        id: str,
        queue_name: str,
        change: Change,
        connection: Any = None,
        *,
        lock_wait: timedelta | None = None,  # noqa: ARG002
    ) -> JobRow | None:
        refuse_connection(connection)
        while id in self._table.locked:
            await self._unlocked.park()
        async with self._way.call("change"):
            row = self._table.rows.get(id)
            if row is None or row.queue_name != queue_name or row.status is not JobStatus.PENDING:
                return None
            self._table.change(row, change)
            self._listeners.notify([queue_name])
            return row.answer()

    async def request_cancel(
        self,
        id: str,
        queue_name: str,
        connection: Any = None,
        *,
        by: str | None = None,
        reason: str | None = None,
        lock_wait: timedelta | None = None,  # noqa: ARG002
    ) -> JobRow | None:
        refuse_connection(connection)
        while id in self._table.locked:
            await self._unlocked.park()
        async with self._way.call("request_cancel") as now:
            row = self._table.rows.get(id)
            if row is None or row.queue_name != queue_name or row.status not in LIVE:
                return None
            if row.claim_token is None:
                return None
            if row.cancel_requested_at is None:
                self._table.write(
                    "request_cancel",
                    row,
                    cancel_requested_at=now,
                    cancelled_by=by,
                    cancel_reason=reason,
                )
            self._listeners.ask_to_cancel(CancelAsked(queue_name, id))
            return row.answer()

    async def find_cancel_requests(self, claims: Sequence[ClaimedJob]) -> list[CancelRequest]:
        async with self._way.call("find_cancel_requests"):
            return [
                CancelRequest(row.id, row.cancelled_by, row.cancel_reason)
                for row in map(self._table.rows.get, (claim.id for claim in claims))
                if row is not None
                and ClaimedJob(row.id, row.claim_token or "") in claims
                and row.status in LIVE
                and row.cancel_requested_at is not None
            ]

    async def request_stack(
        self,
        id: str,
        queue_name: str,
        *,
        lock_wait: timedelta | None = None,  # noqa: ARG002
    ) -> str | None:
        while id in self._table.locked:
            await self._unlocked.park()
        async with self._way.call("request_stack") as now:
            row = self._table.rows.get(id)
            if row is None or row.status not in LIVE or row.claim_token is None:
                return None
            row.stack_asked_at, row.stack = now, None
            self._listeners.ask_for_stack(StackAsked(queue_name, id))
            return seconds(now)

    async def answer_stack(self, claim: ClaimedJob, stack: str) -> bool:
        async with self._way.call("answer_stack"):
            rows, _ = self._table.held([claim])
            waiting = [row for row in rows if row.stack_asked_at is not None and row.stack is None]
            for row in waiting:
                row.stack = stack
            return bool(waiting)

    async def find_stack(self, id: str) -> StackAnswer | None:
        async with self._way.call("find_stack"):
            row = self._table.rows.get(id)
            if row is None:
                return None
            asked_at = None if row.stack_asked_at is None else seconds(row.stack_asked_at)
            return StackAnswer(row.status.value, asked_at, row.stack)

    async def forget_stack(
        self,
        id: str,
        asked_at: str,
        *,
        lock_wait: timedelta | None = None,  # noqa: ARG002
    ) -> None:
        while id in self._table.locked:
            await self._unlocked.park()
        async with self._way.call("forget_stack"):
            row = self._table.rows.get(id)
            if row is not None and row.stack_asked_at == microseconds(asked_at):
                row.stack_asked_at = row.stack = None

    async def latest(self, ids: Sequence[str], connection: Any = None) -> dict[str, JobRow]:
        refuse_connection(connection)
        async with self._way.call("latest"):
            chains = {id: self._table.chain(id) for id in ids}
            return {id: chain[-1].answer() for id, chain in chains.items() if chain}

    async def attempts(self, id: str, connection: Any = None) -> list[JobRow]:
        refuse_connection(connection)
        async with self._way.call("attempts"):
            return [row.answer() for row in self._table.chain(id)]

    async def watch(self, ids: Sequence[str], waiter: str) -> dict[str, Watched]:
        async with self._way.call("watch"):
            watched: dict[str, Watched] = {}
            for id in ids:
                chain = self._table.chain(id)
                if not chain:
                    continue
                row = chain[-1]
                # A row that ended is left as it is.
                if row.status not in FINAL and row.id not in self._table.locked:
                    row.waiter = waiter if row.waiter in (None, waiter) else _ALL_WAITERS
                watched[id] = Watched(row.answer(), row.waiter in (waiter, _ALL_WAITERS))
            return watched

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
        async with self._way.call("claim") as now:
            if self._queues.pause_of(queue_name) is not None:
                limit = 0
            rows = [
                self._table.rows[id] for _, _, id in self._table.due(queue_name, now, limit, after)
            ]
            claimed = self._claim("claim", rows, now, token, lease, start)
            if on_rows is not None:
                on_rows(claimed)
            return claimed

    async def claim_limited(self, asked: LimitedClaim, *, from_key: str | None = None) -> Claimed:
        async with self._way.call("claim") as now:
            if self._queues.pause_of(asked.queue_name) is not None:
                return Claimed([], is_full=False, has_more=False)
            if from_key is None:
                chosen = self._limits.choose(asked.queue_name, asked.limiter, asked.limit, now)
            else:
                chosen = self._limits.choose_by_key(
                    asked.queue_name, asked.limiter, asked.limit, from_key, now
                )
            self._tell_awaited(asked.limiter)
            return self._claim_chosen(chosen, now, asked.token, asked.lease, asked.start)

    async def claim_by_rate(self, asked: LimitedClaim) -> Claimed:
        async with self._way.call("claim") as now:
            if self._queues.pause_of(asked.queue_name) is not None:
                return Claimed([], is_full=False, has_more=False)
            chosen = self._rates.choose(asked.queue_name, asked.limiter, asked.limit, now)
            self._tell_awaited(asked.limiter)
            return self._claim_chosen(chosen, now, asked.token, asked.lease, asked.start)

    async def claim_fairly(self, asked: LimitedClaim, *, fair: FairClaim) -> FairlyClaimed:
        async with self._way.call("claim") as now:
            if self._queues.pause_of(asked.queue_name) is not None:
                return FairlyClaimed([], is_full=False, has_more=False, next_lane=None, walked=None)
            chosen = self._lanes.choose(asked.queue_name, asked.limiter, asked.limit, fair, now)
            self._tell_awaited(asked.limiter)
            claimed = self._claim(
                "claim_fairly", chosen.rows, now, asked.token, asked.lease, asked.start
            )
            return FairlyClaimed(claimed, *chosen[1:])

    async def claim_in_order(
        self, asked: LimitedClaim, *, from_key: str, after: Walked | None
    ) -> ClaimedInOrder:
        async with self._way.call("claim") as now:
            if self._queues.pause_of(asked.queue_name) is not None:
                asked = asked._replace(limit=0)
            chosen = self._order.choose(
                asked.queue_name, asked.limiter, asked.limit, from_key, after, now
            )
            self._tell_awaited(asked.limiter)
            claimed = self._claim(
                "claim_in_order", chosen.rows, now, asked.token, asked.lease, asked.start
            )
            return ClaimedInOrder(claimed, *chosen[1:])

    async def take_pruning(self, queue_name: str, gap: timedelta) -> bool:
        async with self._way.call("take_pruning") as now:
            return self._pruning.take(queue_name, gap, now)

    async def prune(self, queue_name: str, keep: Keep, *, after: str | None, walk: int) -> Pruned:
        async with self._way.call("prune") as now:
            return self._pruning.prune(queue_name, keep, after or "", walk, now)

    async def hold_rate(
        self, limiter: str, holds: Sequence[RateHold], *, reads_inputs: bool
    ) -> None:
        async with self._way.call("hold_rate") as now:
            for hold in holds:
                until = now + hold.delay // MICROSECOND
                if reads_inputs:
                    self._rates.hold(limiter, hold.key, until)
                else:
                    self._limits.hold(limiter, until)

    async def take_turn(self, limiter: str, *, key: str | None, cost: int) -> Turn | None:
        async with self._way.call("take_turn") as now:
            return self._rates.take(limiter, key, cost, now)

    @asynccontextmanager
    async def holding(self) -> AsyncGenerator[None]:
        yield

    async def declare_limit(
        self, limiter: str, size: int | None, path: Sequence[str] | None
    ) -> None:
        async with self._way.call("declare_limit"):
            self._limits.declare_held(limiter, size, path)

    async def take_places(self, limiter: str, asked: Sequence[AskedPlace]) -> TakenPlaces | None:
        async with self._way.call("take_places") as now:
            taken = self._limits.take_places(limiter, asked, now)
            if taken is not None and taken.has_turned:
                self._notify_under(limiter)
            return taken

    async def renew_places(self, ids: Sequence[str]) -> Written:
        async with self._way.call("renew_places"):
            return self._holders.renew(ids)

    async def release_places(self, limiter: str, ids: Sequence[str]) -> bool:
        async with self._way.call("release_places"):
            full = self._limits.full_keys(limiter)
            made_room = any(key in full for _, key in self._holders.release(ids))
            if made_room:
                self._made_room(limiter)
            return made_room

    async def find_lost_holders(self, limit: int) -> list[LostHolder]:
        async with self._way.call("find_lost_holders"):
            return self._holders.lost(limit)

    async def sweep_holders(self, lost: Sequence[LostHolder]) -> list[LostHolder]:
        async with self._way.call("sweep_holders"):
            swept = self._holders.sweep(lost)
            for limiter in {each.limiter for each in swept}:
                self._made_room(limiter)
            return swept

    async def set_limit(self, limiter: str, size: int | None) -> bool:
        async with self._way.call("set_limit"):
            is_known = self._limits.set(limiter, size)
            self._made_room(limiter)
            return is_known

    async def confirm(self, claims: Sequence[ClaimedJob], lease: timedelta) -> Written:
        async with self._way.call("confirm") as now:
            held: set[str] = set()
            locked: set[str] = set()
            for id, token in claims:
                row = self._table.rows.get(id)
                if row is None or not (
                    (row.status is JobStatus.PENDING and row.has_begun is not False)
                    or (row.status is JobStatus.EXECUTING and row.claim_token == token)
                ):
                    continue
                if id in self._table.locked:
                    locked.add(id)
                    continue
                started_at = now if row.started_at is None else row.started_at
                self._table.write(
                    "confirm",
                    row,
                    reserved_at=now if row.reserved_at is None else row.reserved_at,
                    claim_token=token,
                    started_at=started_at,
                    deadline=row.deadline_from(now) if row.deadline is None else row.deadline,
                    lease_expires_at=now + lease // MICROSECOND,
                )
                held.add(id)
            return Written(held, locked)

    async def release_claims(self, queue_name: str, tokens: Sequence[str]) -> list[str]:
        async with self._way.call("release_claims") as now:
            wanted = set(tokens)
            rows = [
                row
                for row in self._table.unlocked(queue_name)
                if row.claim_token in wanted
                and (row.cancel_requested_at is None or not row.has_children)
            ]
            for row in rows:
                if row.cancel_requested_at is None:
                    self._table.release("release_claims", row)
                else:
                    self._table.cancel_held("release_claims", row, now)
                    self._chain_ended(row)
            return [row.id for row in rows]

    async def start(self, claims: Sequence[ClaimedJob], lease: timedelta) -> list[Started | Locked]:
        async with self._way.call("start") as now:
            rows, locked = self._table.held(claims)
            answers: list[Started | Locked] = [Locked(id) for id in locked]
            for row in rows:
                started_at = now if row.started_at is None else row.started_at
                deadline = row.deadline_from(now) if row.deadline is None else row.deadline
                self._table.write(
                    "start",
                    row,
                    started_at=started_at,
                    deadline=deadline,
                    setup_failures=None,
                    lease_expires_at=now + lease // MICROSECOND,
                )
                answers.append(Started(row.id, seconds(started_at), seconds(deadline)))
            return answers

    async def heartbeat(
        self, claims: Sequence[ClaimedJob], lease: timedelta, reserved_timeout: timedelta
    ) -> Written:
        async with self._way.call("heartbeat") as now:
            rows, locked = self._table.held(claims)
            for row in rows:
                expiry = now + lease // MICROSECOND
                if row.reserved_at is not None and row.status is JobStatus.RESERVED:
                    expiry = min(expiry, row.reserved_at + reserved_timeout // MICROSECOND)
                self._table.write(
                    "heartbeat", row, latest_heartbeat_at=now, lease_expires_at=expiry
                )
            to_cancel = {row.id for row in rows if row.cancel_requested_at is not None}
            stacks_asked = {
                row.id for row in rows if row.stack_asked_at is not None and row.stack is None
            }
            return Written({row.id for row in rows}, locked, to_cancel, stacks_asked)

    async def report(self, claims: Sequence[ClaimedJob], progress: Sequence[str]) -> Written:
        async with self._way.call("report"):
            rows, locked = self._table.held(claims)
            reports = dict(zip((claim.id for claim in claims), progress, strict=True))
            # As in `enqueue`: one that is refused takes the others with it.
            with Sorting("report"):
                written = {row.id: as_jsonb(reports[row.id]) for row in rows}
            for row in rows:
                self._table.write("report", row, progress=written[row.id])
            return Written({row.id for row in rows}, locked)

    async def settle(
        self, outcomes: Sequence[Outcome], allowed_losses: int
    ) -> dict[str, WriteResult]:
        async with self._way.call("settle") as now:
            return self._settle_all(outcomes, allowed_losses, now)

    async def succeed_and_claim(
        self,
        outcomes: Sequence[Outcome],
        queue_name: str,
        *,
        limiter: str,
        token: str,
        limit: int,
        ahead: int,
        leaving: str | None,
        lease: timedelta,
    ) -> PassedOn:
        async with self._way.call("succeed_and_claim") as now:
            # Looked for first, as the statement does: what follows these jobs is not due yet.
            is_paused = self._queues.pause_of(queue_name) is not None
            most = (1 + ahead) * len(outcomes)
            due = [] if is_paused else self._table.due(queue_name, now, most)
            beyond = self._limits.beyond(limiter)
            behind = ahead if beyond == 0 else 0
            results = self._settle_all(outcomes, 0, now)
            held = self._limits.held_places(limiter)
            ended = [
                self._table.rows[id]
                for id, result in results.items()
                if result is WriteResult.SETTLED
            ]
            #: By the place that ends, or comes to be empty, what it is called from now on.
            places = {row.place or row.id: row.place or self._make_id() for row in ended}
            left = {place for place in places if place == leaving}
            if places and self._limits.has_turned(limiter, now):
                left.add(min(places, key=lambda place: held[place]))
            for place in left:
                places.pop(place)
            has_turned = not all(held[place] for place in left)
            if has_turned:
                self._notify_under(limiter)
            empty = [place for place in places if not held[place]]
            if empty:
                self._tell_awaited(limiter)
            room = len(empty) - max(0, beyond)
            begun = empty[: max(0, min(room, limit))]
            seats = begun + [
                place
                for nth in range(1, 1 + behind)
                for place in places
                if held[place] <= nth and (held[place] or place in begun)
            ]
            rows = [self._table.rows[id] for _, _, id in due[: len(seats)]]
            claimed = self._claim("succeed_and_claim", rows, now, token, lease, start=True)
            named: dict[str, str] = {}
            if behind:
                for row, place in zip(rows, seats, strict=False):
                    row.place = named[row.id] = places[place]
            has_room = min(len(begun), len(rows)) < room
            now_leaving = max((place for place in left if held[place]), default=None)
            return PassedOn(results, claimed, has_turned, now_leaving, has_room, named)

    async def find_steps(self, job_ids: Sequence[str]) -> dict[str, list[StepRow]]:
        async with self._way.call("find_steps") as now:
            found = {id: self._steps.of(id, now) for id in job_ids}
            return {id: steps for id, steps in found.items() if steps}

    async def keep_steps(self, steps: Sequence[NewStep]) -> list[Kept | Locked | Fenced]:
        async with self._way.call("keep_steps") as now:
            # As in `enqueue`: one that is refused takes the others with it.
            with Sorting("keep_steps"):
                new = [storable(step) for step in steps]
            return [self._keep_step(step, now) for step in new]

    async def receive(
        self, wanted: Sequence[NewReceive]
    ) -> list[Kept | NoMessage | Locked | Fenced]:
        async with self._way.call("receive") as now:
            return [self._receive(one, now) for one in wanted]

    async def send(
        self,
        message: NewMessage,
        queue_name: str,
        connection: Any = None,
        *,
        lock_wait: timedelta | None = None,  # noqa: ARG002
    ) -> Sent:
        refuse_connection(connection)
        while message.id in self._table.locked:
            await self._unlocked.park()
        async with self._way.call("send", is_awaited=True) as now:
            row = self._table.rows.get(message.id)
            if row is None or row.queue_name != queue_name:
                return Sent.NOT_LIVE
            job_id = row.job_id
            if self._messages.has(job_id, message.key):
                return Sent.REPEATED
            if row.status in FINAL:
                return Sent.NOT_LIVE
            with Sorting("send"):
                value = as_jsonb(message.value)
            self._messages.send(job_id, message._replace(value=value), now)
            row.messages = min(row.messages or 0, LARGEST_INTEGER - 1) + 1
            if row.status is not JobStatus.PENDING or row.awaits != message.name:
                return Sent.SENT
            self._table.wake(row, now)
            self._listeners.notify([queue_name])
            return Sent.WOKEN

    @asynccontextmanager
    async def transaction(self, claim: ClaimedJob) -> AsyncGenerator[Transaction]:  # noqa: ARG002
        if self._connection is None:
            raise UsageError(
                "a handler needs a connection for its transaction, and there is no database here:"
                " give the test's own, by run_job(…, connection=…) or MemoryStore(connection=…)"
            )
        # One connection has one transaction at a time.
        async with (
            self._connection_turns,
            open_transaction(self._connection, self._writes, self._way) as transaction,
        ):
            yield transaction

    async def end_transactions(self, suspects: Sequence[Suspect]) -> dict[str, bool]:  # noqa: ARG002
        # Whose task is gone has rolled back.
        async with self._way.call("end_transactions"):
            return {}

    async def release(self, releases: Sequence[Release], notify: Sequence[str]) -> Written:
        async with self._way.call("release") as now:
            claims = [ClaimedJob(release.id, release.token) for release in releases]
            by_id = {release.id: release for release in releases}
            rows, locked = self._table.held(claims)
            cancelled: set[str] = set()
            #: By queue, when what is left to newer workers is looked at next.
            looks: dict[str, Iterator[int]] = {}
            for row in rows:
                release = by_id[row.id]
                if row.cancel_requested_at is not None or release.cancel_reason is not None:
                    if release.children_of is not None:
                        if self._trees.is_locked([release.children_of]):
                            locked.add(row.id)
                            continue
                        self._end_tree(release.children_of, now)
                    # What was said with the request counts first.
                    reason = row.cancel_reason or release.cancel_reason
                    self._table.cancel_held("release", row, now, reason)
                    self._chain_ended(row)
                    cancelled.add(row.id)
                    continue
                scheduled_at, setup_failures = row.scheduled_at, row.setup_failures
                if release.delay is not None:
                    scheduled_at = now + microseconds(release.delay)
                if release.setup_failed:
                    setup_failures = min(setup_failures or 0, LARGEST_INTEGER - 1) + 1
                awaits: str | None = None
                if (aside := release.set_aside) is not None:
                    scheduled_at, awaits = microseconds(aside.until), aside.awaits
                    if awaits is not None and (row.messages or 0) != aside.messages:
                        scheduled_at, awaits = now, None
                session_losses = row.session_losses if release.claimed_ahead else None
                if release.session_lost:
                    session_losses = min(row.session_losses or 0, LARGEST_INTEGER - 1) + 1
                unknown_since = row.unknown_since if release.claimed_ahead else None
                if release.is_newer:
                    self._limits.give_back(row, now)
                    unknown_since = now if row.unknown_since is None else row.unknown_since
                    next_looks = self._newer.next_looks(row.queue_name, now)
                    next_look = next(looks.setdefault(row.queue_name, next_looks))
                    scheduled_at = min(next_look, unknown_since + LONGEST_UNKNOWN * SECOND)
                has_begun = not (release.is_newer or release.claimed_ahead)
                in_time = row.started_at is not None and has_begun
                self._table.release(
                    "release",
                    row,
                    scheduled_at=scheduled_at,
                    setup_failures=setup_failures,
                    session_losses=session_losses,
                    awaits=awaits,
                    expires_at=None if in_time else row.expires_at,
                    unknown_since=unknown_since,
                )
            if len(cancelled) < len(rows):
                self._listeners.notify(notify)
            return Written({row.id for row in rows} - locked, locked, cancelled)

    async def find_suspects(self, queues: Sequence[SweptQueue], limit: int) -> list[Suspect]:
        async with self._way.call("find_suspects") as now:
            suspects = [
                suspect
                for queue in queues
                for row in self._table.live(queue.name)
                if (suspect := self._workers.suspect(row, queue, now)) is not None
            ]
            return suspects[:limit]

    async def sweep(self, queues: Sequence[SweptQueue], suspects: Sequence[Suspect]) -> list[Swept]:
        by_name = {queue.name: queue for queue in queues}
        async with self._way.call("sweep") as now:
            apart = self._seconds_apart(suspects)
            swept: list[Swept] = []
            for suspect in suspects:
                row = self._table.rows.get(suspect.id)
                queue = None if row is None else by_name.get(row.queue_name)
                if row is None or queue is None or not is_as_seen(row, suspect):
                    continue
                if row.id in self._table.locked:
                    continue
                if suspect.children_of is not None and self._trees.is_locked([row.job_id]):
                    continue
                if row.claim_token is not None or row.is_dead(queue, now):
                    swept.append(self._sweep(row, queue, now, apart.get(row.id)))
                    if suspect.children_of is not None and swept[-1].ends_chain:
                        self._end_tree(suspect.children_of, now)
            return swept

    async def announce(self, worker: Worker) -> list[str]:
        async with self._way.call("announce") as now:
            self._workers.announce(worker, now)
            newer = self._workers.newer(worker, now)
            # rule: in memory, too, who was started last says how large a limit is
            theirs = {queue.limiter for name in newer if (queue := self._queues.declared(name))}
            self._limits.declare([one for one in worker.queues if one.limiter not in theirs])
            # rule: in memory, too, who was started last says what a queue is
            said = [one for one in worker.queues if one.name not in newer]
            self._queues.declare(said, now)
            return self._queues.with_former_keys([one.name for one in worker.queues])

    async def let_go(
        self,
        queue_name: str,
        *,
        after: WalkedHeldUp | None,  # noqa: ARG002
        walk: int,  # noqa: ARG002 - all at once
        is_clean: bool,
    ) -> LetGo:
        async with self._way.call("let_go") as now:
            found = self._limits.held_by_former_keys(queue_name)
            rows = [row for row in found if row.id not in self._table.locked]
            for row in rows:
                self._table.let_go(row)
            if is_clean and not found:
                self._queues.has_no_former_keys(queue_name, now)
            return LetGo(len(rows), bool(found), None)

    async def dismiss(self, worker_id: str, silence: timedelta) -> None:  # noqa: ARG002
        async with self._way.call("dismiss"):
            self._workers.dismiss(worker_id)

    async def find_unserved(self, waiting: timedelta, silence: timedelta) -> list[Unserved]:
        async with self._way.call("find_unserved") as now:
            workers, served = self._workers.served(now - silence // MICROSECOND)
            return [
                Unserved(name, (now - since) / SECOND, workers)
                for name in self._table.queue_names()
                if name not in served
                and (since := self._table.next_due(name)) is not None
                and since < now - waiting // MICROSECOND
                and not self._table.live(name)
            ]

    async def declare_schedules(self, schedules: Sequence[NewSchedule]) -> list[str]:
        async with self._way.call("declare_schedules") as now:
            return self._schedules.declare(schedules, now)

    async def renew_schedules(self, seen: Sequence[ScheduleRow]) -> None:
        async with self._way.call("renew_schedules") as now:
            self._schedules.renew(seen, now)

    async def find_schedules(self, names: Sequence[str] | None = None) -> Schedules:
        async with self._way.call("find_schedules") as now:
            return Schedules(seconds(now), self._schedules.find(names))

    async def tick(self, ticks: Sequence[NewTick], notify: Sequence[str]) -> list[Ticked]:
        async with self._way.call("tick") as now:
            with Sorting("tick"):
                rows = [[new_row(job, now) for job in tick.jobs] for tick in ticks]
            ticked = self._schedules.tick(ticks, rows, now)
            if any(one.is_ticked and not one.is_live for one in ticked):
                self._listeners.notify(notify)
            return ticked

    async def pause_schedule(self, name: str, *, is_paused: bool) -> bool:
        async with self._way.call("pause_schedule") as now:
            return self._schedules.pause(name, is_paused, now)

    async def survey(self, queue_names: Sequence[str]) -> dict[str, Due]:
        async with self._way.call("survey") as now:
            due: dict[str, Due] = {}
            for name in queue_names:
                run_at, pause = self._table.next_due(name), self._queues.pause_of(name)
                if run_at is not None or pause is not None:
                    seconds = max(0, min(DAY if run_at is None else run_at - now, DAY)) / SECOND
                    due[name] = Due(seconds, any(self._table.misdated(name, now)), pause)
            return due

    async def pause(
        self, queue_name: str, reason: str | None, default_job_timeout: timedelta
    ) -> None:
        async with self._way.call("pause") as now:
            self._queues.pause(queue_name, reason, default_job_timeout, now)
            self._listeners.change_queue(queue_name)

    async def resume(self, queue_name: str) -> bool:
        async with self._way.call("resume"):
            is_resumed = self._queues.resume(queue_name)
            if is_resumed:
                self._listeners.change_queue(queue_name)
            return is_resumed

    async def redate(self, queue_names: Sequence[str], limit: int) -> list[str]:
        async with self._way.call("redate") as now:
            rows = [
                row
                for name in queue_names
                for row in self._table.misdated(name, now)
                if row.id not in self._table.locked
            ][:limit]
            for row in rows:
                self._table.redate(row, now)
            return [row.queue_name for row in rows]

    async def recall_newer(self, queue_name: str, limit: int) -> int:
        async with self._way.call("recall_newer") as now:
            return self._newer.recall(queue_name, limit, now)

    async def notify(self, queue_names: Sequence[str]) -> None:
        async with self._way.call("notify"):
            self._listeners.notify(queue_names)

    @asynccontextmanager
    async def listen(
        self, queue_names: Sequence[str], heard: Callable[[Hinted | None], None]
    ) -> AsyncGenerator[None]:
        await trio.lowlevel.checkpoint()
        with self._listeners.add(queue_names, heard):
            yield

    @asynccontextmanager
    async def listen_for_ends(
        self, waiter: str, heard: Callable[[str | None], None]
    ) -> AsyncGenerator[None]:
        await trio.lowlevel.checkpoint()
        with self._listeners.add_waiter((waiter, _ALL_WAITERS), heard):
            yield

    @asynccontextmanager
    async def listen_for_room(self, heard: Callable[[str | None], None]) -> AsyncGenerator[None]:
        await trio.lowlevel.checkpoint()
        with self._listeners.add_for_room(heard):
            yield

    # What the calls share

    def _notify_under(self, limiter: str) -> None:
        """Notify the workers of all queues that have a limit."""
        self._listeners.notify([queue.name for queue in self._queues.under(limiter)])

    def _made_room(self, limiter: str) -> None:
        """Notify all who may have waited for a place."""
        self._notify_under(limiter)
        self._listeners.has_room(limiter)

    def _tell_awaited(self, limiter: str) -> None:
        """Tell who waits outside of a job, where a claim has left it a place."""
        if self._limits.leaves_room(limiter):
            self._listeners.has_room(limiter)

    def _claim(
        self, verb: str, rows: Sequence[Row], now: int, token: str, lease: timedelta, start: bool
    ) -> list[JobRow]:
        for row in rows:
            self._table.write(
                verb,
                row,
                reserved_at=now,
                claim_token=token,
                started_at=now if start else None,
                deadline=row.deadline_from(now) if start else None,
                lease_expires_at=now + lease // MICROSECOND,
                has_begun=None if row.has_begun is None else True,
            )
        return [row.answer() for row in rows]

    def _claim_chosen(
        self, chosen: Chosen, now: int, token: str, lease: timedelta, start: bool
    ) -> Claimed:
        for row in chosen.rows:
            self._table.let_go(row)
        claimed = self._claim("claim_limited", chosen.rows, now, token, lease, start)
        return Claimed(claimed, *chosen[1:])

    def _insert_batch(self, jobs: Sequence[NewJob], now: int) -> list[Enqueued | Exists | Held]:
        # All are made before any is inserted: one that is refused takes the others with it.
        with Sorting("enqueue"):
            rows = [new_row(job, now) for job in jobs]
        return [self._table.insert_unless_taken(row) for row in rows]

    def _put_batch(self, jobs: Sequence[AnyJob], now: int) -> list[UniqueAnswer]:
        with Sorting("enqueue"):
            rows = [new_row(row_of(job), now) for job in jobs]
        return [
            self._keys.put(job, row, now)
            if isinstance(job, UniqueJob)
            else self._table.insert_unless_taken(row)
            for job, row in zip(jobs, rows, strict=True)
        ]

    def _settle_all(
        self, outcomes: Sequence[Outcome], allowed_losses: int, now: int
    ) -> dict[str, WriteResult]:
        # As in `enqueue`: one that is refused takes the others with it.
        with Sorting("settle"):
            storable = [
                outcome._replace(
                    output=optional_jsonb(outcome.output),
                    error_data=optional_jsonb(outcome.error_data),
                )
                for outcome in outcomes
            ]
        return {one.id: self._settle(one, allowed_losses, now) for one in storable}

    def _settle(
        self, outcome: Outcome, allowed_losses: int, now: int, only_look: bool = False
    ) -> WriteResult:
        row = self._table.rows.get(outcome.id)
        if row is None or row.claim_token != outcome.token:
            return WriteResult.FENCED
        if row.finished_at is not None:
            return WriteResult.REPEATED
        if row.status is not JobStatus.EXECUTING:
            return WriteResult.FENCED
        if row.id in self._table.locked:
            return WriteResult.LOCKED
        if outcome.children_of is not None and self._trees.is_locked([outcome.children_of]):
            return WriteResult.LOCKED
        if only_look:
            return WriteResult.SETTLED
        written = outcome._asdict()
        for name in (
            "id",
            "token",
            "failure_reason",
            "next_attempt_id",
            "retry_after",
            "children_of",
            "rate_hold",
        ):
            del written[name]
        reason, next_id = outcome.failure_reason, outcome.next_attempt_id
        after = None if outcome.retry_after is None else microseconds(outcome.retry_after)
        if self._table.end(
            "settle", row, now, reason, next_id, allowed_losses, retry_after=after, **written
        ):
            return WriteResult.RETRIED
        stops_key = self._chain_failed(row, now)
        self._chain_ended(row)
        if outcome.children_of is not None:
            self._end_tree(outcome.children_of, now)
        return WriteResult.STOPPED if stops_key else WriteResult.SETTLED

    def _start_child(
        self, row: Row, parent: ClaimedJob
    ) -> Enqueued | Exists | Held | Locked | Refused:
        taken = self._table.taken(row)
        if taken is not None:
            return taken
        (held, locked) = self._table.held([parent])
        if locked:
            return Locked(parent.id)
        if not held or held[0].status is not JobStatus.EXECUTING:
            return Refused()
        if held[0].cancel_requested_at is not None:
            return Refused()
        held[0].has_children = True
        return self._table.insert_unless_taken(row)

    def _end_tree(self, job_id: str, now: int) -> None:
        """Cancel what is below a job that has ended."""
        self._trees.cancel([job_id], [], now, None, ENDED_ABOVE)

    def _keep_step(
        self, step: NewStep, now: int, only_look: bool = False
    ) -> Kept | Locked | Fenced:
        row = self._table.rows.get(step.id)
        if row is None or row.claim_token != step.token or row.status is not JobStatus.EXECUTING:
            return Fenced(step.id)
        if row.id in self._table.locked:
            return self._steps.look(step, now) or Locked(step.id)
        if only_look:
            return self._steps.look(step, now) or self._steps.would_keep(step, now)
        return self._steps.keep(step, now)

    def _receive(self, wanted: NewReceive, now: int) -> Kept | NoMessage | Locked | Fenced:
        row = self._table.rows.get(wanted.id)
        if row is None or row.claim_token != wanted.token or row.status not in LIVE:
            return Fenced(wanted.id)
        if row.id in self._table.locked or row.status is JobStatus.RESERVED:
            return Locked(row.id)
        return self._steps.receive(wanted, self._messages, row.messages or 0, now)

    def _chain_ended(self, row: Row) -> None:
        if row.waiter is not None:
            self._listeners.chain_ended(row.waiter, row.job_id)

    def _chain_failed(self, row: Row, now: int) -> bool:
        """What else there is to a chain's end, if it has failed; return whether its key stops."""
        if row.failure_reason is None:
            return False
        self._tell_of_failure(row, now)
        declared = self._queues.declared(row.queue_name)
        stops_key = (
            declared is not None
            and declared.holds_failed is True
            and row.order_key is not None
            and row.cancel_requested_at is None
            and row.parent_id is None
        )
        if stops_key:
            self._table.places.stop(row)
        return stops_key

    def _tell_of_failure(self, row: Row, now: int) -> None:
        """Insert a job for the queue that is told of failures, once the last attempt has failed."""
        source = self._queues.declared(row.queue_name)
        if source is None or source.on_failure is None:
            return
        target = self._queues.declared(source.on_failure) or DeclaredQueue(
            source.on_failure, _TIMEOUT
        )
        error = None if row.error_data is None else as_jsonb_text(row.error_data)
        if row.crash_type is not None:
            message = "" if row.crash_message is None else f": {row.crash_message}"
            error = row.crash_type + message
        told = {
            "job_id": row.job_id,
            "queue": row.queue_name,
            "attempts": row.attempt,
            "reason": row.failure_reason,
            "error": error,
            "input": json.loads(row.input),
        }
        job = NewJob(
            id=self._make_id(),
            queue_name=target.name,
            scheduled_at=None,
            input=json.dumps(told),
            timeout=target.default_job_timeout,
            max_attempts=target.default_max_attempts,
            retry_delay=timedelta(0),
            unique_key=None,
            priority=0,
            meta=None,
        )
        self._table.insert(new_row(job, now))
        self._listeners.notify([target.name])

    def _seconds_apart(self, suspects: Sequence[Suspect]) -> dict[str, float]:
        """How long the next attempts of those wait that are lost again, by the ids of the rows."""
        found = (
            row
            for suspect in suspects
            if (row := self._table.rows.get(suspect.id)) is not None
            and is_as_seen(row, suspect)
            and row.id not in self._table.locked
            and row.status is JobStatus.EXECUTING
            and row.claim_token is not None
            and row.cancel_requested_at is None
        )
        rows = sorted(found, key=lambda row: row.id)
        seconds = seconds_apart([row.losses for row in rows])
        return {row.id: each for row, each in zip(rows, seconds, strict=True)}

    def _sweep(self, row: Row, queue: SweptQueue, now: int, apart: float | None) -> Swept:
        if row.cancel_requested_at is not None:
            self._table.cancel_held("sweep", row, now)
            self._chain_ended(row)
            return Swept(row.queue_name, row.id, None, False, row.attempt, row.max_attempts, True)
        if row.status is JobStatus.RESERVED:
            self._table.release("sweep", row)
            return Swept(row.queue_name, row.id, None, False, row.attempt, row.max_attempts)
        reason = reason_of_death(has_token=row.claim_token is not None)
        retried = self._table.end(
            "sweep",
            row,
            now,
            reason.value,
            self._make_id(),
            queue.allowed_losses,
            None if apart is None else round(apart * SECOND),
            claim_token=None,
            lease_expires_at=None,
        )
        stops_key = False
        if not retried:
            stops_key = self._chain_failed(row, now)
            self._chain_ended(row)
        return Swept(
            row.queue_name,
            row.id,
            reason.value,
            retried,
            row.attempt,
            row.max_attempts,
            stops_key=stops_key,
        )
