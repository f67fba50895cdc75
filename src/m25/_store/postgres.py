"""`Store` over PostgreSQL: runs the steps of each call by Trio; long, since all calls are here."""

from __future__ import annotations

import math
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeVar

import psycopg
import trio
from psycopg import pq
from psycopg.rows import tuple_row

from .. import migrations, pg
from .._completion import complete
from .._errors import UsageError
from .._keep import Keep
from .._servers import check_server
from ..pg._one_trip import run_together
from ..pg._pool_beside import patience_to_connect, pool_beside
from ..pg._wire import CLEAN_UP
from . import (
    holder_steps,
    limited_steps,
    message_steps,
    queue_steps,
    rate_steps,
    schedule_steps,
    stack_steps,
)
from .failures import Sorting, StatementFailed, brief, sort_error
from .operator import Operator
from .poolers import find_misfit
from .postgres_operator import PostgresOperator
from .protocol import (
    AnyJob,
    AskedPlace,
    CancelAsked,
    CancelRequest,
    Change,
    Claimed,
    ClaimedInOrder,
    ClaimedJob,
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
    QueueChanged,
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
)
from .statements import SESSION, as_prepared, load_statements
from .steps import Calls, Rows, Statement, Steps
from .transactions import open_transaction
from .tree_steps import TreeCalls, TreeLocked, in_silence
from .unique_steps import UniqueCalls

T = TypeVar("T")
Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: How many connections claims, outcomes, surveys and sweeps have to themselves while queues run.
#: Heartbeats have one more.
_WORK_CONNECTIONS: Final = 3
#: How long these calls wait for one of them, in seconds.
_WORK_TIMEOUT: Final = 10.0
#: How long it may take to ask a server on which nothing works what it is, in seconds.
_TO_ASK: Final = 3.0


class StoreConnection(pg.AsyncConnection[Any]):
    """What a client's own pool opens."""

    #: An array of ours may hold nothing in a place, whatever the database's or the role's setting.
    server_liveness = MappingProxyType({**pg.SERVER_LIVENESS, "array_nulls": "on"})


def _cursor(connection: pg.AsyncConnection[Any]) -> pg.AsyncCursor[tuple[Any, ...]]:
    """A cursor for our statements, whatever cursors and rows a caller's connection makes."""
    return pg.AsyncCursor(connection, row_factory=tuple_row)


async def prepare_connection(connection: pg.AsyncConnection[Any]) -> None:
    """Make a new connection fit for the store: what a client's own pool does with each."""
    parameters = {"backend_pid": connection.info.backend_pid}
    await _cursor(connection).execute(SESSION, parameters, prepare=False)


async def _prepare_own(
    hook: Callable[[Any], Awaitable[None]] | None, connection: pg.AsyncConnection[Any]
) -> None:
    """The same for one that a caller's pool would have opened, and prepared by its own hook."""
    await _commit_by_itself(hook, connection)
    await prepare_connection(connection)


async def _commit_by_itself(
    hook: Callable[[Any], Awaitable[None]] | None, connection: pg.AsyncConnection[Any]
) -> None:
    """Prepare a connection by the hook of the caller's pool, and put it into autocommit mode."""
    if hook is not None:
        await hook(connection)
    await connection.set_autocommit(True)


