"""What the doctor says of databases that were made sick, and that it says nothing of others."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
import pytest
import trio
from psycopg import sql
from psycopg.conninfo import make_conninfo

from m25 import migrations, pg
from m25._doctor import looks
from m25._doctor.check import Finding
from m25._doctor.checks import CHECKS
from m25._doctor.examination import Examination, examine
from m25._doctor.made import made_by_migrations
from support.servers import CITUS, answering
from support.waiting import PATIENCE, eventually

JOB = "insert into m25.job (queue_name, input, timeout, attempt"
LIVE = f"{JOB}, reserved_at, started_at, claim_token, lease_expires_at, deadline"
OF_DATABASE = "do $$ begin execute format('alter database %I {}', current_database()); end $$"


class Sick(NamedTuple):
    """What makes a database sick, and what is said of that."""

    check: str
    statements: str
    #: Parts of what is wrong, and of what to do.
    says: Sequence[str]


SICK = [
    Sick(
        "autovacuum",
        "alter table m25.job set (autovacuum_enabled = off)",
        ["off for table m25.job", "alter table m25.job reset (autovacuum_enabled)"],
    ),
    Sick(
        "kept_for_ever",
        "update pg_class set reltuples = 2e7 where oid = 'm25.job'::regclass",
        ["20,000,000 rows", "keep="],
    ),
    Sick(
        "index",
        "drop index m25.job_claim_idx",
        ["job_claim_idx is not there", 'create index job_claim_idx on "m25".job (queue_name'],
    ),
    Sick(
        "index",
        "update pg_index set indisvalid = false where indexrelid = 'm25.job_live_idx'::regclass",
        ["job_live_idx is not valid", "reindex index concurrently m25.job_live_idx"],
    ),
    Sick(
        "trigger",
        "alter table m25.job disable trigger forget_claim",
        ["forget_claim of m25.job is switched off", "enable trigger forget_claim"],
    ),
    Sick("unlogged", "alter table m25.held_key set unlogged", ["m25.held_key", "set logged"]),
    Sick(
        "replica_identity",
        "create publication everything for table m25.job; "
        "alter table m25.job replica identity nothing",
        ["m25.job is published (everything)", "replica identity default"],
    ),
    Sick(
        "paused",
        "insert into m25.queue (name, default_job_timeout, paused_at, pause_reason)"
        " values ('slow', '1 min', now() - interval '3 hours', 'a flood'); "
        f"{JOB}, scheduled_at) values ('slow', '1', '1 min', 1, now() - interval '2 hours')",
        ["queue 'slow' has been paused for 3 h (a flood)", "due for 2 h", "`m25 resume slow`"],
    ),
    Sick(
        "stopped_key",
        "insert into m25.queue (name, default_job_timeout, order_path)"
        " values ('steps', '1 min', '{customer}'), ('unordered', '1 min', null);"
        " insert into m25.stopped_key values"
        " (gen_random_uuid(), 'unordered', 'ada', 1, now() - interval '3 hours'),"
        " ('0198a2b4-0000-7000-8000-000000000001', 'steps', 'ada', 1, now() - interval '2 hours'),"
        " (gen_random_uuid(), 'steps', 'bob', 2, now() - interval '1 hour')",
        [
            "keys of queue 'steps' stand still, 2 in number",
            "for 2 h",
            "`m25 retry 0198a2b4-0000-7000",
        ],
    ),
    Sick(
        "unserved",
        f"{JOB}, scheduled_at) values ('mails', '1', '1 min', 1, now() - interval '5 days')",
        ["nobody serves queue 'mails'", "due for 5 d", "start a worker"],
    ),
    Sick(
        "stalled",
        "insert into m25.queue (name, default_job_timeout) values ('stalled', '1 minute');"
        " insert into m25.worker values"
        " (gen_random_uuid(), now(), now(), null, '1', '{stalled}', '{}', '{}');"
        f"{JOB}, scheduled_at, setup_failures) values"
        " ('stalled', '1', '1 min', 1, now() - interval '1 hour', 31)",
        [
            "no job of queue 'stalled' runs, though live workers name it (1)",
            "due for 60 min, and waits for its queue's setup, which has failed for it 31 times",
        ],
    ),
    Sick(
        "stuck",
        f"{LIVE}) values ('left', '1', '1 h', 1, now(), now(), gen_random_uuid(),"
        " now() - interval '10 minutes', now() + interval '1 hour')",
        ["1 jobs of queue 'left' are left", "for 10 min", "start a worker of the queue"],
    ),
    Sick(
        "past_deadline",
        f"{LIVE}) values ('late', '1', '1 h', 1, now(), now(), gen_random_uuid(),"
        " now() + interval '1 minute', now() - interval '10 minutes')",
        ["of queue 'late' goes on 10 min after its deadline"],
    ),
    Sick(
        "cancel_ignored",
        f"{LIVE}, cancel_requested_at) values ('deaf', '1', '1 h', 1, now(), now(),"
        " gen_random_uuid(), now() + interval '1 minute', now() + interval '1 hour',"
        " now() - interval '1 hour')",
        ["of queue 'deaf' still runs, 60 min after its cancel was asked for"],
    ),
    Sick(
        "originals",
        "insert into m25.queue (name, default_job_timeout, paused_at)"
        " values ('shared', '1 min', now()); "
        f"{JOB}, reserved_at, started_at, deadline)"
        " values ('shared', '1', '1 h', 1, now(), now(), now() + interval '1 hour')",
        ["original m25 run jobs of queue 'shared', and know nothing of its pause"],
    ),
    Sick(
        "silent_worker",
        # Its session is one that is always there.
        "insert into m25.worker select gen_random_uuid(), now(), now() - interval '1 hour',"
        " null, '1', '{a,b}', array[pid], array[backend_start]"
        " from pg_stat_activity where backend_type = 'checkpointer'",
        ["(queues: a, b) has said nothing for 60 min", "LoopStalled"],
    ),
    Sick(
        "schedule_zone",
        "insert into m25.schedule"
        " (name, queue_name, expression, timezone, catch_up, overlap, last_tick)"
        " values ('tides', 'q', '0 1 * * *', 'Atlantis/Poseidonis', 'last', 'allow', now())",
        ["schedule 'tides'", "'Atlantis/Poseidonis'", "tzdata"],
    ),
    Sick(
        "schedule_overdue",
        "insert into m25.schedule"
        " (name, queue_name, every, timezone, catch_up, overlap, last_tick)"
        " values ('hourly', 'q', '1 h', 'UTC', 'last', 'allow', now() - interval '1 day')",
        [
            "schedule 'hourly' should have ticked at",
            "h ago, and did not",
            "`m25 schedules --pause hourly`",
        ],
    ),
    Sick(
        "timeouts",
        OF_DATABASE.format("set statement_timeout = ''9s''"),
        ["statement_timeout of this role or database is 9000 ms", "10 s or more"],
    ),
    Sick(
        "synchronous_commit",
        OF_DATABASE.format("set synchronous_commit = off"),
        ["synchronous_commit is off for this role or database"],
    ),
    Sick("connections", OF_DATABASE.format("connection limit 1"), ["allows 1", "pool"]),
    Sick(
        "distributed",
        CITUS,
        ["Citus has distributed m25.job", "undistribute_table('m25.job')"],
    ),
    Sick(
        "read_only",
        OF_DATABASE.format("set default_transaction_read_only = on"),
        ["default_transaction_read_only is on"],
    ),
]


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notifications may be late on a machine that is busy."""
    monkeypatch.setattr(looks, "_NOTIFY_TIMEOUT", PATIENCE)


