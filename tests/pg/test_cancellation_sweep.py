"""Every public call, cancelled at each of its checkpoints, and at moments of chance.

Afterwards a connection answers rightly or is closed, the server has nothing left of it, and a
pool's books are right. `M25_SWEEP_CASES` asks for more moments of chance, `M25_SWEEP_SEED` for
others.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import psycopg
import pytest
import trio
from _cancelling import cancelled_at, cancelled_within
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg.types import TypeInfo

from m25 import pg

SEED = int(os.environ.get("M25_SWEEP_SEED", "25"))
CASES = int(os.environ.get("M25_SWEEP_CASES", "20"))
NAME = "m25_swept"

Connection = pg.AsyncConnection[Any]
Call = Callable[[Connection], Awaitable[object]]
CALLS: list[Call] = []


def swept(call: Call) -> Call:
    CALLS.append(call)
    return call


@swept
async def execute(c: Connection) -> None:
    await c.execute("select 1")


@swept
async def execute_with_parameters(c: Connection) -> None:
    assert await (await c.execute("select %s::int, %s", [1, "one"])).fetchone() == (1, "one")


@swept
async def execute_prepared(c: Connection) -> None:
    for number in range(3):
        await c.execute("select %s::int + 1", [number], prepare=True)


@swept
async def execute_something_long(c: Connection) -> None:
    await c.execute("select pg_sleep(0.02)")


@swept
async def execute_something_wrong(c: Connection) -> None:
    with suppress(psycopg.errors.DivisionByZero):
        await c.execute("select 1 / 0")


@swept
async def execute_something_large(c: Connection) -> None:
    await c.execute("select length(%s)", ["x" * 3_000_000])


@swept
async def fetch(c: Connection) -> None:
    cursor = c.cursor(row_factory=dict_row)
    await cursor.execute("select generate_series(1, 2000) as number")
    await cursor.fetchone()
    await cursor.fetchmany(10)
    async for _ in cursor:
        break
    await cursor.scroll(5)
    assert len(await cursor.fetchall()) == 2000 - 17


@swept
async def fetch_a_large_result(c: Connection) -> None:
    cursor = await c.execute("select repeat('x', 1000) from generate_series(1, 3000)")
    assert len(await cursor.fetchall()) == 3000


@swept
async def executemany(c: Connection) -> None:
    await c.cursor().executemany("insert into t values (%s)", [(n,) for n in range(50)])


@swept
async def executemany_returning(c: Connection) -> None:
    cursor = c.cursor()
    rows = [(n,) for n in range(20)]
    await cursor.executemany("insert into t values (%s) returning n", rows, returning=True)
    async with aclosing(cursor.results()) as results:
        async for each in results:
            await each.fetchone()


@swept
async def several_results(c: Connection) -> None:
    cursor = await c.execute("select 1; select 2; select 3")
    await cursor.set_result(1)
    assert await cursor.fetchone() == (2,)


@swept
async def client_cursor(c: Connection) -> None:
    await pg.AsyncClientCursor(c).execute("select %s, %s", [1, "one"])


@swept
async def raw_cursor(c: Connection) -> None:
    await pg.AsyncRawCursor(c).execute("select $1::int", [1])


@swept
async def server_cursor(c: Connection) -> None:
    async with c.transaction(), c.cursor("named") as cursor:
        await cursor.execute("select generate_series(1, 100)")
        await cursor.fetchone()
        await cursor.fetchmany(10)
        async for _ in cursor:
            break
        await cursor.fetchall()


@swept
async def scrollable_server_cursor(c: Connection) -> None:
    async with c.transaction(), c.cursor("named", scrollable=True) as cursor:
        await cursor.execute("select generate_series(1, 100)")
        await cursor.scroll(50)
        assert await cursor.fetchone() == (51,)


@swept
async def raw_server_cursor(c: Connection) -> None:
    async with c.transaction(), pg.AsyncRawServerCursor(c, "named") as cursor:
        await cursor.execute("select generate_series(1, $1)", [10])
        assert len(await cursor.fetchall()) == 10


@swept
async def server_cursor_with_hold(c: Connection) -> None:
    async with c.cursor("held", withhold=True) as cursor:
        await cursor.execute("select generate_series(1, 100)")
        await c.commit()
        await cursor.fetchone()


@swept
async def copy_in(c: Connection) -> None:
    async with c.cursor().copy("copy t from stdin") as copy:
        for number in range(100):
            await copy.write_row([number])


@swept
async def copy_much_in(c: Connection) -> None:
    async with c.cursor().copy("copy t from stdin") as copy:
        for _ in range(30):
            await copy.write("1\n" * 30_000)


@swept
async def copy_out(c: Connection) -> None:
    async with c.cursor().copy("copy (select generate_series(1, 20000)) to stdout") as copy:
        async for _ in copy:
            pass


@swept
async def copy_rows_out(c: Connection) -> None:
    async with c.cursor().copy("copy (select generate_series(1, 200)) to stdout") as copy:
        await copy.read()
        await copy.read_row()
        async with aclosing(copy.rows()) as rows:
            async for _ in rows:
                pass


@swept
async def leave_a_copy_early(c: Connection) -> None:
    async with c.cursor().copy("copy (select generate_series(1, 200000)) to stdout") as copy:
        await copy.read()


@swept
async def stream(c: Connection) -> None:
    async with aclosing(c.cursor().stream("select generate_series(1, 50)")) as rows:
        async for _ in rows:
            pass


@swept
async def stream_in_chunks(c: Connection) -> None:
    async with aclosing(c.cursor().stream("select generate_series(1, 500)", size=50)) as rows:
        async for _ in rows:
            pass


@swept
async def leave_a_stream_early(c: Connection) -> None:
    async with aclosing(c.cursor().stream("select generate_series(1, 100000)")) as rows:
        async for _ in rows:
            break


@swept
async def pipeline(c: Connection) -> None:
    async with c.pipeline() as pipeline:
        first = await c.execute("select 1")
        await c.execute("insert into t values (1)")
        assert await first.fetchone() == (1,)
        await pipeline.sync()
        await c.execute("select 2")


@swept
async def pipeline_of_something_long(c: Connection) -> None:
    async with c.pipeline():
        for _ in range(3):
            await c.execute("select pg_sleep(0.01)")


@swept
async def pipeline_of_something_wrong(c: Connection) -> None:
    with suppress(psycopg.errors.DivisionByZero):
        async with c.pipeline():
            await c.execute("select 1 / 0")
            await c.execute("select 1")


@swept
async def nested_pipeline(c: Connection) -> None:
    async with c.pipeline():
        await c.execute("select 1")
        async with c.pipeline():
            await c.cursor().executemany("insert into t values (%s)", [(n,) for n in range(20)])


@swept
async def pipeline_with_transactions(c: Connection) -> None:
    async with c.pipeline():
        async with c.transaction():
            await c.execute("insert into t values (1)")
            async with c.transaction():
                await c.execute("insert into t values (2)")


@swept
async def transaction(c: Connection) -> None:
    async with c.transaction():
        await c.execute("insert into t values (1)")


@swept
async def transaction_with_savepoints(c: Connection) -> None:
    async with c.transaction():
        await c.execute("insert into t values (1)")
        async with c.transaction("inner") as inner:
            await c.execute("insert into t values (2)")
            raise psycopg.Rollback(inner)
        async with c.transaction():
            await c.execute("insert into t values (3)")


@swept
async def transaction_rolled_back(c: Connection) -> None:
    async with c.transaction(force_rollback=True):
        await c.execute("insert into t values (1)")


@swept
async def transaction_that_fails(c: Connection) -> None:
    with suppress(KeyError):
        async with c.transaction():
            await c.execute("insert into t values (1)")
            raise KeyError


@swept
async def commit_and_rollback(c: Connection) -> None:
    await c.execute("insert into t values (1)")
    await c.commit()
    await c.execute("insert into t values (1)")
    await c.rollback()


@swept
async def characteristics(c: Connection) -> None:
    await c.rollback()
    await c.set_autocommit(False)
    await c.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)
    await c.set_read_only(True)
    await c.set_deferrable(True)
    await c.execute("select 1")
    await c.rollback()
    await c.set_isolation_level(None)
    await c.set_read_only(None)
    await c.set_deferrable(None)


@swept
async def two_phases(c: Connection) -> None:
    await c.set_autocommit(False)
    await c.tpc_begin(c.xid(1, NAME, random.randbytes(8).hex()))
    await c.execute("insert into t values (1)")
    await c.tpc_prepare()
    await c.tpc_commit()


@swept
async def two_phases_rolled_back(c: Connection) -> None:
    await c.set_autocommit(False)
    await c.tpc_begin(c.xid(1, NAME, random.randbytes(8).hex()))
    await c.execute("insert into t values (1)")
    await c.tpc_prepare()
    await c.tpc_rollback()
    await c.tpc_recover()


@swept
async def notifies(c: Connection) -> None:
    await c.execute("listen swept")
    await c.commit()
    payload = random.randbytes(8).hex()
    await c.execute("select pg_notify('swept', %s)", [payload])
    await c.commit()
    async with aclosing(c.notifies()) as notices:
        # There may be some of those that were cancelled.
        async for notice in notices:
            if notice.payload == payload:
                break
    await c.execute("unlisten swept")
    await c.commit()


@swept
async def cancel_safe(c: Connection) -> None:
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            with suppress(psycopg.errors.QueryCanceled, psycopg.OperationalError):
                await c.execute("select pg_sleep(0.02)")

        await trio.lowlevel.checkpoint()
        await c.cancel_safe()


@swept
async def type_catalogue(c: Connection) -> None:
    assert await TypeInfo.fetch(c, "int4") is not None


@swept
async def two_tasks(c: Connection) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(c.execute, "select pg_sleep(0.002)")
        await c.execute("select 2")


@swept
async def close(c: Connection) -> None:
    await c.close()


@swept
async def close_under_a_query(c: Connection) -> None:
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            with suppress(psycopg.OperationalError):
                await c.execute("select pg_sleep(5)")

        await trio.lowlevel.checkpoint()
        await c.close()


@swept
async def leave_the_block(c: Connection) -> None:
    async with c:
        await c.execute("insert into t values (1)")


class Server:
    """What the server itself says of those who are cancelled."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.closed: list[int] = []

    async def has_nothing_left_of(self, pids: list[int]) -> bool:
        """Whether these backends are gone, or idle, within 2 seconds."""
        with trio.move_on_after(2):
            while True:
                cursor = await self._connection.execute(
                    "select pid from pg_stat_activity where pid = any(%s) and state <> 'idle'",
                    [pids],
                )
                if not await cursor.fetchall():
                    return True
                await trio.sleep(0.01)
        return False

    async def has_no_connections(self) -> bool:
        """Whether all that were opened are gone within 2 seconds."""
        with trio.move_on_after(2):
            while True:
                cursor = await self._connection.execute(
                    "select 1 from pg_stat_activity where application_name = %s"
                    " and datname = current_database()",
                    [NAME],
                )
                if not await cursor.fetchall():
                    return True
                await trio.sleep(0.01)
        return False

    async def has_two_phases(self) -> bool:
        cursor = await self._connection.execute("show max_prepared_transactions")
        return await cursor.fetchone() != ("0",)

    async def forget_prepared(self) -> None:
        cursor = await self._connection.execute(
            "select gid from pg_prepared_xacts where database = current_database()"
        )
        for (gid,) in await cursor.fetchall():
            await self._connection.execute(sql.SQL("rollback prepared {}").format(gid))


