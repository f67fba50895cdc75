"""A server for the length of a benchmark, with nothing traded for speed."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import psycopg
import trio

from m25 import embedded, migrations, pg

#: Memory is the only thing that is set: the defaults are those of a machine of the nineties.
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "max_connections": "200"}


@contextmanager
def server(settings: Mapping[str, str] = SETTINGS) -> Generator[str]:
    """A migrated database: that of `M25_BENCH_DSN`, or an embedded one with these settings."""
    if given := os.environ.get("M25_BENCH_DSN"):
        migrate(given)
        yield given
        return
    with embedded.postgres_sync(settings=settings) as dsn:
        migrate(dsn)
        yield dsn


def migrate(dsn: str) -> None:
    """Bring a database's schema up to date."""
    trio.run(_migrate, dsn)


async def _migrate(dsn: str) -> None:
    async with await pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await migrations.apply(connection, "m25")


def fill(dsn: str, queue_name: str, jobs: int) -> None:
    """Empty the job table, and put so many pending jobs into it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("truncate m25.job")
        connection.execute(
            "insert into m25.job (id, queue_name, input, timeout, attempt, max_attempts)"
            " select gen_random_uuid(), %s, jsonb_build_object('to', 'ada@home', 'number', i),"
            " interval '5 minutes', 1, 1 from generate_series(1, %s) as i",
            [queue_name, jobs],
        )
        connection.execute("vacuum analyze m25.job")
        connection.execute("checkpoint")


def count(dsn: str, status: str) -> int:
    """How many jobs are of this status."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select count(*) from m25.job where status = %s", [status]
        ).fetchone()
        assert row is not None
        found: int = row[0]
        return found