class PostgresStore(Store):
    """The job table of one schema, by way of a pool.

    `application_name`s, timeouts and the like are the pool's. A `connection` that a caller passes
    along is used as it is, and its transaction is the caller's.

    Handlers may hold every connection of the pool for longer than a lease. So what workers call has
    connections of its own while queues run, and heartbeats have one that not even claims can take.
    """

    def __init__(
        self, pool: pg.Pool[Any], schema: str, *, transactional_connections: int = 10
    ) -> None:
        self._pool = pool
        #: Of the calls of workers, and of heartbeats among these.
        self._work_pool = self._heartbeat_pool = pool
        #: Of the leases of places that are held outside of jobs.
        self._lease_pool = pool
        #: Of the transactions of handlers.
        self._transaction_pool = pool
        self._transactional_connections = transactional_connections
        self._schema = schema
        self._calls = Calls(schema)
        self._trees = TreeCalls(self._calls)
        self._uniques = UniqueCalls(self._calls)
        self.operator: Operator = PostgresOperator(self._run)
        self._sql = load_statements(schema)
        self._prepared = {name: as_prepared(name, text) for name, text in self._sql.items()}
        #: Whether the server itself answers on the pool's connections: so `check_version` found.
        self._is_direct = False
        #: What listens for this store's worker.
        self._listener: pg.Listener | None = None

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[None]:
        async with (
            self._own(_WORK_CONNECTIONS) as work,
            self._own(1) as heartbeats,
            # It opens none before a handler needs one.
            self._for_handlers() as transactions,
        ):
            # rule: lease work shares no connection with users
            self._work_pool, self._heartbeat_pool = work, heartbeats
            self._transaction_pool = transactions
            try:
                yield
            finally:
                self._work_pool = self._heartbeat_pool = self._pool
                self._transaction_pool = self._pool

    @asynccontextmanager
    async def holding(self) -> AsyncGenerator[None]:
        async with self._own(1, least=0) as pool:
            self._lease_pool = pool  # rule: places are renewed on a connection of their own
            try:
                yield
            finally:
                self._lease_pool = self._pool

    def _own(self, size: int, *, least: int = 1) -> pg.Pool:
        hook = self._pool._configure
        return pool_beside(
            self._pool,
            min_size=least,
            max_size=size,
            timeout=_WORK_TIMEOUT,
            configure=partial(_prepare_own, hook),
        )

    def _for_handlers(self) -> pg.Pool:
        """The connections of handlers' transactions: without the settings of m25's statements, and
        after each transaction as the caller's pool makes its own.
        """
        hook = self._pool._configure
        # rule: handlers have no settings of m25's
        users = None if hook is prepare_connection else hook
        return pool_beside(
            self._pool,
            max_size=self._transactional_connections,
            timeout=_WORK_TIMEOUT,
            configure=partial(_commit_by_itself, users),
            reset=None if users is None else partial(_commit_by_itself, users),
        )

    # The driver

    async def _run(
        self,
        steps: Steps[T],
        connection: pg.AsyncConnection[Any] | None = None,
        *,
        pool: pg.Pool | None = None,
    ) -> T:
        # Something was committed of which the caller is to know.
        is_written = False
        result: T
        try:
            statement = next(steps)
        except StopIteration as done:
            result = done.value
            return result
        try:
            while True:
                if is_written:
                    run = partial(self._run_one, statement, connection, pool or self._pool)
                    rows = await complete(run, CLEAN_UP)
                else:
                    try:
                        rows = await self._run_one(statement, connection, pool or self._pool)
                    except StatementFailed as failure:
                        if connection is not None or not failure.is_about_notifying:
                            raise
                        rows = await self._repeat_in_silence(statement, pool or self._pool, failure)
                    is_written = statement.is_awaited and bool(rows) and _commits(connection)
                statement = steps.send(rows)
        except StopIteration as done:
            result = done.value
            return result
        except (StatementFailed, trio.TooSlowError) as error:
            if not is_written:
                raise
            unknown = pg.OutcomeUnknown(f"what was written could not be looked up: {brief(error)}")
            raise sort_error(statement.name, unknown) from unknown

    def _run_one(
        self, statement: Statement, connection: pg.AsyncConnection[Any] | None, pool: pg.Pool
    ) -> Awaitable[Rows]:
        # Returned as it is: another coroutine around it would slow down each of its steps.
        if connection is None:
            return self._run_on_pool(pool, statement)
        return self._run_on(connection, statement)

    async def _repeat_in_silence(
        self, statement: Statement, pool: pg.Pool, failure: StatementFailed
    ) -> Rows:
        """Repeat a statement that failed by what it notifies, without that."""
        if "notifies" not in statement.parameters:
            raise failure
        parameters = {**statement.parameters, "notifies": "false"}  # rule: a notification is a hint
        return await self._run_on_pool(pool, statement._replace(parameters=parameters))

    async def _run_on_pool(self, pool: pg.Pool, statement: Statement) -> Rows:
        # That no connection is to be had is the statement's failure, too.
        with Sorting(statement.name) as sorting:
            async with pool.connection() as pooled:
                try:
                    if self._is_direct and pooled.autocommit:
                        if (first := statement.after) is not None:
                            calls = [
                                (self._prepared[each.name], each.parameters)
                                for each in (first, statement)
                            ]
                            return (await run_together(pooled, calls))[-1]
                        prepared = self._prepared[statement.name]
                        on_rows = statement.on_rows
                        if on_rows is not None:
                            on_rows = _passing(on_rows, sorting)
                        return await prepared.run(
                            pooled,
                            statement.parameters,
                            on_rows,
                            is_awaited=statement.is_awaited,
                        )
                    rows = await self._execute_in_order(pooled, statement)
                except Exception as error:
                    await _close_if_spoilt(pooled, error, sorting)
                    raise
            # They could not be given early: the claim is committed by now.
            if statement.on_rows is not None:
                with sorting.theirs():
                    statement.on_rows(rows)
            return rows

    async def _execute_in_order(
        self, connection: pg.AsyncConnection[Any], statement: Statement
    ) -> Rows:
        if statement.after is None:
            return await self._execute(connection, statement)
        async with connection.transaction():
            await self._execute(connection, statement.after)
            return await self._execute(connection, statement)

    async def _run_on(self, connection: pg.AsyncConnection[Any], statement: Statement) -> Rows:
        """Run a statement on a connection of a caller's, which is the caller's to close."""
        with Sorting(statement.name):
            return await self._execute(connection, statement)

    async def _execute(self, connection: pg.AsyncConnection[Any], statement: Statement) -> Rows:
        cursor = _cursor(connection)
        # How often a connection of the caller's is used we do not know: psycopg prepares as it sees
        # fit. Behind a pooler it must not.
        prepare = None if self._is_direct else False
        sql, parameters = self._sql[statement.name], statement.parameters
        if statement.is_awaited and _commits(connection):
            # What `execute` does, but for a cancellation.
            steps = cursor._execute_gen(sql, parameters, prepare=prepare)
            async with connection.lock:
                await connection._wait_for_commit(steps)
            # The rows have come.
            with trio.CancelScope(shield=True):
                return await cursor.fetchall()
        await cursor.execute(sql, parameters, prepare=prepare)
        return await cursor.fetchall()

    async def _run_on_trees(
        self, call: Callable[[Sequence[Item]], Steps[Answer]], items: Sequence[Item]
    ) -> tuple[list[Answer], list[Item]]:
        """Run steps about jobs that have started others, in one transaction; where a row below one
        of them is locked, in one for each.

        Return the answers, and the items of the trees that are locked.
        """
        try:
            return [await self._run_atomically(lambda: call(items), self._work_pool)], []
        except TreeLocked:
            if len(items) == 1:
                return [], list(items)
        answers: list[Answer] = []
        locked: list[Item] = []
        for each in items:
            some_answers, some_locked = await self._run_on_trees(call, [each])
            answers += some_answers
            locked += some_locked
        return answers, locked

    async def _run_atomically(self, make_steps: Callable[[], Steps[T]], pool: pg.Pool) -> T:
        try:
            return await self._try_atomically(make_steps(), pool)
        except StatementFailed as failure:
            if not failure.is_about_notifying:
                raise
        return await self._try_atomically(in_silence(make_steps()), pool)

    async def _try_atomically(self, steps: Steps[T], pool: pg.Pool) -> T:
        with Sorting("tree") as sorting:
            async with pool.connection() as pooled:
                try:
                    # rule: a tree ends with its top
                    async with pooled.transaction():
                        return await self._run(steps, pooled)
                except Exception as error:
                    await _close_if_spoilt(pooled, error, sorting)
                    raise

    # The calls

    async def check_version(self) -> None:
        try:
            await self._check_version()
        except StatementFailed:
            # Another kind of server refuses even what makes a connection fit for the store.
            await self._check_server()
            raise

    async def _check_server(self) -> None:
        """Refuse a server that is no PostgreSQL, if it can be asked for that."""
        with suppress(psycopg.Error, OSError, pg.PoolTimeout):
            async with (
                pool_beside(self._pool, max_size=1, timeout=_TO_ASK) as pool,
                pool.connection() as connection,
            ):
                await migrations.check_server(connection)

    async def _check_version(self) -> None:
        with Sorting("check_version"):
            # An address may give a host that is silent as long as a call waits, or longer.
            # rule: each host is tried before a client gives up
            patience = await patience_to_connect(self._pool)
            async with self._pool.connection(patience) as connection:
                version = await migrations.read_version(connection, self._schema)
                number = connection.info.server_version
                backend = await self._run(self._calls.backend(), connection)
                distributed = (
                    await self._run(self._calls.find_distributed(self._schema), connection)
                    if backend.has_citus
                    else []
                )
                # Another than the one that greeted us: there is a pooler in between. Where that
                # hands each transaction to any of its connections, a statement that was prepared is
                # missing there, or is another's.
                self._is_direct = backend.pid == connection.info.backend_pid
                misfit = None if self._is_direct else await find_misfit(connection, backend)
        check_server(backend.version, number, distributed)
        if misfit is not None:
            raise UsageError(misfit)
        # On a client's own pool they are as they should be.
        if backend.client_encoding != "UTF8":
            raise UsageError(
                f"the connections of this pool have the client_encoding {backend.client_encoding}, "
                'and not every text can pass; give the pool kwargs={"client_encoding": "UTF8"}'
            )
        if backend.array_nulls != "on":
            raise UsageError(
                "the connections of this pool have array_nulls off, and m25 writes arrays that hold"
                ' nothing in a place; give the pool kwargs={"options": "-c array_nulls=on"}'
            )
        migrations.check_version(version, self._schema)

    async def enqueue(
        self,
        jobs: Sequence[NewJob],
        notify: Sequence[str],
        connection: pg.AsyncConnection[Any] | None = None,
        *,
        lock_wait: timedelta | None = None,
    ) -> list[Enqueued | Exists | Held]:
        return await self._run(self._calls.enqueue(jobs, notify, lock_wait), connection)

    async def enqueue_unique(
        self,
        jobs: Sequence[UniqueJob],
        notify: Sequence[str],
        connection: pg.AsyncConnection[Any] | None = None,
        *,
        lock_wait: timedelta | None = None,
    ) -> list[UniqueAnswer]:
        steps = self._uniques.enqueue(jobs, notify, lock_wait)
        if connection is None:
            return await self._try_atomically(steps, self._pool)
        if not _commits(connection):
            return await self._run(steps, connection)
        with Sorting("enqueue_unique"):
            async with connection.transaction():
                return await self._run(steps, connection)

    async def enqueue_all(
        self,
        batches: AsyncIterable[Sequence[AnyJob]],
        notify: Sequence[str],
        on_batch: Callable[[Sequence[AnyJob], Sequence[UniqueAnswer]], None],
        connection: pg.AsyncConnection[Any] | None = None,
        *,
        lock_wait: timedelta | None = None,
    ) -> None:
        with Sorting("enqueue_all") as sorting:
            if connection is not None:
                if not connection.autocommit:
                    # The transaction is the caller's to end, also where it has not begun yet.
                    await self._run(self._calls.notify(()), connection)
                await self._insert_all(batches, notify, on_batch, connection, sorting, lock_wait)
                return
            async with self._pool.connection() as pooled:
                try:
                    await self._insert_all(batches, notify, on_batch, pooled, sorting, lock_wait)
                except Exception as error:
                    await _close_if_spoilt(pooled, error, sorting)
                    raise

    async def _insert_all(
        self,
        batches: AsyncIterable[Sequence[AnyJob]],
        notify: Sequence[str],
        on_batch: Callable[[Sequence[AnyJob], Sequence[UniqueAnswer]], None],
        connection: pg.AsyncConnection[Any],
        sorting: Sorting,
        lock_wait: timedelta | None,
    ) -> None:
        source = aiter(batches)
        # Within a transaction of the caller's it is a savepoint.
        async with connection.transaction():  # rule: many are enqueued in one transaction
            while True:
                with sorting.theirs():
                    batch = await anext(source, None)
                if batch is None:
                    return
                steps = self._uniques.enqueue_any(batch, notify, lock_wait)
                answers = await self._run(steps, connection)
                with sorting.theirs():
                    on_batch(batch, answers)
                # Once is enough: they are notified at the commit.
                notify = ()

    async def start_children(
        self,
        children: Sequence[NewChild],
        notify: Sequence[str],
        *,
        lock_wait: timedelta | None = None,
    ) -> list[Enqueued | Exists | Held | Locked | Refused]:
        return await self._run(self._trees.start_children(children, notify, lock_wait))

    async def live_children(self, parent_id: str, nursery: str) -> set[str]:
        return await self._run(self._trees.live_children(parent_id, nursery), pool=self._work_pool)

    async def cancel_descendants(
        self,
        parents: Sequence[str],
        ids: Sequence[str] = (),
        connection: pg.AsyncConnection[Any] | None = None,
        *,
        by: str | None = None,
        reason: str | None = None,
        holder: ClaimedJob | None = None,
    ) -> Descendants:
        steps = self._trees.cancel_descendants(parents, ids, by, reason, holder)
        return await self._run(steps, connection, pool=self._work_pool)

    async def get(
        self, ids: Sequence[str], connection: pg.AsyncConnection[Any] | None = None
    ) -> dict[str, JobRow]:
        return await self._run(self._calls.get(ids), connection)

    async def cancel(
        self,
        id: str,
        queue_name: str,
        connection: pg.AsyncConnection[Any] | None = None,
        *,
        by: str | None = None,
        reason: str | None = None,
        with_children: bool = False,
        lock_wait: timedelta | None = None,
    ) -> JobRow | None:
        if with_children and connection is None:
            make_steps = partial(self._trees.cancel, id, queue_name, by, reason, lock_wait)
            return await self._run_atomically(make_steps, self._pool)
        steps = self._calls.cancel(
            id, queue_name, by, reason, lock_wait, with_children=with_children
        )
        return await self._run(steps, connection)

    async def change(
        self,
        id: str,
        queue_name: str,
        change: Change,
        connection: pg.AsyncConnection[Any] | None = None,
        *,
        lock_wait: timedelta | None = None,
    ) -> JobRow | None:
        return await self._run(self._calls.change(id, queue_name, change, lock_wait), connection)

    async def request_cancel(
        self,
        id: str,
        queue_name: str,
        connection: pg.AsyncConnection[Any] | None = None,
        *,
        by: str | None = None,
        reason: str | None = None,
        lock_wait: timedelta | None = None,
    ) -> JobRow | None:
        steps = self._calls.request_cancel(id, queue_name, by, reason, lock_wait)
        return await self._run(steps, connection)

    async def find_cancel_requests(self, claims: Sequence[ClaimedJob]) -> list[CancelRequest]:
        return await self._run(self._calls.find_cancel_requests(claims), pool=self._work_pool)

    async def request_stack(
        self, id: str, queue_name: str, *, lock_wait: timedelta | None = None
    ) -> str | None:
        channel = self._calls.channel(queue_name)
        return await self._run(stack_steps.request(id, channel, lock_wait))

    async def answer_stack(self, claim: ClaimedJob, stack: str) -> bool:
        return await self._run(stack_steps.answer(claim, stack), pool=self._work_pool)

    async def find_stack(self, id: str) -> StackAnswer | None:
        return await self._run(stack_steps.find(id))

    async def forget_stack(
        self, id: str, asked_at: str, *, lock_wait: timedelta | None = None
    ) -> None:
        await self._run(stack_steps.forget(id, asked_at, lock_wait))

    async def latest(
        self, ids: Sequence[str], connection: pg.AsyncConnection[Any] | None = None
    ) -> dict[str, JobRow]:
        return await self._run(self._calls.latest(ids), connection, pool=self._work_pool)

    async def attempts(
        self, id: str, connection: pg.AsyncConnection[Any] | None = None
    ) -> list[JobRow]:
        return await self._run(self._calls.attempts(id), connection)

    async def watch(self, ids: Sequence[str], waiter: str) -> dict[str, Watched]:
        return await self._run(self._calls.watch(ids, waiter), pool=self._work_pool)

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
        steps = self._calls.claim(
            queue_name,
            token=token,
            limit=limit,
            lease=lease,
            start=start,
            after=after,
            on_rows=on_rows,
        )
        return await self._run(steps, pool=self._work_pool)

    async def claim_limited(self, asked: LimitedClaim, *, from_key: str | None = None) -> Claimed:
        steps = limited_steps.claim_limited(asked, self._calls.room_channel(), from_key=from_key)
        return await self._run(steps, pool=self._work_pool)

    async def claim_by_rate(self, asked: LimitedClaim) -> Claimed:
        steps = limited_steps.claim_by_rate(asked, self._calls.room_channel())
        return await self._run(steps, pool=self._work_pool)

    async def claim_fairly(self, asked: LimitedClaim, *, fair: FairClaim) -> FairlyClaimed:
        steps = limited_steps.claim_fairly(asked, self._calls.room_channel(), fair=fair)
        return await self._run(steps, pool=self._work_pool)

    async def hold_rate(
        self, limiter: str, holds: Sequence[RateHold], *, reads_inputs: bool
    ) -> None:
        steps = rate_steps.hold_rate(limiter, holds, reads_inputs=reads_inputs)
        await self._run(steps, pool=self._work_pool)

    async def claim_in_order(
        self, asked: LimitedClaim, *, from_key: str, after: Walked | None
    ) -> ClaimedInOrder:
        steps = limited_steps.claim_in_order(
            asked, self._calls.room_channel(), from_key=from_key, after=after
        )
        return await self._run(steps, pool=self._work_pool)

    async def take_turn(self, limiter: str, *, key: str | None, cost: int) -> Turn | None:
        return await self._run(rate_steps.take_turn(limiter, key, cost))

    async def declare_limit(
        self, limiter: str, size: int | None, path: Sequence[str] | None
    ) -> None:
        await self._run(holder_steps.declare_limit(limiter, size, path))

    async def take_places(self, limiter: str, asked: Sequence[AskedPlace]) -> TakenPlaces | None:
        return await self._run(holder_steps.take_places(limiter, asked))

    async def renew_places(self, ids: Sequence[str]) -> Written:
        return await self._run(holder_steps.renew_places(ids), pool=self._lease_pool)

    async def release_places(self, limiter: str, ids: Sequence[str]) -> bool:
        channel = self._calls.room_channel()
        return await self._run(holder_steps.release_places(limiter, ids, channel))

    async def find_lost_holders(self, limit: int) -> list[LostHolder]:
        return await self._run(holder_steps.find_lost_holders(limit))

    async def sweep_holders(self, lost: Sequence[LostHolder]) -> list[LostHolder]:
        return await self._run(holder_steps.sweep_holders(lost, self._calls.room_channel()))

    async def set_limit(self, limiter: str, size: int | None) -> bool:
        return await self._run(self._calls.set_limit(limiter, size))

    async def confirm(self, claims: Sequence[ClaimedJob], lease: timedelta) -> Written:
        return await self._run(self._calls.confirm(claims, lease), pool=self._work_pool)

    async def release_claims(self, queue_name: str, tokens: Sequence[str]) -> list[str]:
        return await self._run(self._calls.release_claims(queue_name, tokens), pool=self._work_pool)

    async def start(self, claims: Sequence[ClaimedJob], lease: timedelta) -> list[Started | Locked]:
        return await self._run(self._calls.start(claims, lease), pool=self._work_pool)

    async def heartbeat(
        self, claims: Sequence[ClaimedJob], lease: timedelta, reserved_timeout: timedelta
    ) -> Written:
        steps = self._calls.heartbeat(claims, lease, reserved_timeout)
        return await self._run(steps, pool=self._heartbeat_pool)

    async def settle(
        self, outcomes: Sequence[Outcome], allowed_losses: int
    ) -> dict[str, WriteResult]:
        parents = [one for one in outcomes if one.children_of is not None]
        if not parents:
            steps = self._calls.settle(outcomes, allowed_losses)
            return await self._run(steps, pool=self._work_pool)
        answers, locked = await self._run_on_trees(
            lambda some: self._trees.settle(some, allowed_losses), parents
        )
        answers.append({one.id: WriteResult.LOCKED for one in locked})
        if others := [one for one in outcomes if one.children_of is None]:
            answers.append(await self.settle(others, allowed_losses))
        return {id: result for answer in answers for id, result in answer.items()}

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
        steps = self._calls.succeed_and_claim(
            outcomes,
            queue_name,
            limiter=limiter,
            token=token,
            limit=limit,
            ahead=ahead,
            leaving=leaving,
            lease=lease,
        )
        return await self._run(steps, pool=self._work_pool)

    async def report(self, claims: Sequence[ClaimedJob], progress: Sequence[str]) -> Written:
        return await self._run(self._calls.report(claims, progress), pool=self._work_pool)

    async def find_steps(self, job_ids: Sequence[str]) -> dict[str, list[StepRow]]:
        return await self._run(self._calls.find_steps(job_ids), pool=self._work_pool)

    async def keep_steps(self, steps: Sequence[NewStep]) -> list[Kept | Locked | Fenced]:
        return await self._run(self._calls.keep_steps(steps), pool=self._work_pool)

    @asynccontextmanager
    async def transaction(self, claim: ClaimedJob) -> AsyncGenerator[Transaction]:
        with Sorting("transaction") as sorting:
            # Those who wait for a connection are served in order, however long that takes.
            async with self._transaction_pool.connection(math.inf) as connection:
                with sorting.theirs():
                    async with open_transaction(
                        connection,
                        claim,
                        self._calls,
                        self._prepared,
                        is_direct=self._is_direct,
                    ) as transaction:
                        yield transaction

    async def end_transactions(self, suspects: Sequence[Suspect]) -> dict[str, bool]:
        return await self._run(self._calls.end_transactions(suspects), pool=self._work_pool)

    async def receive(
        self, wanted: Sequence[NewReceive]
    ) -> list[Kept | NoMessage | Locked | Fenced]:
        return await self._run(message_steps.receive(wanted), pool=self._work_pool)

    async def send(
        self,
        message: NewMessage,
        queue_name: str,
        connection: pg.AsyncConnection[Any] | None = None,
        *,
        lock_wait: timedelta | None = None,
    ) -> Sent:
        channel = self._calls.channel(queue_name)
        steps = message_steps.send(message, queue_name, channel, lock_wait)
        return await self._run(steps, connection)

    async def release(self, releases: Sequence[Release], notify: Sequence[str]) -> Written:
        parents = [one for one in releases if one.children_of is not None]
        if not parents:
            return await self._run(self._calls.release(releases, notify), pool=self._work_pool)
        answers, locked = await self._run_on_trees(
            lambda some: self._trees.release(some, notify), parents
        )
        answers.append(Written(frozenset(), {one.id for one in locked}))
        if others := [one for one in releases if one.children_of is None]:
            answers.append(await self.release(others, notify))
        return Written(
            frozenset[str]().union(*(answer.ids for answer in answers)),
            frozenset[str]().union(*(answer.locked for answer in answers)),
            frozenset[str]().union(*(answer.to_cancel for answer in answers)),
        )

    async def find_suspects(self, queues: Sequence[SweptQueue], limit: int) -> list[Suspect]:
        return await self._run(self._calls.find_suspects(queues, limit), pool=self._work_pool)

    async def sweep(self, queues: Sequence[SweptQueue], suspects: Sequence[Suspect]) -> list[Swept]:
        parents = [one for one in suspects if one.children_of is not None]
        if not parents:
            return await self._run(self._calls.sweep(queues, suspects), pool=self._work_pool)
        answers, _ = await self._run_on_trees(lambda some: self._trees.sweep(queues, some), parents)
        if others := [one for one in suspects if one.children_of is None]:
            answers.append(await self.sweep(queues, others))
        return [swept for answer in answers for swept in answer]

    async def announce(self, worker: Worker) -> list[str]:
        # Behind a pooler the sessions are the pooler's, and outlast the worker's process.
        listener = self._listener if self._is_direct else None
        listener_pid = None if listener is None else listener.backend_pid
        calls = self._calls.announce(worker, listener_pid)
        return await self._run(calls, pool=self._work_pool)

    async def let_go(
        self, queue_name: str, *, after: WalkedHeldUp | None, walk: int, is_clean: bool
    ) -> LetGo:
        steps = limited_steps.let_go(queue_name, after, walk, is_clean=is_clean)
        return await self._run(steps, pool=self._work_pool)

    async def dismiss(self, worker_id: str, silence: timedelta) -> None:
        await self._run(self._calls.dismiss(worker_id, silence), pool=self._work_pool)

    async def find_unserved(self, waiting: timedelta, silence: timedelta) -> list[Unserved]:
        return await self._run(self._calls.find_unserved(waiting, silence), pool=self._work_pool)

    async def declare_schedules(self, schedules: Sequence[NewSchedule]) -> list[str]:
        return await self._run(schedule_steps.declare(schedules), pool=self._work_pool)

    async def renew_schedules(self, seen: Sequence[ScheduleRow]) -> None:
        await self._run(schedule_steps.renew(seen), pool=self._work_pool)

    async def find_schedules(self, names: Sequence[str] | None = None) -> Schedules:
        return await self._run(schedule_steps.find(names), pool=self._work_pool)

    async def tick(self, ticks: Sequence[NewTick], notify: Sequence[str]) -> list[Ticked]:
        steps = schedule_steps.tick(ticks, self._calls.channels(notify))
        return await self._run(steps, pool=self._work_pool)

    async def pause_schedule(self, name: str, *, is_paused: bool) -> bool:
        return await self._run(schedule_steps.pause(name, is_paused))

    async def survey(self, queue_names: Sequence[str]) -> dict[str, Due]:
        return await self._run(self._calls.survey(queue_names), pool=self._work_pool)

    async def redate(self, queue_names: Sequence[str], limit: int) -> list[str]:
        return await self._run(self._calls.redate(queue_names, limit), pool=self._work_pool)

    async def recall_newer(self, queue_name: str, limit: int) -> int:
        return await self._run(self._calls.recall_newer(queue_name, limit), pool=self._work_pool)

    async def pause(
        self, queue_name: str, reason: str | None, default_job_timeout: timedelta
    ) -> None:
        channel = self._calls.channel(queue_name)
        await self._run(queue_steps.pause(queue_name, channel, reason, default_job_timeout))

    async def resume(self, queue_name: str) -> bool:
        return await self._run(queue_steps.resume(queue_name, self._calls.channel(queue_name)))

    async def take_pruning(self, queue_name: str, gap: timedelta) -> bool:
        return await self._run(queue_steps.take_pruning(queue_name, gap), pool=self._work_pool)

    async def prune(self, queue_name: str, keep: Keep, *, after: str | None, walk: int) -> Pruned:
        steps = queue_steps.prune(queue_name, keep, after, walk)
        return await self._run(steps, pool=self._work_pool)

    async def notify(self, queue_names: Sequence[str]) -> None:
        await self._run(self._calls.notify(queue_names))

    @asynccontextmanager
    async def listen(
        self, queue_names: Sequence[str], heard: Callable[[Hinted | None], None]
    ) -> AsyncGenerator[None]:
        names = {self._calls.channel(name): name for name in queue_names}
        async with pg.Listener.from_pool(self._pool) as listener:
            self._listener = listener
            try:
                with listener._calling(_passing_on(heard, partial(_read_hint, names)), *names):
                    yield
            finally:
                self._listener = None

    def listen_for_ends(
        self, waiter: str, heard: Callable[[str | None], None]
    ) -> AbstractAsyncContextManager[None]:
        return self._listen_for(heard, waiter, self._calls.waiters_channel())

    def listen_for_room(
        self, heard: Callable[[str | None], None]
    ) -> AbstractAsyncContextManager[None]:
        return self._listen_for(heard, self._calls.room_channel())

    @asynccontextmanager
    async def _listen_for(
        self, heard: Callable[[str | None], None], *channels: str
    ) -> AsyncGenerator[None]:
        """Pass on the payloads of these channels."""
        async with pg.Listener.from_pool(self._pool) as listener:
            with listener._calling(_passing_on(heard, lambda _, payload: payload), *channels):
                yield


