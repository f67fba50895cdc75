"""A statement that commits by itself can fail after its rows have come: whatever way it was run,
the error is that of its SQLSTATE, and the connection is as usable as after any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from itertools import product
from typing import Any

import psycopg
import pytest
import trio

from m25 import pg
from m25.pg._prepared import Prepared, Rows

Connection = pg.AsyncConnection[Any]
Way = Callable[[Connection, str], Awaitable[object]]
WAYS: list[Way] = []

SCHEMA = """
    create table t (code text);
    create function fail() returns trigger language plpgsql as $$
        begin
            case new.code
                when 'ok' then null;
                when 'terminate' then
                    perform pg_terminate_backend(pg_backend_pid());
                    perform pg_sleep(600);
                when 'sleep' then perform pg_sleep(600);
                else raise exception 'refused at the commit' using errcode = new.code;
            end case;
            return null;
        end
    $$;
    create constraint trigger fail after insert on t
        deferrable initially deferred for each row execute function fail();
"""
INSERT = "insert into t values (%s) returning code"
PREPARED = Prepared(b"insert", b"insert into t values ($1::text) returning code", ("code",))


def way(run: Way) -> Way:
    WAYS.append(run)
    return run


@way
async def execute(c: Connection, code: str) -> None:
    await c.execute(INSERT, [code])


@way
async def execute_prepared(c: Connection, code: str) -> None:
    await c.execute(INSERT, [code], prepare=True)


@way
async def execute_without_parameters(c: Connection, code: str) -> None:
    await c.execute(f"insert into t values ('{code}') returning code")


@way
async def execute_several(c: Connection, code: str) -> None:
    await c.execute(f"select 1; insert into t values ('{code}') returning code")


@way
async def client_cursor(c: Connection, code: str) -> None:
    await pg.AsyncClientCursor(c).execute(INSERT, [code])


@way
async def executemany(c: Connection, code: str) -> None:
    await c.cursor().executemany(INSERT, [("ok",), (code,)])


@way
async def executemany_returning(c: Connection, code: str) -> None:
    await c.cursor().executemany(INSERT, [("ok",), (code,)], returning=True)


@way
async def pipeline(c: Connection, code: str) -> None:
    async with c.pipeline():
        await c.execute(INSERT, [code])
        await c.execute("select 1")


@way
async def pipeline_and_fetch(c: Connection, code: str) -> None:
    async with c.pipeline():
        await c.execute(INSERT, [code])
        assert await (await c.execute("select 1")).fetchall() == [(1,)]


@way
async def pipeline_and_sync(c: Connection, code: str) -> None:
    async with c.pipeline() as pipeline:
        await c.execute(INSERT, [code])
        await pipeline.sync()


@way
async def pipeline_with_a_transaction(c: Connection, code: str) -> None:
    async with c.pipeline(), c.transaction():
        await c.execute(INSERT, [code])


@way
async def transaction(c: Connection, code: str) -> None:
    async with c.transaction():
        await c.execute(INSERT, [code])


@way
async def stream(c: Connection, code: str) -> None:
    async with aclosing(c.cursor().stream(INSERT, [code])) as rows:
        async for row in rows:
            assert row == (code,)


@way
async def copy_in(c: Connection, code: str) -> None:
    async with c.cursor().copy("copy t from stdin") as copy:
        await copy.write_row([code])


@way
async def copy_out(c: Connection, code: str) -> None:
    async with c.cursor().copy(
        f"copy (insert into t values ('{code}') returning 1) to stdout"
    ) as c_:
        async for _ in c_:
            pass


@way
async def statement(c: Connection, code: str) -> None:
    await PREPARED.run(c, {"code": code})


@way
async def statement_with_early_rows(c: Connection, code: str) -> None:
    await PREPARED.run(c, {"code": code}, lambda rows: None)


@pytest.fixture
async def connection(empty_dsn: str) -> Any:
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        await connection.execute(SCHEMA)
        yield connection


async def is_as_usable_as_before(c: Connection) -> None:
    assert (c.closed, c.pgconn.pipeline_status, c.lock.locked()) == (False, 0, False)
    assert c.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    for run in WAYS:
        await run(c, "ok")
    for number in range(3):
        cursor = await c.execute("select %s::int", [number], prepare=True)
        assert await cursor.fetchall() == [(number,)]
    assert await (await c.execute("select 1 from t where code <> 'ok'")).fetchone() is None


@pytest.mark.parametrize("run", WAYS, ids=lambda run: run.__name__)
async def test_an_error_at_the_commit_is_that_of_its_sqlstate(
    connection: Connection, run: Way
) -> None:
    for code in ("23505", "40001", "54000", "55P03"):
        for _ in range(2):
            with trio.fail_after(60), pytest.raises(psycopg.Error) as caught:
                await run(connection, code)
            assert caught.value.sqlstate == code
            assert type(caught.value) is psycopg.errors.lookup(code)
    await is_as_usable_as_before(connection)


@pytest.mark.parametrize("run", WAYS, ids=lambda run: run.__name__)
async def test_a_session_that_is_ended_at_the_commit_says_so(
    connection: Connection, run: Way
) -> None:
    with trio.fail_after(60), pytest.raises(psycopg.OperationalError) as caught:
        await run(connection, "terminate")
    # psycopg's pipelines drop what has come before the end of the connection.
    in_pipeline = run.__name__.startswith(("pipeline", "executemany"))
    assert caught.value.sqlstate == "57P01" or in_pipeline
    assert connection.closed


@pytest.mark.parametrize(
    # Those wait for the answer: see test_commits.
    "run",
    [run for run in WAYS if "transaction" not in run.__name__],
    ids=lambda run: run.__name__,
)
async def test_a_task_that_is_cancelled_at_the_commit_is_cancelled_and_nothing_else(
    connection: Connection, run: Way
) -> None:
    with trio.fail_after(60):
        for seconds in (0.02, 0.05, 0.1):
            with trio.move_on_after(seconds) as scope:
                await run(connection, "sleep")
            assert scope.cancelled_caught
        await is_as_usable_as_before(connection)


async def test_a_pipeline_that_is_cancelled_before_its_commit_does_not_wait_for_that(
    connection: Connection,
) -> None:
    with trio.CancelScope() as scope:
        async with connection.pipeline():
            # All is answered so far, and committed at the end of the block.
            assert await (await connection.execute(INSERT, ["sleep"])).fetchall() == [("sleep",)]
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    await is_as_usable_as_before(connection)


async def test_an_error_of_who_is_given_the_rows_harms_no_one_else(
    connection: Connection,
) -> None:
    def refuse(rows: Rows) -> None:
        raise KeyError("refused")

    for code in ("ok", "40001"):
        with pytest.raises(KeyError):
            await PREPARED.run(connection, {"code": code}, refuse)
    await is_as_usable_as_before(connection)


@pytest.mark.parametrize("run", WAYS, ids=lambda run: run.__name__)
async def test_after_a_stream_everything_goes_on_as_before(
    connection: Connection, run: Way
) -> None:
    # libpq before 17 has no chunks.
    sizes = [1, 2] if psycopg.capabilities.has_stream_chunked() else [1]
    for size, left_early in product(sizes, [False, True]):
        await PREPARED.run(connection, {"code": "ok"})
        async with aclosing(
            connection.cursor().stream("select generate_series(1, 5)", size=size)
        ) as rows:
            async for _ in rows:
                if left_early:
                    break
        await run(connection, "ok")
        await is_as_usable_as_before(connection)
