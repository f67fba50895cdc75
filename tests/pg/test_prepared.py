"""What a statement promises that is prepared once, and whose rows may come before its commit."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import trio
import trio.testing

from m25 import pg
from m25.pg._prepared import Prepared, Rows
from m25.pg._wire import Wire
from support.waiting import PATIENCE, rows

ECHO = Prepared(b"echo", b"select $1::text, $2::int + 1", ("word", "number"))
LOCK = Prepared(b"lock", b"select pg_advisory_xact_lock($1::int)::text", ("n",))
INSERT = Prepared(b"insert", b"insert into t values ($1::int) returning n", ("n",))


@pytest.fixture
async def connection(empty_dsn: str) -> Any:
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        # Two of a number are only refused at the commit.
        await connection.execute("create table t (n int unique deferrable initially deferred)")
        yield connection


@pytest.mark.parametrize("early", [False, True])
async def test_it_takes_text_and_returns_rows_again_and_again(
    connection: pg.AsyncConnection, early: bool
) -> None:
    taken: list[Rows] = []
    take = taken.append if early else None
    for number in range(3):
        word = None if number == 2 else "ä\\'\""
        found = await ECHO.run(connection, {"number": str(number), "word": word}, take)
        assert found == [(word, number + 1)]
        assert taken[number:] == ([found] if early else [])
    names = await (await connection.execute("select name from pg_prepared_statements")).fetchall()
    assert ("echo",) in names


async def test_rows_that_come_once_its_task_is_cancelled_are_given_to_nobody(
    empty_dsn: str, connection: pg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_late(_wire: Wire, _give_up_at: float) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(Wire, "keep_cancelling", too_late)
    taken: list[Rows] = []
    await LOCK.run(connection, {"n": "2"})
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as other:
        await other.execute("select pg_advisory_lock(1)")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(LOCK.run, connection, {"n": "1"}, taken.append)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await other.execute("select pg_advisory_unlock(1)")
    assert taken == []
    # Those of the next one are given again.
    await LOCK.run(connection, {"n": "1"}, taken.append)
    assert len(taken) == 1


async def test_rows_are_there_before_the_commit_and_returned_after_it(
    empty_dsn: str, connection: pg.AsyncConnection
) -> None:
    async with await pg.AsyncConnection.connect(empty_dsn) as other:
        # Whoever inserts 1 waits at its commit for who did so before.
        await other.execute("insert into t values (1)")
        early, late = trio.Event(), trio.Event()

        async def insert() -> None:
            await INSERT.run(connection, {"n": "1"}, lambda _: early.set())
            late.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(insert)
            with trio.fail_after(PATIENCE):
                await early.wait()
            assert not late.is_set()
            await other.rollback()
            with trio.fail_after(PATIENCE):
                await late.wait()
    assert await rows(empty_dsn, "select n from t") == [{"n": 1}]


async def test_a_commit_that_fails_is_raised_although_the_rows_were_taken(
    empty_dsn: str, connection: pg.AsyncConnection
) -> None:
    await INSERT.run(connection, {"n": "1"})
    taken: list[Rows] = []
    with pytest.raises(psycopg.errors.UniqueViolation):
        await INSERT.run(connection, {"n": "1"}, taken.append)
    assert taken == [[(1,)]]
    assert await rows(empty_dsn, "select n from t") == [{"n": 1}]
    assert await INSERT.run(connection, {"n": "2"}, taken.append) == [(2,)]


@pytest.mark.parametrize("early", [False, True])
async def test_an_error_leaves_the_connection_usable_and_takes_nothing(
    connection: pg.AsyncConnection, early: bool
) -> None:
    taken: list[Rows] = []
    take = taken.append if early else None
    for number in ("one", str(2**31 - 1)):
        with pytest.raises(psycopg.DataError):
            await ECHO.run(connection, {"word": "", "number": number}, take)
    with pytest.raises(psycopg.DataError, match="NUL"):
        await ECHO.run(connection, {"word": "a\0b", "number": "1"}, take)
    wrong = Prepared(b"wrong", b"select nothing", ())
    with pytest.raises(psycopg.errors.UndefinedColumn):
        await wrong.run(connection, {}, take)
    assert taken == []
    assert await ECHO.run(connection, {"word": "a", "number": "1"}, take) == [("a", 2)]


@pytest.mark.parametrize("early", [False, True])
async def test_what_the_session_was_made_to_forget_is_prepared_again(
    connection: pg.AsyncConnection, early: bool
) -> None:
    take = id if early else None
    await INSERT.run(connection, {"n": "1"}, take)
    await ECHO.run(connection, {"word": "a", "number": "1"}, take)
    await connection.execute("discard all")
    assert await ECHO.run(connection, {"word": "b", "number": "1"}, take) == [("b", 2)]
    assert await INSERT.run(connection, {"n": "2"}, take) == [(2,)]


async def test_a_connection_that_dies_at_the_commit_says_so_after_the_rows_were_taken(
    empty_dsn: str, connection: pg.AsyncConnection
) -> None:
    async with await pg.AsyncConnection.connect(empty_dsn) as other:
        await other.execute("insert into t values (1)")
        pid = connection.info.backend_pid
        early = trio.Event()

        async def terminate() -> None:
            await early.wait()
            await rows(empty_dsn, f"select pg_terminate_backend({pid})")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(terminate)
            with trio.fail_after(PATIENCE), pytest.raises(psycopg.OperationalError):
                await INSERT.run(connection, {"n": "1"}, lambda _: early.set())
        assert connection.closed
        await other.rollback()
    assert await rows(empty_dsn, "select n from t") == []


async def test_those_who_share_a_connection_take_turns(connection: pg.AsyncConnection) -> None:
    async def ask(number: int) -> None:
        found = await ECHO.run(connection, {"word": "", "number": str(number)}, id)
        assert found == [("", number + 1)]

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(ask, number)