@asynccontextmanager
async def connected(dsn: str) -> AsyncGenerator[pg.AsyncConnection[Any]]:
    async with await pg.AsyncConnection.connect(
        dsn, autocommit=True, client_encoding="UTF8"
    ) as connection:
        yield connection


async def examination(dsn: str, *only: str, **options: Any) -> Examination:
    async with connected(dsn) as connection:
        return await examine(connection, only=only, **options)


async def found(dsn: str, check: str, **options: Any) -> list[Finding]:
    return list((await examination(dsn, check, **options)).findings)


async def make_sick(dsn: str, sick: Sequence[Sick]) -> None:
    async with connected(dsn) as connection:
        for each in sick:
            await connection.execute(each.statements.encode())


def told(findings: Sequence[Finding]) -> str:
    return "; ".join(f"{finding.what}: {finding.advice}" for finding in findings)


async def of_the_server(dsn: str) -> set[str]:
    """What is wrong with the tests' own server, which need not keep anything."""
    async with connected(dsn) as connection:
        cursor = await connection.execute("show fsync")
        return {"fsync"} if await cursor.fetchone() == ("off",) else set()


async def test_of_a_healthy_database_nothing_is_said(dsn: str) -> None:
    healthy = await examination(dsn)
    assert {finding.check for finding in healthy.findings} == await of_the_server(dsn)
    assert healthy.made == [check.name for check in CHECKS]
    assert healthy.half_blind is None


