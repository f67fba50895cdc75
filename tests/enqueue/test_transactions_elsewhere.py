"""What a caller's transaction, and whatever is between us and the server, have to know."""

from __future__ import annotations

import psycopg
import pytest
import trio

import m25
from m25 import pg
from m25._store.statements import SESSION, load_statements
from support.waiting import eventually, rows


@m25.queue("orders")
async def orders(number: int) -> int:
    return number


@pytest.mark.parametrize("level", list(psycopg.IsolationLevel)[2:])
async def test_under_a_stricter_isolation_the_whole_transaction_is_to_be_repeated(
    dsn: str, level: psycopg.IsolationLevel
) -> None:
    job = m25.Job(1).with_unique_key("k")
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        await connection.set_isolation_level(level)
        await connection.execute("select 1 from m25.job")
        await m.enqueue(orders, job)
        with pytest.raises(m25.errors.EnqueueQueryError) as caught:
            await m.enqueue(orders, job, connection=connection)
        assert isinstance(caught.value.__cause__, psycopg.errors.SerializationFailure)
        assert any("repeat all of it" in note for note in caught.value.__notes__)
        await connection.rollback()
        with pytest.raises(m25.UniqueKeyConflict):
            await m.enqueue(orders, job, connection=connection)


async def test_every_statement_begins_with_a_comment_that_names_it(dsn: str) -> None:
    for name, text in load_statements("m25").items():
        assert text.startswith(f"/* m25.{name} */ ".encode())
    assert SESSION.startswith(b"/* m25.session */ ")
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("lock table m25.job")

        async def enqueue() -> None:
            await m.enqueue(orders, 1)

        async def seen() -> bool:
            found = await rows(
                dsn, "select query from pg_stat_activity where wait_event = 'relation'"
            )
            return any(row["query"].startswith("/* m25.enqueue_plain */") for row in found)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(enqueue)
            await eventually(seen)
            await connection.rollback()
