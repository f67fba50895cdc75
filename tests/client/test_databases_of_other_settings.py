"""Databases whose encodings, settings and names are not those of most."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

import psycopg
import pytest
import trio
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import m25
from m25 import migrations
from m25.cli import main
from support.waiting import ended, rows


@m25.queue("echo")
async def echo(text: str | None) -> str | None:
    if text == "raise":
        raise RuntimeError("→ é")
    return text


async def run(dsn: str, text: str | None, schema: str = "m25") -> str | None:
    async with m25.open(dsn, schema=schema) as m:
        m.add_queue(echo)
        await m.start()
        record = await ended(m, echo, (await m.enqueue(echo, text)).id)
        assert record.status is m25.JobStatus.SUCCEEDED, record
        return record.output


def alter(dsn: str, setting: str) -> None:
    name = conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(
            sql.SQL("alter database {} set {}").format(sql.Identifier(str(name)), sql.SQL(setting))
        )


async def test_a_database_whose_clients_are_to_use_latin_1_takes_any_text(dsn: str) -> None:
    alter(dsn, "client_encoding = 'LATIN1'")
    assert await run(dsn, "→ é 🐘") == "→ é 🐘"


async def test_outputs_and_crashes_are_kept_where_arrays_have_no_nulls(dsn: str) -> None:
    alter(dsn, "array_nulls = off")
    assert await run(dsn, "→") == "→"
    assert await run(dsn, None) is None
    async with m25.open(dsn) as m:
        m.add_queue(echo)
        await m.start()
        record = await ended(m, echo, (await m.enqueue(echo, m25.Job("raise"))).id)
    assert record.crash_message == "→ é"


@pytest.fixture
def encoded(server: str) -> Callable[[str], str]:
    def create(encoding: str) -> str:
        name = f"m25_test_{uuid4().hex[:12]}"
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(
                sql.SQL(
                    "create database {} encoding {} template template0 lc_collate 'C' lc_ctype 'C'"
                ).format(sql.Identifier(name), sql.Literal(encoding))
            )
        return make_conninfo(server, dbname=name)

    return create


def test_a_database_without_an_encoding_is_migrated_and_works(
    encoded: Callable[[str], str],
) -> None:
    dsn = encoded("SQL_ASCII")
    assert main(["migrate", "--apply", "--silent", "--addr", dsn]) == 0
    assert trio.run(run, dsn, "→ é 🐘") == "→ é 🐘"


def test_a_database_of_latin_1_takes_what_that_has_and_refuses_the_rest(
    encoded: Callable[[str], str],
) -> None:
    dsn = encoded("LATIN1")
    assert main(["migrate", "--apply", "--silent", "--addr", dsn]) == 0
    assert trio.run(run, dsn, "é") == "é"
    with pytest.raises(m25.EnqueueError, match="has no equivalent in encoding"):
        trio.run(run, dsn, "→")
    assert trio.run(run, dsn, "è") == "è"


@pytest.mark.parametrize("schema", ['a%(x)s %%(x)s a%b %s a{b} q"q', "ü" * 31])
async def test_a_schema_of_any_name_works(empty_dsn: str, schema: str) -> None:
    async with await m25.pg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        await migrations.apply(connection, schema)
        async with m25.open(empty_dsn, schema=schema) as m:
            await m.enqueue(echo, "in a transaction", connection=connection)
    assert await run(empty_dsn, "x", schema) == "x"


async def test_a_name_that_postgresql_would_cut_off_is_refused(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="at most 63 bytes long"):
        async with m25.open(dsn, schema="ü" * 32):
            pass
    with pytest.raises(SystemExit):
        main(["migrate", "--schema", "ü" * 32, "--addr", dsn])
    assert "at most 63 bytes long" in capsys.readouterr().err


async def test_a_time_of_any_offset_is_one_that_postgresql_takes(dsn: str) -> None:
    at = datetime(2031, 5, 1, 12, tzinfo=timezone(timedelta(hours=23, minutes=59)))
    async with m25.open(dsn) as m:
        record = await m.enqueue(echo, m25.Job("x", scheduled_at=at))
        (id,) = (await m.enqueue_many(echo, [m25.Job("x", scheduled_at=at)])).ids
        for found in (record, await m.get_job(echo, record.id), await m.get_job(echo, id)):
            assert found.scheduled_at == at.astimezone(UTC)


async def test_the_name_of_what_was_raised_is_bounded(dsn: str) -> None:
    @m25.queue("huge")
    async def huge(_: int) -> None:
        raise type("E" * 1_000_000, (Exception,), {})

    async with m25.open(dsn) as m:
        m.add_queue(huge)
        await m.start()
        record = await ended(m, huge, (await m.enqueue(huge, 1)).id)
    (row,) = await rows(dsn, "select length(crash_type) as n from m25.job")
    assert row["n"] == 1_000
    assert record.crash_traceback is not None