@pytest.mark.parametrize("sick", SICK, ids=lambda sick: sick.check)
async def test_what_is_wrong_is_said_and_what_to_do(dsn: str, sick: Sick) -> None:
    await make_sick(dsn, [sick])
    findings = await found(dsn, sick.check)
    assert len(findings) == 1
    for part in sick.says:
        assert part in told(findings)


async def test_of_all_that_is_wrong_at_once_nothing_else_is_said(dsn: str) -> None:
    await make_sick(dsn, SICK)
    findings = (await examination(dsn)).findings
    # On a database that is read only there may be no notifications.
    assert {finding.check for finding in findings} - {"notify"} == {
        *(sick.check for sick in SICK),
        *await of_the_server(dsn),
    }
    assert len([each for each in findings if each.check == "index"]) == 2


async def test_the_schema_may_have_any_name(empty_dsn: str) -> None:
    for schema in ("100%s", 'o\'clock "{schema}"'):
        async with connected(empty_dsn) as connection:
            await migrations.apply(connection, schema)
            healthy = await examine(connection, schema)
            assert {each.check for each in healthy.findings} == await of_the_server(empty_dsn)


async def test_dead_rows_that_no_vacuum_takes_away_are_counted(dsn: str) -> None:
    async with connected(dsn) as connection:
        await connection.execute(
            f"{JOB}) select 'q', '1', '1 min', 1 from generate_series(1, 20)".encode()
        )
        await connection.execute("delete from m25.job")

    async def look() -> list[Finding]:
        return await found(dsn, "dead_rows", tolerance=0)

    # The numbers come once the session has ended.
    assert "m25.job has 20 dead rows beside 0 live ones" in told(await eventually(look))


async def test_transactions_that_are_in_the_way_are_named_with_their_session(dsn: str) -> None:
    named = make_conninfo(dsn, application_name="the report")
    async with connected(named) as idle, connected(named) as busy, trio.open_nursery() as nursery:
        await idle.execute("begin; lock table m25.job in share mode")
        work = "begin; select txid_current(); select pg_sleep(600)"
        nursery.start_soon(busy.execute, work)

        async def look() -> list[Finding]:
            return await found(dsn, "old_transaction", tolerance=0)

        (old,) = await eventually(look)
        (idling,) = await found(dsn, "idle_in_transaction", tolerance=0)
        (lock,) = await found(dsn, "table_lock", tolerance=0)
        for finding, connection in [(old, busy), (idling, idle), (lock, idle)]:
            pid = connection.info.backend_pid
            assert f"(the report, pid {pid})" in finding.what
            assert f"pg_terminate_backend({pid})" in finding.advice
        assert "holds ShareLock on m25.job" in lock.what
        others = ("old_transaction", "idle_in_transaction", "table_lock")
        assert (await examination(dsn, *others)).findings == []
        nursery.cancel_scope.cancel()


async def test_a_prepared_transaction_is_named(dsn: str) -> None:
    async with connected(dsn) as connection:
        cursor = await connection.execute("show max_prepared_transactions")
        if await cursor.fetchone() == ("0",):
            pytest.skip("this server prepares none")
        await connection.execute("begin; create table t (); prepare transaction 'left over'")
        try:
            said = told(await found(dsn, "prepared_transaction", tolerance=0))
        finally:
            await connection.execute("rollback prepared 'left over'")
    assert "the prepared transaction left over" in said
    assert "`rollback prepared 'left over'`" in said


async def test_a_slot_that_nobody_reads_is_named(dsn: str) -> None:
    slot = f"m25_{uuid4().hex[:12]}"
    async with connected(dsn) as connection:
        await connection.execute(f"select pg_create_physical_replication_slot('{slot}', true)")
        try:
            said = told(await found(dsn, "replication_slot", tolerance=0))
            assert await found(dsn, "replication_slot") == []
        finally:
            await connection.execute(f"select pg_drop_replication_slot('{slot}')")
    assert f"the replication slot {slot}" in said


