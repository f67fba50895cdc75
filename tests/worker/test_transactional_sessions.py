"""The sessions of transactional handlers: each handler's is as new, m25's writes its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg.types.string import ByteaLoader

import m25
from m25 import pg
from m25._store.failures import StatementFailed
from m25._store.protocol import ClaimedJob
from m25._store.transactions import open_transaction
from support.told import lines
from support.waiting import PATIENCE, ended, eventually, rows

#: Their leases are renewed often, and long enough for a machine that stands still.
TIMES: dict[str, Any] = {
    "poll_interval": 0.2,
    "heartbeat_interval": 0.25,
    "allowed_heartbeat_misses": 200,
}
OPTIONS: dict[str, Any] = {"transactional": True, **TIMES}

#: What a session may keep of a job, and how to see whether it does.
STATE = (
    "select current_setting('search_path'), current_setting('statement_timeout'),"
    " coalesce(current_setting('app.tenant', true), ''), current_user::text,"
    " coalesce(to_regclass('pg_temp.scratch')::text, ''),"
    " (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),"
    " (select count(*) from pg_listening_channels()), (select count(*) from pg_cursors)"
)
AS_NEW = ['"$user", public', "0", "", "postgres", "", 0, 0, 0]


class Undone(Exception): ...


async def spoil(connection: pg.AsyncConnection[Any]) -> None:
    """Leave all behind that a session can keep."""
    await connection.execute("create temp table scratch (x int)")
    await connection.execute("declare kept cursor with hold for select 1")
    await connection.execute("select pg_advisory_lock(7), set_config('app.tenant', 'a', false)")
    await connection.execute("listen somewhere")
    await connection.execute("set statement_timeout = '10min'")
    await connection.execute("set enable_indexscan = off")
    # Who has no right to anything of m25's, and would take another's functions for PostgreSQL's.
    await connection.execute("set search_path to public, pg_catalog")
    await connection.execute("set role nobody")
    connection.row_factory = dict_row
    connection.adapters.register_loader("text", ByteaLoader)
    connection.adapters.register_loader("bool", ByteaLoader)


@m25.queue("sessions", errors=(Undone,), **OPTIONS)
async def sessions(how: str, *, connection: pg.AsyncConnection[Any]) -> list[str | int]:
    if how != "look":
        await spoil(connection)
        if how == "raise":
            raise Undone
        return []
    cursor = await connection.execute(STATE)
    return list(await cursor.fetchone() or ())


@asynccontextmanager
async def running(
    conn: str | pg.Pool[Any], *queues: m25.Queue[Any, Any, Any], **options: Any
) -> AsyncGenerator[m25.M25]:
    async with m25.open(conn, transactional_connections=1, **options) as m:
        for queue in queues:
            m.add_queue(queue)
        await m.start()
        with trio.fail_after(PATIENCE):
            yield m


@pytest.fixture
async def database(dsn: str) -> str:
    await rows(
        dsn,
        "do $$ begin create role nobody; exception when duplicate_object or unique_violation"
        " then null; end $$",
    )
    await rows(dsn, "create table note (text text)")
    return dsn


async def test_nothing_of_a_jobs_session_is_left_to_the_next(database: str) -> None:
    async with running(database, sessions, steps) as m:
        assert await m.call(sessions, "look") == AS_NEW
        for how in ("return", "raise"):
            record = await ended(m, sessions, (await m.enqueue(sessions, how)).id)
            assert (record.error_data is not None) == (how == "raise")
            assert await m.call(sessions, "look") == AS_NEW
        # Nor to the function of a step.
        assert await m.call(steps, 0) == AS_NEW


@m25.queue("steps", **TIMES)
async def steps(_: int) -> list[str | int]:
    job = m25.current_job()
    await job.transact("spoil", spoil)
    return await job.transact("look", look)


async def look(connection: pg.AsyncConnection[Any]) -> list[str | int]:
    return list(await (await connection.execute(STATE)).fetchone() or ())


async def test_a_handler_works_under_the_settings_of_its_database(database: str) -> None:
    name = conninfo_to_dict(database)["dbname"]
    await rows(database, f'alter database "{name}" set search_path = public, pg_catalog')
    await rows(database, f'alter database "{name}" set jit = on')
    await rows(database, "create table checked (x int)")
    await rows(
        database,
        """create function note_settings() returns trigger language plpgsql as $$ begin
        insert into note values (concat_ws(' ', current_setting('search_path'),
            current_setting('enable_nestloop'), current_setting('jit')));
        return null; end $$""",
    )
    await rows(
        database,
        "create constraint trigger t after insert on checked deferrable initially deferred"
        " for each row execute function note_settings()",
    )

    @m25.queue("settings", **OPTIONS)
    async def settings(_: int, *, connection: pg.AsyncConnection[Any]) -> None:
        await connection.execute("insert into checked values (1)")
        cursor = await connection.execute(
            "insert into note select concat_ws(' ', current_setting('search_path'),"
            " current_setting('enable_nestloop'), current_setting('jit'))"
        )
        assert cursor.rowcount == 1

    async with running(database, settings) as m:
        await m.call(settings, 1)
    # In the handler, and in what it has deferred.
    notes = [row["text"] for row in await rows(database, "select text from note")]
    assert notes == ["public, pg_catalog on on"] * 2


async def test_a_pools_own_hook_is_called_again_for_each_job(database: str) -> None:
    async def configure(connection: pg.AsyncConnection[Any]) -> None:
        await connection.execute("select set_config('app.tenant', 'everybody', false)")
        await connection.commit()

    async with (
        pg.Pool(database, configure=configure) as pool,
        running(pool, sessions) as m,
    ):
        await m.call(sessions, "return")
        assert await m.call(sessions, "look") == [*AS_NEW[:2], "everybody", *AS_NEW[3:]]


async def test_a_connection_that_is_kept_does_not_reach_the_next_job(database: str) -> None:
    kept: list[Any] = []

    @m25.queue("keeping", **OPTIONS)
    async def keeping(number: int, *, connection: pg.AsyncConnection[Any]) -> None:
        if number == 1:
            kept[:] = [connection, connection.cursor()]
            await kept[1].execute("select 1")
            return
        assert kept[0].closed
        for each in kept:
            with pytest.raises(psycopg.OperationalError, match=r"closed|has ended"):
                await each.execute("insert into note values ('late')")

    async with running(database, keeping) as m:
        await m.call(keeping, 1)
        await m.call(keeping, 2)
    assert await rows(database, "select * from note") == []


@pytest.mark.parametrize("by_hand", ["commit and chain", "rollback and chain", "commit; begin"])
async def test_a_transaction_that_is_ended_by_hand_is_found(by_hand: str, database: str) -> None:
    @m25.queue("chained", **OPTIONS)
    async def chained(_: int, *, connection: pg.AsyncConnection[Any]) -> None:
        await connection.execute("insert into note values ('before')")
        await connection.execute(by_hand.encode())
        await connection.execute("insert into note values ('after')")

    async with running(database, chained) as m:
        record = await ended(m, chained, (await m.enqueue(chained, 1)).id)
    assert record.crash_type == "m25.errors.UsageError"
    assert "was ended in the handler" in (record.crash_message or "")
    assert "after" not in [row["text"] for row in await rows(database, "select * from note")]


async def test_a_connection_that_is_left_in_use_is_told_at_once(database: str) -> None:
    left: list[Any] = []

    @m25.queue("leaving", default_job_timeout=60, **OPTIONS)
    async def leaving(how: str, *, connection: pg.AsyncConnection[Any]) -> None:
        if how == "stream":
            left.append(connection.cursor().stream("select generate_series(1, 100000)"))
            await anext(left[0])
        else:
            # What `copy` does first, and nothing that would end it.
            left.append(connection.cursor())
            await connection.wait(left[1]._start_copy_gen(b"copy note from stdin"))

    async with running(database, leaving) as m:
        for how in ("stream", "copy"):
            began = trio.current_time()
            record = await ended(m, leaving, (await m.enqueue(leaving, how)).id)
            assert trio.current_time() - began < 30
            assert record.crash_type == "m25.errors.UsageError"
            assert "is still in use" in (record.crash_message or "")
        await left[0].aclose()


async def test_nothing_is_begun_where_the_server_takes_no_writes(database: str) -> None:
    # A former primary's session has this from when its settings were read anew.
    options = "-c default_transaction_read_only=on"
    connection = await pg.AsyncConnection.connect(database, autocommit=True, options=options)
    claim = ClaimedJob(id=str(uuid4()), token=str(uuid4()))
    calls: Any = None
    with pytest.raises(StatementFailed) as caught:
        async with open_transaction(connection, claim, calls, {}, is_direct=True):
            pytest.fail("a transaction was begun")
    assert caught.value.spoils_session
    assert connection.closed


async def ends_itself(connection: pg.AsyncConnection[Any]) -> None:
    await connection.execute("select pg_terminate_backend(pg_backend_pid())")


async def stays_idle(connection: pg.AsyncConnection[Any]) -> None:
    pid = connection.info.backend_pid
    await connection.execute("set local idle_in_transaction_session_timeout = '10ms'")

    async def is_ended() -> bool:
        return not await rows(
            dsn_of(connection), f"select 1 from pg_stat_activity where pid = {pid}"
        )

    await eventually(is_ended)
    await connection.execute("select 1")


def dsn_of(connection: pg.AsyncConnection[Any]) -> str:
    info = connection.info
    return make_conninfo(info.dsn, password=info.password)


async def test_a_session_that_is_lost_under_a_handler_costs_no_attempt(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "m25")
    runs: list[str] = []

    async def write(connection: pg.AsyncConnection[Any], who: str) -> None:
        await connection.execute("insert into note values (%s)", [who])
        runs.append(who)
        if runs.count(who) == 1:
            await ends_itself(connection)

    @m25.queue("lost", **OPTIONS)
    async def lost(who: str, *, connection: pg.AsyncConnection[Any]) -> None:
        await write(connection, who)

    @m25.queue("lost_step", **TIMES)
    async def lost_step(who: str) -> None:
        await m25.current_job().transact("write", write, who)

    async with running(database, lost, lost_step) as m:
        for queue, who in ((lost, "handler"), (lost_step, "step")):
            record = await ended(m, queue, (await m.enqueue(queue, who)).id)
            assert (record.status, record.attempt) == (m25.JobStatus.SUCCEEDED, 1)
    assert runs == ["handler", "handler", "step", "step"]
    assert [row["text"] for row in await rows(database, "select * from note")] == runs[::2]
    (released,) = lines(caplog, "JobReleased")
    assert "its connection to the database was lost" in released.getMessage()


async def test_a_handler_that_always_loses_its_session_does_not_run_for_ever(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[int] = []

    @m25.queue("always", allowed_losses=1, **OPTIONS)
    async def always(_: int, *, connection: pg.AsyncConnection[Any]) -> None:
        runs.append(m25.current_job().attempt)
        await ends_itself(connection)

    async with running(database, always) as m:
        record = await m.wait(always, (await m.enqueue(always, 1)).id)
    assert runs == [1, 1, 1, 2, 2, 2]
    assert record.failure_reason is m25.FailureReason.HEARTBEAT_TIMEOUT
    assert record.losses == 2
    assert "was lost 3 times in a row" in (record.crash_message or "")
    first, last = lines(caplog, "SessionsLost")
    assert "under the handler 3 times in a row" in first.getMessage()
    assert last.m25_next_attempt is False


async def test_a_session_that_is_ended_for_what_its_handler_does_is_counted(database: str) -> None:
    @m25.queue("idle", **OPTIONS)
    async def idle(_: int, *, connection: pg.AsyncConnection[Any]) -> None:
        await stays_idle(connection)

    async with running(database, idle) as m:
        record = await ended(m, idle, (await m.enqueue(idle, 1)).id)
    assert record.crash_type == "psycopg.errors.IdleInTransactionSessionTimeout"


@pytest.mark.parametrize("limit", ["0", "'100ms'"])
async def test_what_is_deferred_may_outlast_the_lease_and_not_its_own_limit(
    limit: str, database: str
) -> None:
    await rows(database, "create table gate (x int); create table checked (x int)")
    await rows(
        database,
        "create function pass() returns trigger language plpgsql as"
        " $$ begin lock table gate in share mode; return null; end $$",
    )
    await rows(
        database,
        "create constraint trigger t after insert on checked deferrable initially deferred"
        " for each row execute function pass()",
    )

    @m25.queue("deferring", **OPTIONS)
    async def deferring(_: int, *, connection: pg.AsyncConnection[Any]) -> None:
        await connection.execute("insert into checked values (1)")
        await connection.execute(f"set local statement_timeout = {limit}".encode())

    lease = "select lease_expires_at from m25.job"
    waiting = "select 1 from pg_locks where relation = 'gate'::regclass and not granted"
    async with running(database, deferring) as m, open_gate(database) as gate:
        id = (await m.enqueue(deferring, 1)).id
        if limit == "0":
            await eventually(lambda: found(database, waiting))
            (before,) = await rows(database, lease)
            # It is renewed for as long as that lasts.
            renewed = f"{lease} where lease_expires_at > '{before['lease_expires_at']}'"
            await eventually(lambda: found(database, f"{renewed}::timestamptz + interval '1 s'"))
            await gate.rollback()
        record = await ended(m, deferring, id)
    if limit == "0":
        assert (record.status, record.attempt) == (m25.JobStatus.SUCCEEDED, 1)
    else:
        assert record.crash_type == "psycopg.errors.QueryCanceled"


@asynccontextmanager
async def open_gate(dsn: str) -> AsyncGenerator[pg.AsyncConnection[Any]]:
    """What is deferred waits until this is rolled back."""
    async with await pg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("lock table gate in access exclusive mode")
        yield connection
        await connection.rollback()


async def found(dsn: str, query: str) -> bool:
    return bool(await rows(dsn, query))
