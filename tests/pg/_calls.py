"""Every public call of a connection, small enough to be cancelled at each of its checkpoints."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import psycopg
import trio
from psycopg.rows import dict_row
from psycopg.types import TypeInfo

from m25 import pg
from m25.pg._prepared import Prepared

#: By which the server and the names of prepared transactions know those who are cancelled.
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


_STATEMENT = Prepared(b"swept", b"select $1::text, pg_sleep(0.001)", ("one",))


@swept
async def statement(c: Connection) -> None:
    assert await _STATEMENT.run(c, {"one": "1"}) == [("1", "")]


@swept
async def statement_with_early_rows(c: Connection) -> None:
    taken: list[object] = []
    for _ in range(2):
        assert await _STATEMENT.run(c, {"one": "1"}, taken.append) == [("1", "")]
    assert taken == [[("1", "")]] * 2


@swept
async def statement_that_is_wrong(c: Connection) -> None:
    wrong = Prepared(b"wrong", b"select 1 / $1::int", ("by",))
    with suppress(psycopg.errors.DivisionByZero):
        await wrong.run(c, {"by": "0"}, id)


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
                await c.execute("select pg_sleep(600)")

        await trio.lowlevel.checkpoint()
        await c.close()


@swept
async def leave_the_block(c: Connection) -> None:
    async with c:
        await c.execute("insert into t values (1)")