async def test_a_queue_of_notifications_that_fills_is_found(dsn: str) -> None:
    async with connected(dsn) as slow, connected(dsn) as other:
        await slow.execute("listen a")
        await slow.execute("begin; select 1")
        await other.execute(
            "select pg_notify('a', repeat('x', 7000) || i) from generate_series(1, 9) i"
        )
        said = told(await found(dsn, "notify_queue", tolerance=0))
    assert "the server's queue of notifications is full to" in said


async def test_the_age_of_the_oldest_row_is_told_in_time(dsn: str) -> None:
    assert await found(dsn, "wraparound") == []
    findings = await found(dsn, "wraparound", tolerance=0)
    assert "vacuum freeze" in told(findings)


async def test_a_pooler_that_swallows_notifications_is_found(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = pg.AsyncConnection.execute

    async def execute_without_listening(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        cursor = await execute(self, query, *args, **kwargs)
        await execute(self, "unlisten *")
        return cursor

    monkeypatch.setattr(pg.AsyncConnection, "execute", execute_without_listening)
    monkeypatch.setattr(looks, "_NOTIFY_TIMEOUT", 0.1)
    assert "pooler" in told(await found(dsn, "notify"))


@pytest.mark.parametrize(("off", "said"), [(3600, "60 min ahead of"), (-10_000, "3 h behind")])
async def test_a_clock_that_is_wrong_is_found(dsn: str, off: float, said: str) -> None:
    findings = await found(dsn, "clock", wall_clock=lambda: time.time() + off)
    assert f"the clock of this machine is {said} the server's" in told(findings)


async def test_a_server_that_is_no_postgresql_is_named_with_what_does_not_work_there(
    dsn: str,
) -> None:
    async with connected(dsn) as connection:
        await connection.execute(answering("CockroachDB CCL v25.1.2 (x86_64-pc-linux-gnu)"))
    (finding,) = await found(dsn, "server")
    assert "this server is CockroachDB, on which m25 does not work" in finding.what
    assert "no LISTEN and NOTIFY" in finding.what
    # What lies in it is not looked at.
    assert (await examination(dsn)).made == ["server"]


async def test_of_a_schema_that_is_not_there_or_does_not_fit_it_is_said_and_no_more(
    empty_dsn: str, dsn: str
) -> None:
    async def said(dsn: str) -> str:
        findings = (await examination(dsn, schema="m25")).findings
        assert {finding.check for finding in findings} == {"schema", *await of_the_server(dsn)}
        return told(findings)

    assert "schema 'm25' is missing: `m25 migrate --apply`" in await said(empty_dsn)
    async with connected(dsn) as connection:
        newest = "(select max(version) from m25.version)"
        await connection.execute(
            "insert into m25.version select later, now(), later"
            f" from (select {newest} + interval '1 year' as later) as newer".encode()
        )
        assert "install the m25 that migrated it" in await said(dsn)
        for _ in range(2):
            await connection.execute(f"delete from m25.version where version = {newest}".encode())
        assert "and this m25 needs" in await said(dsn)


async def test_a_database_that_cannot_hold_every_character_is_found(server: str) -> None:
    name = sql.Identifier(f"m25_test_{uuid4().hex[:12]}")
    create = "create database {} template template0 encoding 'SQL_ASCII' locale 'C'"
    async with connected(server) as connection:
        await connection.execute(sql.SQL(create).format(name))
        try:
            said = told(await found(make_conninfo(server, dbname=name._obj[0]), "encoding"))
        finally:
            await connection.execute(sql.SQL("drop database {} with (force)").format(name))
    assert "has the encoding SQL_ASCII" in said


@asynccontextmanager
async def role(dsn: str, *grants: str) -> AsyncGenerator[str]:
    """The conninfo of a role with these rights."""
    name = f"m25_{uuid4().hex[:12]}"
    async with connected(dsn) as connection:
        await connection.execute(f"create role {name} login password '{name}'".encode())
        for grant in grants:
            await connection.execute(f"grant {grant} to {name}".encode())
        try:
            yield make_conninfo(dsn, user=name, password=name)
        finally:
            await connection.execute(f"drop owned by {name}; drop role {name}".encode())


async def test_rights_that_a_worker_lacks_are_named_and_that_it_does_not_see_others(
    dsn: str,
) -> None:
    everything = "usage on schema m25", "select on all tables in schema m25"
    async with role(dsn, *everything) as reader:
        assert await found(reader, "rights") == []
        assert (await examination(reader)).half_blind is not None
    async with role(dsn, *everything, "insert, update on m25.job, m25.queue") as worker:
        said = told(await found(worker, "rights"))
        assert (
            "lacks insert, update on m25.held_key, m25.limit_holder, m25.limiter, m25.message"
            in said
        )
    async with role(dsn) as stranger:
        findings = (await examination(stranger)).findings
        assert {finding.check for finding in findings} == {"rights", *await of_the_server(dsn)}
        assert "lacks usage on schema m25" in told(findings)


async def test_policies_that_hide_jobs_are_found(dsn: str) -> None:
    async with connected(dsn) as connection:
        await connection.execute("alter table m25.job enable row level security")
    assert await found(dsn, "row_security") == []
    async with role(dsn, "usage on schema m25", "select on all tables in schema m25") as reader:
        assert "policies may hide rows of m25.job" in told(await found(reader, "row_security"))


async def test_a_queue_whose_rate_lets_nothing_begin_does_not_stand_still(dsn: str) -> None:
    async with connected(dsn) as connection:
        for statement in (
            (
                "insert into m25.limiter (name, rate_interval, rate_burst, next_start_at)"
                " values ('slow', 3600, 1, now() + interval '1 hour')"
            ),
            (
                "insert into m25.queue (name, default_job_timeout, limiter)"
                " values ('slow', '1 minute', 'slow')"
            ),
            (
                "insert into m25.worker values"
                " (gen_random_uuid(), now(), now(), null, '1', '{slow}', '{}', '{}')"
            ),
            f"{JOB}, scheduled_at) values ('slow', '1', '1 min', 1, now() - interval '1 hour')",
        ):
            await connection.execute(statement.encode())
        assert await found(dsn, "stalled") == []
        await connection.execute(b"update m25.limiter set next_start_at = now()")
        assert "waits for a slot: 1 worker serves the queue" in told(await found(dsn, "stalled"))


async def test_what_cannot_be_looked_at_is_said_and_the_rest_is_looked_at(dsn: str) -> None:
    async with connected(dsn) as connection:
        await connection.execute("drop table m25.worker")
    healthy = await examination(dsn)
    refused = {finding.check for finding in healthy.findings} - await of_the_server(dsn)
    assert refused == {"unserved", "stalled", "silent_worker"}
    assert 'could not be looked at: relation "m25.worker" does not exist' in told(healthy.findings)
    assert len(healthy.made) == len(CHECKS)


async def test_a_connection_that_is_lost_is_no_finding(dsn: str) -> None:
    async with connected(dsn) as connection, connected(dsn) as other:
        await other.execute(f"select pg_terminate_backend({connection.info.backend_pid})".encode())
        with pytest.raises(psycopg.OperationalError):
            await examine(connection)


async def test_it_knows_what_the_migrations_make(dsn: str) -> None:
    indexes = "select indexname from pg_indexes where schemaname = 'm25'"
    of_constraints = "select conname from pg_constraint where connamespace = 'm25'::regnamespace"
    triggers = "select tgname from pg_trigger where not tgisinternal"
    async with connected(dsn) as connection:
        for kind, statement in [
            ("index", f"{indexes} except {of_constraints}"),
            ("trigger", triggers),
        ]:
            cursor = await connection.execute(statement.encode())
            there = {name for (name,) in await cursor.fetchall()}
            made = made_by_migrations(kind, "m25")
            assert {each.name for each in made} == there
            # What is advised can be run.
            for each in made:
                await connection.execute(f"drop {kind} {_place(kind, each)}".encode())
                await connection.execute(each.definition.encode())
    assert await found(dsn, "index") == await found(dsn, "trigger") == []


def _place(kind: str, made: Any) -> str:
    return f"m25.{made.name}" if kind == "index" else f"{made.name} on m25.{made.relation}"