class Sweep:
    """A connection after the other, each used until a cancellation closes it."""

    def __init__(self, dsn: str, server: Server, *, autocommit: bool) -> None:
        self._dsn = make_conninfo(dsn, application_name=NAME)
        self._autocommit = autocommit
        self._server = server
        self._connection: Connection | None = None
        self.cases = 0
        self.closed = 0

    async def cancel(self, call: Call, how: Callable[[Any], Awaitable[bool]]) -> bool:
        """Run one case. Return whether the call was too quick to be cancelled."""
        c = await self.connection()
        pid = c.info.backend_pid
        with trio.fail_after(10):
            was_too_quick = await how(lambda: call(c))
            self.cases += 1
            if c.closed:
                self.closed += 1
                self._connection = None
                self._server.closed.append(pid)
            else:
                await self._is_usable(c)
        assert await self._server.has_nothing_left_of([pid])
        return was_too_quick

    async def connection(self) -> Connection:
        if self._connection is None:
            self._connection = await pg.AsyncConnection.connect(
                self._dsn, autocommit=self._autocommit
            )
        return self._connection

    async def _is_usable(self, c: Connection) -> None:
        assert not c.lock.locked()
        assert not c.pgconn.pipeline_status
        if c._tpc is not None:
            await c.tpc_rollback()
        await c.rollback()
        secret = random.randrange(10**9)
        cursor = await c.execute("select %s::int", [secret])
        assert await cursor.fetchall() == [(secret,)]
        await c.rollback()
        await c.set_autocommit(self._autocommit)
        await c.set_isolation_level(None)
        await c.set_read_only(None)
        await c.set_deferrable(None)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


