"""Databases: made, adopted, brought up to date, refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import trio
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

import m25
from m25 import migrations
from support.databases import (
    AWKWARD_NAME,
    AWKWARD_NAMES,
    WAITING,
    apply,
    catalog,
    connect,
    feed_psql,
    has_schema,
    release,
    rows_of,
    run_sql,
    run_two_jobs,
)
from support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]

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


@pytest.mark.parametrize(
    "schema",
    [
        *AWKWARD_NAMES[:3],
        *(pytest.param(name, marks=pytest.mark.slow) for name in (*AWKWARD_NAMES[3:], "x" * 63)),
    ],
)
async def test_the_schema_may_have_any_name(empty_dsn: str, schema: str) -> None:
    assert await apply(empty_dsn, schema)
    assert await apply(empty_dsn, schema) == []
    assert not has_schema(empty_dsn, "m25")
    await run_two_jobs(empty_dsn, schema)


async def test_two_schemas_in_one_database_are_the_same_and_apart(empty_dsn: str) -> None:
    await apply(empty_dsn, "one")
    await apply(empty_dsn, "two")
    await run_two_jobs(empty_dsn, "one")
    assert len(rows_of(empty_dsn, "one.job")) == 2
    assert rows_of(empty_dsn, "two.job") == []


@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_isolation = 'repeatable read'",
        "search_path = ''",
        "statement_timeout = '1min'",
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
    await run_two_jobs(empty_dsn, "m25")


async def test_a_database_that_is_read_only_by_default_is_migrated(empty_dsn: str) -> None:
    name = sql.Identifier(str(conninfo_to_dict(empty_dsn)["dbname"])).as_string(None)
    run_sql(empty_dsn, f"alter database {name} set default_transaction_read_only = on")
    assert await apply(empty_dsn)


# Waiting


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
        with trio.fail_after(PATIENCE):
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


# Printed


@pytest.mark.parametrize("schema", ["m25", AWKWARD_NAME])
async def test_the_printed_sql_makes_what_apply_makes(
    empty_dsn: str, dsn: str, schema: str
) -> None:
    printed = migrations.script(migrations.all_migrations(), schema)
    async with await connect(empty_dsn) as connection:
        await connection.execute(printed.encode())
        assert await migrations.pending(connection, schema) == ()
    if schema == "m25":
        assert catalog(empty_dsn) == catalog(dsn)
    await run_two_jobs(empty_dsn, schema)


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
    await run_two_jobs(empty_dsn, "m25")


# The files


def test_every_migration_has_its_number_and_its_version_in_order() -> None:
    steps = migrations.all_migrations()
    numbers = [step.number for step in steps]
    assert numbers == sorted(set(numbers))
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
