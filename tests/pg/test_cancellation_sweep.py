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
from _calls import CALLS, NAME, Call, Connection
from psycopg import sql
from psycopg.conninfo import make_conninfo

from m25 import pg
from support.cancelling import cancelled_at, cancelled_within
from support.thorough import thorough, tries
from support.waiting import PATIENCE

SEED = int(os.environ.get("M25_SWEEP_SEED", "25"))
CASES = int(os.environ.get("M25_SWEEP_CASES", tries(20, 1)))

#: From one checkpoint that is tried to the next; each call begins at another.
STRIDE = tries(1, 10)


class Server:
    """What the server itself says of those who are cancelled."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def has_nothing_left_of(self, pid: int, *, closed: bool) -> bool:
        """Whether this backend is idle before long, or gone if its connection is closed.

        One that is idle may not have read yet what was sent to it; one that is gone has.
        """
        is_left = "select 1 from pg_stat_activity where pid = %s and datname = current_database()"
        if not closed:
            is_left += " and state <> 'idle'"
        with trio.move_on_after(PATIENCE):
            while True:
                cursor = await self._connection.execute(is_left, [pid])
                if not await cursor.fetchall():
                    return True
                await trio.sleep(0.01)
        return False

    async def has_no_connections(self) -> bool:
        """Whether all that were opened are gone before long."""
        with trio.move_on_after(PATIENCE):
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
        with trio.fail_after(PATIENCE):
            was_too_quick = await how(lambda: call(c))
            self.cases += 1
            if c.closed:
                self.closed += 1
                self._connection = None
            else:
                await self._is_usable(c)
        assert await self._server.has_nothing_left_of(pid, closed=c.closed)
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
        for statement in ("select %s::int", "select %s::int + 0"):
            for _ in range(2):
                cursor = await c.execute(statement, [secret], prepare=True)
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
        yield Server(connection)


async def sweep_all(
    dsn: str, witness: Server, *, autocommit: bool, stride: int, by_chance: int
) -> int:
    cases = 0
    for call in CALLS:
        if call.__name__.startswith("two_phases") and not await witness.has_two_phases():
            continue
        sweep = Sweep(dsn, witness, autocommit=autocommit)
        checkpoint = random.randrange(stride)
        try:
            while not await sweep.cancel(call, lambda run, n=checkpoint: cancelled_at(n, run)):
                # Those of a long call are alike.
                checkpoint += stride if checkpoint < 40 else random.randrange(1, 50)
            for _ in range(by_chance):
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


@thorough
@pytest.mark.parametrize(
    ("stride", "by_chance", "least"),
    [
        (tries(1, 40), CASES, tries(2000, 100)),
        pytest.param(10, 1, 200, marks=pytest.mark.slow),
    ],
)
async def test_a_call_cancelled_anywhere_leaves_a_usable_or_closed_connection(
    empty_dsn: str, witness: Server, stride: int, by_chance: int, least: int
) -> None:
    random.seed(SEED)
    cases = 0
    for autocommit in (True, False):
        cases += await sweep_all(
            empty_dsn, witness, autocommit=autocommit, stride=stride, by_chance=by_chance
        )
    print(f"{cases} cases")
    assert cases > least


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


@thorough
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

            async def is_too_quick(how: Any, n: float, name: str = name, run: Any = run) -> bool:
                nonlocal cases
                with trio.fail_after(PATIENCE):
                    was_too_quick: bool = await how(n, run)
                    # Whoever comes next has what there is.
                    async with pool.connection() as c, pool.connection() as d:
                        for each in (c, d):
                            assert await (await each.execute("select 1")).fetchone() == (1,)
                stats = pool.stats()
                assert (stats.size, stats.waiting) == (2, 0), f"{name} {n}: {stats}"
                assert stats.idle == 2
                cases += 1
                return was_too_quick

            checkpoint = random.randrange(STRIDE)
            while not await is_too_quick(cancelled_at, checkpoint):
                checkpoint += STRIDE
            for _ in range(CASES):
                await is_too_quick(cancelled_within, random.uniform(0, 0.004))
    print(f"{cases} cases")
    assert await witness.has_no_connections()