@pytest.fixture
async def witness(empty_dsn: str) -> Any:
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        await connection.execute("create table t (n int)")
        server = Server(connection)
        yield server
        assert await server.has_nothing_left_of(server.closed)


async def sweep_all(dsn: str, witness: Server, *, autocommit: bool) -> int:
    cases = 0
    for call in CALLS:
        if call.__name__.startswith("two_phases") and not await witness.has_two_phases():
            continue
        sweep = Sweep(dsn, witness, autocommit=autocommit)
        checkpoint = 0
        try:
            while not await sweep.cancel(call, lambda run, n=checkpoint: cancelled_at(n, run)):
                # Those of a long call are alike.
                checkpoint += 1 if checkpoint < 40 else random.randrange(1, 50)
            for _ in range(CASES):
                moment = random.uniform(0, 0.004)
                await sweep.cancel(call, lambda run, s=moment: cancelled_within(s, run))
        except BaseException as error:
            error.add_note(f"in {call.__name__}, checkpoint {checkpoint}, case {sweep.cases}")
            raise
        finally:
            await sweep.close()
        cases += sweep.cases
        await witness.forget_prepared()
        print(f"{call.__name__}: {sweep.cases} cases, {sweep.closed} closed")
    return cases


async def test_a_call_cancelled_anywhere_leaves_a_usable_or_closed_connection(
    empty_dsn: str, witness: Server
) -> None:
    random.seed(SEED)
    cases = 0
    for autocommit in (True, False):
        cases += await sweep_all(empty_dsn, witness, autocommit=autocommit)
    print(f"{cases} cases")
    assert cases > 2000