def _commits(connection: pg.AsyncConnection[Any] | None) -> bool:
    """Whether a statement on this connection, or on any of the pool's, is committed by itself."""
    return connection is None or (
        connection.autocommit and connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
    )


async def _close_if_spoilt(
    pooled: pg.AsyncConnection[Any], error: Exception, sorting: Sorting
) -> None:
    """Close a connection whose session is in a wrong state: the next try is to have another."""
    if sorting.spoils_session(error):  # rule: a session that is spoilt is closed
        # A cancellation must not take the place of the error: it says what was written.
        with trio.CancelScope(shield=True):
            await pooled.close()


def _passing(on_rows: Callable[[Rows], None], sorting: Sorting) -> Callable[[Rows], None]:
    """The same, whose errors are not the statement's."""

    def call(rows: Rows) -> None:
        with sorting.theirs():
            on_rows(rows)

    return call


def _read_hint(names: Mapping[str, str], channel: str, payload: str) -> Hinted:
    if not payload:
        return names[channel]
    if payload == queue_steps.QUEUE_CHANGED:
        return QueueChanged(names[channel])
    if payload.startswith(stack_steps.STACK_ASKED):
        return StackAsked(names[channel], payload.removeprefix(stack_steps.STACK_ASKED))
    # What is about one job has its id.
    return CancelAsked(names[channel], payload)


def _passing_on(
    heard: Callable[[T | None], None], read: Callable[[str, str], T]
) -> Callable[[pg.Notification | pg.Gap], None]:
    """Call `heard` with what `read` makes of a channel and a payload; a gap is `None`."""

    def call(event: pg.Notification | pg.Gap) -> None:
        if isinstance(event, pg.Gap):
            heard(None)
        else:
            heard(read(event.channel, event.payload))

    return call
