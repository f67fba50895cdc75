"""`Store` over PostgreSQL: runs the steps of each call on pooled connections, by Trio."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from datetime import timedelta
from types import MappingProxyType
from typing import Any, TypeVar

import attrs
import trio
from psycopg.rows import tuple_row

from .. import migrations, pg
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
from .statements import SESSION, as_prepared, load_statements
from .steps import Calls, Rows, Statement, Steps

T = TypeVar("T")


class StoreConnection(pg.AsyncConnection[Any]):
    """What a client's own pool opens."""

    #: An array of ours may hold nothing in a place, whatever the database's or the role's setting.
    server_liveness = MappingProxyType({**pg.SERVER_LIVENESS, "array_nulls": "on"})


async def prepare_connection(connection: pg.AsyncConnection[Any]) -> None:
    """Make a new connection fit for the store: what a client's own pool does with each."""
    parameters = {"backend_pid": connection.info.backend_pid}
    await connection.execute(SESSION, parameters, prepare=False)


class PostgresStore(Store):
    """The job table of one schema, by way of a pool.

    `application_name`s, timeouts and the like are the pool's. A `connection` that a caller passes
    along is used as it is, and its transaction is the caller's.
    """

    def __init__(self, pool: pg.Pool[Any], schema: str) -> None:
        self._pool = pool
        self._schema = schema
        self._calls = Calls(schema)
        self._sql = load_statements(schema)
        self._prepared = {name: as_prepared(name, text) for name, text in self._sql.items()}
        #: Whether the server itself answers on the pool's connections: so `check_version` found.
        self._is_direct = False

    # The driver

    async def _run(self, steps: Steps[T], connection: pg.AsyncConnection[Any] | None = None) -> T:
        try:
            statement = next(steps)
            while True:
                if connection is None:
                    rows = await self._run_on_pool(statement)
                else:
                    rows = await self._run_on(connection, statement)
                statement = steps.send(rows)
        except StopIteration as done:
            answer: T = done.value
            return answer

    async def _run_on_pool(self, statement: Statement) -> Rows:
        # That no connection is to be had is the statement's failure, too.
        with Sorting(statement.name) as sorting:
            async with self._pool.connection() as pooled:
                try:
                    if self._is_direct and pooled.autocommit:
                        prepared = self._prepared[statement.name]
                        on_rows = _passing(statement.on_rows, sorting)
                        return await prepared.run(pooled, statement.parameters, on_rows)
                    rows = await self._execute(pooled, statement)
                except Exception as error:
                    await _close_if_spoilt(pooled, error, sorting)
                    raise
            # They could not be given early: the claim is committed by now.
            if statement.on_rows is not None:
                with sorting.theirs():
                    statement.on_rows(rows)
            return rows

    async def _run_on(self, connection: pg.AsyncConnection[Any], statement: Statement) -> Rows:
        """Run a statement on a connection of a caller's, which is the caller's to close."""
        with Sorting(statement.name):
            return await self._execute(connection, statement)

    async def _execute(self, connection: pg.AsyncConnection[Any], statement: Statement) -> Rows:
        cursor = connection.cursor(row_factory=tuple_row)
        # How often a connection of the caller's is used we do not know: psycopg prepares as it sees
        # fit. Behind a pooler it must not.
        prepare = None if self._is_direct else False
        await cursor.execute(self._sql[statement.name], statement.parameters, prepare=prepare)
        return await cursor.fetchall()

    # The calls

    async def check_version(self) -> None:
        with Sorting("check_version"):
            async with self._pool.connection() as connection:
                version = await migrations.read_version(connection, self._schema)
                backend_pid = await self._run(self._calls.backend(), connection)
                # Another than the one that greeted us: there is a pooler in between. Where that
                # hands each transaction to any of its connections, a statement that was prepared is
                # missing there, or is another's.
                self._is_direct = backend_pid == connection.info.backend_pid
        migrations.check_version(version, self._schema)

    async def enqueue(
        self,
        jobs: Sequence[NewJob],
        notify: Sequence[str],
        connection: pg.AsyncConnection[Any] | None = None,
    ) -> list[Enqueued | Exists | Held]:
        return await self._run(self._calls.enqueue(jobs, notify), connection)

    async def enqueue_all(
        self,
        batches: AsyncIterable[Sequence[NewJob]],
        notify: Sequence[str],
        on_batch: Callable[[Sequence[NewJob], Sequence[Enqueued | Exists | Held]], None],
        connection: pg.AsyncConnection[Any] | None = None,
    ) -> None:
        with Sorting("enqueue_all") as sorting:
            if connection is not None:
                if not connection.autocommit:
                    # The transaction is the caller's to end, also where it has not begun yet.
                    await self._run(self._calls.notify(()), connection)
                await self._insert_all(batches, notify, on_batch, connection, sorting)
                return
            async with self._pool.connection() as pooled:
                try:
                    await self._insert_all(batches, notify, on_batch, pooled, sorting)
                except Exception as error:
                    await _close_if_spoilt(pooled, error, sorting)
                    raise

    async def _insert_all(
        self,
        batches: AsyncIterable[Sequence[NewJob]],
        notify: Sequence[str],
        on_batch: Callable[[Sequence[NewJob], Sequence[Enqueued | Exists | Held]], None],
        connection: pg.AsyncConnection[Any],
        sorting: Sorting,
    ) -> None:
        source = aiter(batches)
        # Within a transaction of the caller's it is a savepoint.
        async with connection.transaction():  # rule: many are enqueued in one transaction
            while True:
                with sorting.theirs():
                    batch = await anext(source, None)
                if batch is None:
                    return
                answers = await self._run(self._calls.enqueue(batch, notify), connection)
                with sorting.theirs():
                    on_batch(batch, answers)
                # Once is enough: they are notified at the commit.
                notify = ()

    async def get(
        self, ids: Sequence[str], connection: pg.AsyncConnection[Any] | None = None
    ) -> dict[str, JobRow]:
        return await self._run(self._calls.get(ids), connection)

    async def cancel(
        self, id: str, queue_name: str, connection: pg.AsyncConnection[Any] | None = None
    ) -> JobRow | None:
        return await self._run(self._calls.cancel(id, queue_name), connection)

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
        return await self._run(
            self._calls.claim(
                queue_name,
                token=token,
                limit=limit,
                lease=lease,
                start=start,
                after=after,
                on_rows=on_rows,
            )
        )

    async def confirm(self, claims: Sequence[ClaimedJob], lease: timedelta) -> set[str]:
        return await self._run(self._calls.confirm(claims, lease))

    async def release_claims(self, queue_name: str, tokens: Sequence[str]) -> list[str]:
        return await self._run(self._calls.release_claims(queue_name, tokens))

    async def start(self, claims: Sequence[ClaimedJob], lease: timedelta) -> list[Started]:
        return await self._run(self._calls.start(claims, lease))

    async def heartbeat(
        self, claims: Sequence[ClaimedJob], lease: timedelta, reserved_timeout: timedelta
    ) -> set[str]:
        return await self._run(self._calls.heartbeat(claims, lease, reserved_timeout))

    async def settle(
        self, outcomes: Sequence[Outcome], allowed_losses: int
    ) -> dict[str, WriteResult]:
        return await self._run(self._calls.settle(outcomes, allowed_losses))

    async def release(self, claims: Sequence[ClaimedJob], notify: Sequence[str]) -> set[str]:
        return await self._run(self._calls.release(claims, notify))

    async def sweep(self, queues: Sequence[SweptQueue], limit: int) -> list[Swept]:
        return await self._run(self._calls.sweep(queues, limit))

    async def survey(self, queue_names: Sequence[str]) -> dict[str, float]:
        return await self._run(self._calls.survey(queue_names))

    async def notify(self, queue_names: Sequence[str]) -> None:
        await self._run(self._calls.notify(queue_names))

    @asynccontextmanager
    async def listen(self, queue_names: Sequence[str]) -> AsyncGenerator[AsyncIterator[str | None]]:
        names = {self._calls.channel(name): name for name in queue_names}
        async with (
            pg.Listener(self._pool.conninfo) as listener,
            listener.subscribe(*names) as events,
        ):
            yield _Notified(events, names)


async def _close_if_spoilt(
    pooled: pg.AsyncConnection[Any], error: Exception, sorting: Sorting
) -> None:
    """Close a connection whose session is in a wrong state: the next try is to have another."""
    if sorting.spoils_session(error):  # rule: a session that is spoilt is closed
        await pooled.close()


def _passing(
    on_rows: Callable[[Rows], None] | None, sorting: Sorting
) -> Callable[[Rows], None] | None:
    """The same, whose errors are not the statement's."""
    if on_rows is None:
        return None

    def call(rows: Rows) -> None:
        with sorting.theirs():
            on_rows(rows)

    return call


@attrs.frozen
class _Notified(AsyncIterator[str | None]):
    """The queues whose workers are notified, by their own names."""

    # No task in between, and no generator: neither costs nothing, and someone waits for a job.
    _events: trio.MemoryReceiveChannel[pg.Notification | pg.Gap]
    _names: Mapping[str, str]

    async def __anext__(self) -> str | None:
        event = await anext(self._events)
        return None if isinstance(event, pg.Gap) else self._names[event.channel]