async def test_connecting_cancelled_anywhere_leaves_no_connection(
    empty_dsn: str, witness: Server
) -> None:
    dsn = make_conninfo(empty_dsn, application_name=NAME)

    async def connect() -> None:
        async with await pg.AsyncConnection.connect(dsn):
            pass

    checkpoint = 0
    while not await cancelled_at(checkpoint, connect):
        checkpoint += 1
    for _ in range(CASES):
        await cancelled_within(random.uniform(0, 0.01), connect)
    assert await witness.has_no_connections()


class Pooled:
    """What is asked of a pool."""

    def __init__(self, pool: pg.Pool) -> None:
        self.pool = pool

    async def borrow(self) -> None:
        async with self.pool.connection() as c:
            await c.execute("select 1")

    async def borrow_all(self) -> None:
        async with self.pool.connection() as c, self.pool.connection() as d:
            await c.execute("select 1")
            await d.execute("select 1")

    async def wait_in_line(self) -> None:
        async with self.pool.connection(), self.pool.connection():
            with suppress(pg.PoolTimeout):
                async with self.pool.connection(timeout=0.001):
                    pass

    async def be_passed_one(self) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(self.borrow)
            await self.borrow()

    async def write(self) -> None:
        async with self.pool.connection() as c:
            await c.execute("insert into t values (1)")

    async def break_one(self) -> None:
        async with self.pool.connection() as c:
            await c.close()

    async def fail(self) -> None:
        with suppress(psycopg.errors.DivisionByZero):
            async with self.pool.connection() as c:
                await c.execute("select 1 / 0")

    async def leave_a_stream(self) -> None:
        async with self.pool.connection() as c:
            rows = c.cursor().stream("select generate_series(1, 100000)")
            async with aclosing(rows):
                await anext(rows)

    async def wait(self) -> None:
        await self.pool.wait()


async def test_a_pool_cancelled_anywhere_loses_no_connection(
    empty_dsn: str, witness: Server
) -> None:
    random.seed(SEED)
    cases = 0

    async def reset(c: Connection) -> None:
        await c.execute("select 'reset'")
        await c.commit()

    async with pg.Pool(
        make_conninfo(empty_dsn, application_name=NAME), max_size=2, reset=reset
    ) as pool:
        pooled = Pooled(pool)
        names = [name for name in vars(Pooled) if not name.startswith("_")]
        for name in names:
            run = getattr(pooled, name)
            checkpoint = 0
            was_too_quick = False
            while not was_too_quick or checkpoint < CASES:
                how, n = (cancelled_within, random.uniform(0, 0.004))
                if not was_too_quick:
                    how, n = (cancelled_at, checkpoint)
                with trio.fail_after(10):
                    was_too_quick = await how(n, run) or was_too_quick
                    # Whoever comes next has what there is.
                    async with pool.connection() as c, pool.connection() as d:
                        for each in (c, d):
                            assert await (await each.execute("select 1")).fetchone() == (1,)
                stats = pool.stats()
                assert (stats.size, stats.waiting) == (2, 0), f"{name} {checkpoint}: {stats}"
                assert stats.idle == 2
                checkpoint += 1
                cases += 1
    print(f"{cases} cases")
    assert await witness.has_no_connections()
