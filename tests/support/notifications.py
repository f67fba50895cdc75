"""A server whose queue of notifications is soon full."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import psycopg
import pytest
import trio

from m25 import embedded, migrations, pg


@contextmanager
def server_with_few_notifications() -> Generator[str]:
    """The conninfo of a server that keeps few notifications, and knows two-phase commit."""
    settings = {
        "fsync": "off",
        "max_notify_queue_pages": "64",
        "max_prepared_transactions": "5",
    }
    with embedded.postgres_sync(settings=settings) as dsn:

        async def migrate() -> None:
            async with await pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
                await migrations.apply(connection, "m25")

        trio.run(migrate)
        yield dsn


@asynccontextmanager
async def full_queue(dsn: str) -> AsyncGenerator[None]:
    """While it lasts nobody can notify: the queue is full, and a listener is stuck."""
    async with (
        await pg.AsyncConnection.connect(dsn, autocommit=True) as stuck,
        await pg.AsyncConnection.connect(dsn, autocommit=True) as noisy,
    ):
        await stuck.execute("listen noise")
        await stuck.execute("begin")
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="NOTIFY queue"):
            while True:
                await noisy.execute(
                    "select pg_notify('noise', n || repeat('x', 7900))"
                    " from generate_series(1, 50) n"
                )
        yield
        await stuck.execute("rollback")
