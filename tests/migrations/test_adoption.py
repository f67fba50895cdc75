"""Databases of the original m25: adopted with every row, or left as they were."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import m25
from m25 import migrations
from support.databases import (
    ORIGINAL,
    ORIGINAL_VERSION,
    apply,
    catalog,
    connect,
    mails,
    rows_of,
    run_sql,
    wait_for,
)

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


async def test_a_database_of_the_original_is_refused_until_it_is_migrated(empty_dsn: str) -> None:
    run_sql(empty_dsn, ORIGINAL, ORIGINAL_VERSION)
    with pytest.raises(
        m25.errors.DatabaseNotMigrated, match=r"2025-08-25 21:04.*`m25 migrate --apply`"
    ):
        async with m25.open(empty_dsn):
            pass


async def test_a_table_in_use_is_not_waited_for_and_the_message_says_so(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sql(empty_dsn, ORIGINAL, ORIGINAL_VERSION, ORIGINAL_ROWS)
    tables = catalog(empty_dsn)
    async with await connect(empty_dsn) as other, other.transaction():
        await other.execute("lock table m25.job in access share mode")
        monkeypatch.setattr(migrations, "LOCK_TIMEOUT", 0.05)
        with pytest.raises(
            m25.errors.MigrationError, match=r"in use.*0\.05 s.*nothing was changed"
        ):
            await apply(empty_dsn)
    monkeypatch.undo()
    assert catalog(empty_dsn) == tables
    assert await apply(empty_dsn)
