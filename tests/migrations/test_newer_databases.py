"""Databases that a newer m25 has migrated: worked with where its migration says so, or refused."""

from __future__ import annotations

import psycopg
import pytest

import m25
from m25 import migrations
from support.databases import (
    ADDITION,
    ORIGINAL_VERSION,
    apply,
    catalog,
    feed_psql,
    release,
    rows_of,
    run_sql,
    run_two_jobs,
    upgrade,
)


async def test_a_database_newer_than_this_m25_is_worked_with_where_its_migration_says_so(
    dsn: str,
) -> None:
    await upgrade(dsn, ADDITION, works_from=migrations.latest_version())
    tables, versions = catalog(dsn), rows_of(dsn, "m25.version")
    assert await apply(dsn) == []
    await run_two_jobs(dsn, "m25")
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
        await run_two_jobs(dsn, "m25")
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
    await run_two_jobs(dsn, "m25")


async def test_a_version_that_the_original_records_is_its_own_alone(dsn: str) -> None:
    run_sql(dsn, ORIGINAL_VERSION.replace("2025-08-25 21:04:34", "2025-09-01 00:00"))
    await run_two_jobs(dsn, "m25")
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
