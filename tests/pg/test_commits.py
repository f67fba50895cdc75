"""Whoever commits is told what became of it, whenever the task is cancelled, whatever failed."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest
import trio
import trio.testing

from m25 import pg
from m25.pg._background import Background
from m25.pg._pipeline import AsyncPipeline
from m25.pg._prepared import Prepared
from support.cancelling import cancelled_at, cancelled_within
from support.poolers import COMMITTED, answering_commits, last_words
from support.proxy import Proxy, proxied
from support.waiting import PATIENCE, eventually, rows

Commit = Callable[[str, Any, int], Awaitable[None]]
COMMITS: list[Commit] = []
INSERT = "insert into t values (%s)"
#: So that a commit is under way for as long as somebody has the lock. It goes before the check of
#: the keys: what a commit fires, it fires by name.
HELD_UP_COMMITS = """
    create function wait() returns trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock(1); return null; end $$;
    create constraint trigger "A" after insert on t
        deferrable initially deferred for each row execute function wait()
"""
WAITS = """
    select 1 from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'
"""


def commits(commit: Commit) -> Commit:
    COMMITS.append(commit)
    return commit


@commits
async def transaction(dsn: str, c: pg.AsyncConnection, n: int) -> None:
    async with c.transaction():
        await c.execute(INSERT, [n])


@commits
async def transaction_in_a_pipeline(dsn: str, c: pg.AsyncConnection, n: int) -> None:
    async with c.pipeline():
        async with c.transaction():
            await c.execute(INSERT, [n])
        committed.append(n)


@commits
async def commit(dsn: str, c: pg.AsyncConnection, n: int) -> None:
    await c.execute("begin")
    await c.execute(INSERT, [n])
    await c.commit()


@commits
async def savepoint(dsn: str, c: pg.AsyncConnection, n: int) -> None:
    # Who swallows the cancellation of a savepoint goes on with what that has left.
    released = False
    async with c.transaction():
        with trio.CancelScope(shield=True):
            await c.execute("select 1")
        with suppress(trio.Cancelled):
            async with c.transaction():
                await c.execute(INSERT, [n])
            released = True
        with trio.CancelScope(shield=True):
            found = await (await c.execute("select 1 from t where n = %s", [n])).fetchone()
            assert (found is not None) is released


@commits
async def connection_block(dsn: str, c: pg.AsyncConnection, n: int) -> None:
    async with await pg.AsyncConnection.connect(dsn) as own:
        await own.execute(INSERT, [n])


@commits
async def pool(dsn: str, c: pg.AsyncConnection, n: int) -> None:
    async with POOL.connection() as pooled:
        await pooled.execute(INSERT, [n])


committed: list[int] = []
POOL: pg.Pool


@pytest.fixture
async def connection(empty_dsn: str) -> Any:
    global POOL
    committed.clear()
    async with (
        pg.Pool(empty_dsn) as POOL,
        await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection,
    ):
        await connection.execute("create table t (n int unique deferrable initially deferred)")
        yield connection


@pytest.mark.parametrize("run", COMMITS, ids=lambda run: run.__name__)
async def test_what_ends_without_an_exception_is_committed_and_nothing_else_is(
    empty_dsn: str, connection: pg.AsyncConnection, run: Commit
) -> None:
    number = 0
    checkpoint = 0
    random.seed(25)

    async def once() -> None:
        await run(empty_dsn, c, number)
        if number not in committed:
            committed.append(number)

    async def case(how: Callable[[Any, Any], Awaitable[bool]], when: float) -> bool:
        nonlocal number, c
        number += 1
        was_too_quick = await how(when, once)
        if c.closed:
            c = await pg.AsyncConnection.connect(empty_dsn, autocommit=True)
        await c.rollback()
        return was_too_quick

    c = await pg.AsyncConnection.connect(empty_dsn, autocommit=True)
    while not await case(cancelled_at, checkpoint):
        checkpoint += 1
    for _ in range(60):
        await case(cancelled_within, random.uniform(0, 0.003))
    found = await (await connection.execute("select n from t order by n")).fetchall()
    assert [n for (n,) in found] == committed
    assert 0 < len(committed) < number
    await c.close()


@pytest.mark.parametrize("in_pipeline", [False, True])
async def test_a_commit_that_is_not_answered_is_told_to_be_unknown(
    empty_dsn: str,
    connection: pg.AsyncConnection,
    monkeypatch: pytest.MonkeyPatch,
    in_pipeline: bool,
) -> None:
    for module in ("_connection", "_pipeline"):
        monkeypatch.setattr(f"m25.pg.{module}.CLEAN_UP", 0.3)
    expect_commit = AsyncPipeline.expect_commit

    def hold_and_expect_commit(self: AsyncPipeline) -> None:
        proxy.hold("down")
        is_held.set()
        expect_commit(self)

    monkeypatch.setattr(AsyncPipeline, "expect_commit", hold_and_expect_commit)
    for how in ("silent", "lost"):
        async with proxied(empty_dsn) as proxy:
            c = await pg.AsyncConnection.connect(proxy.dsn, autocommit=True)
            is_held = trio.Event()
            with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
                with pytest.raises(pg.OutcomeUnknown) as caught:
                    await commit_without_an_answer(c, proxy, is_held, how, scope, in_pipeline)
                assert isinstance(caught.value, psycopg.OperationalError)
                assert c.closed
                if how == "silent":
                    await trio.lowlevel.checkpoint()
            assert scope.cancelled_caught is (how == "silent")


async def commit_without_an_answer(
    c: pg.AsyncConnection,
    proxy: Proxy,
    is_held: trio.Event,
    how: str,
    scope: trio.CancelScope,
    in_pipeline: bool,
) -> None:
    async def interrupt() -> None:
        with trio.CancelScope(shield=True):
            await is_held.wait()
            # The commit is sent, and waited for.
            await trio.testing.wait_all_tasks_blocked(0.05)
            if how == "silent":
                scope.cancel()
            else:
                await proxy.cut()

    async def write() -> None:
        async with c.transaction():
            await c.execute(INSERT, [1])
            with trio.CancelScope(shield=True):
                await c.execute("select 1")
            if not in_pipeline:
                proxy.hold("down")
                is_held.set()

    async with Background() as nursery:
        nursery.start_soon(interrupt)
        if in_pipeline:
            async with c.pipeline():
                await write()
        else:
            await write()


async def swallow_an_error(c: pg.AsyncConnection) -> None:
    await c.execute(INSERT, [1])
    with suppress(psycopg.errors.DivisionByZero):
        # In a pipeline the error is there with the first answer.
        await (await c.execute("select 1 / 0")).fetchall()


@pytest.mark.parametrize("how", ["transaction", "pipeline", "pool"])
async def test_a_transaction_whose_error_was_swallowed_does_not_end_as_if_it_had_committed(
    connection: pg.AsyncConnection, how: str
) -> None:
    with pytest.raises(psycopg.errors.InFailedSqlTransaction, match="not committed"):
        match how:
            case "transaction":
                async with connection.transaction() as block:
                    await swallow_an_error(connection)
            case "pipeline":
                async with connection.pipeline() as pipeline, connection.transaction():
                    await swallow_an_error(connection)
                    with suppress(psycopg.errors.PipelineAborted):
                        await pipeline.sync()
            case _:
                async with POOL.connection() as pooled:
                    await swallow_an_error(pooled)
    if how == "transaction":
        assert block.status is block.Status.ROLLED_BACK_WITH_ERROR
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert await (await connection.execute("select n from t")).fetchall() == []


async def test_an_error_inside_a_savepoint_may_be_swallowed(
    connection: pg.AsyncConnection,
) -> None:
    async with connection.transaction():
        await connection.execute(INSERT, [1])
        with suppress(psycopg.errors.DivisionByZero):
            async with connection.transaction():
                await connection.execute("select 1 / 0")
    assert await (await connection.execute("select n from t")).fetchall() == [(1,)]


async def test_a_transaction_whose_connection_was_lost_does_not_end_as_if_it_had_committed(
    connection: pg.AsyncConnection,
) -> None:
    with pytest.raises(psycopg.OperationalError, match="not committed"):
        async with connection.transaction():
            await connection.execute(INSERT, [1])
            with suppress(psycopg.OperationalError):
                await connection.execute("select pg_terminate_backend(pg_backend_pid())")


async def test_an_error_that_answers_a_commit_is_raised_though_the_task_is_cancelled(
    empty_dsn: str, connection: pg.AsyncConnection
) -> None:
    await connection.execute(INSERT, [1])
    await connection.execute(HELD_UP_COMMITS)
    scope = trio.CancelScope()

    async def cancel() -> None:
        await eventually(lambda: rows(empty_dsn, WAITS))
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        await other.execute("select pg_advisory_unlock(1)")

    async with (
        await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as other,
        trio.open_nursery() as nursery,
    ):
        await other.execute("select pg_advisory_lock(1)")
        nursery.start_soon(cancel)
        with scope:
            with pytest.raises(psycopg.errors.UniqueViolation):
                async with connection.transaction():
                    await connection.execute(INSERT, [1])
            assert scope.cancel_called
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught


ENDED = last_words("57P01", "terminating connection due to administrator command")
INSERTED = b"C\0\0\0\x0fINSERT 0 1\0"
PREPARED = Prepared(b"insert", b"insert into t values ($1::int)", ("n",))
POOLER = last_words("08P01", "server conn crashed?")


async def test_a_commit_that_was_answered_is_done_though_its_session_ends(empty_dsn: str) -> None:
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as other:
        await other.execute("create table t (n int)")
        async with Background() as nursery:
            dsn = await answering_commits(empty_dsn, nursery, COMMITTED + ENDED)
            async with await pg.AsyncConnection.connect(dsn) as connection:
                await connection.execute(INSERT, [1])
                await connection.commit()
                with pytest.raises(psycopg.OperationalError):
                    await connection.execute("select 1")
            async with pg.Pool(dsn) as pool, pool.connection() as connection:
                await connection.execute(INSERT, [2])
        cursor = await other.execute("select n from t order by n")
        assert await cursor.fetchall() == [(1,), (2,)]


@pytest.mark.parametrize("way", ["commit", "prepared"])
async def test_a_pooler_that_has_lost_its_server_does_not_know_the_outcome(
    empty_dsn: str, way: str
) -> None:
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as other:
        await other.execute("create table t (n int)")
        async with Background() as nursery:
            answered = COMMITTED if way == "commit" else INSERTED
            dsn = await answering_commits(empty_dsn, nursery, POOLER, answered)
            async with await pg.AsyncConnection.connect(dsn) as connection:
                with pytest.raises(pg.OutcomeUnknown):
                    if way == "commit":
                        await connection.execute(INSERT, [1])
                        await connection.commit()
                    else:
                        await connection.set_autocommit(True)
                        await PREPARED.run(connection, {"n": "1"}, is_awaited=True)
        cursor = await other.execute("select n from t")
        assert await cursor.fetchall() == [(1,)]


async def test_a_commit_that_a_pooler_comments_on_has_the_servers_error(empty_dsn: str) -> None:
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as other:
        await other.execute("create table t (n int)")
    async with Background() as nursery:
        dsn = await answering_commits(empty_dsn, nursery, ENDED + POOLER)
        async with await pg.AsyncConnection.connect(dsn) as connection:
            await connection.execute(INSERT, [1])
            with pytest.raises(psycopg.errors.AdminShutdown):
                await connection.commit()
