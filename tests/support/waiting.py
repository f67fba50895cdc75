"""Waiting for what is to happen, as long as it takes and no longer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
import trio

import m25

T = TypeVar("T")

#: In seconds; nothing that is waited for takes nearly as long, also where the machine stands still
#: for a while. Less than a poll interval of a minute: what is found sooner was told of.
PATIENCE = 45.0


async def eventually(
    look: Callable[[], Awaitable[T]], patience: float = PATIENCE, *, every: float = 0.01
) -> T:
    """Look again and again until there is something true to see, and return it.

    Where a look costs much, look more seldom: `every` so many seconds.
    """
    with trio.fail_after(patience):
        # What is waited for happens in other processes, too: there is no event for it.
        while not (seen := await look()):  # noqa: ASYNC110
            await trio.sleep(every)
        return seen


def wait_until(dsn: str, query: str) -> None:
    """Wait, without Trio, until the database says that it is so."""
    patient_until = time.monotonic() + PATIENCE
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute(query.encode()).fetchone() != (True,):
            assert time.monotonic() < patient_until, query
            time.sleep(0.01)


async def ended(
    m: m25.M25, queue: m25.Queue[Any, Any, Any], id: m25.JobId
) -> m25.JobRecord[Any, Any, Any]:
    """The record of a job, once it has ended."""

    async def look() -> m25.JobRecord[Any, Any, Any] | None:
        record = await m.get_job(queue, id)
        return record if record.finished_at or record.cancelled_at else None

    return await eventually(look)


async def chain(dsn: str, first: m25.JobId) -> list[dict[str, Any]]:
    """The rows of a chain, by attempt."""
    return await rows(
        dsn,
        "select * from m25.job where id = %(id)s or original_attempt_id = %(id)s order by attempt",
        id=first.value,
    )


async def rows(dsn: str, statement: str, **parameters: Any) -> list[dict[str, Any]]:
    """What a statement returns, row by row."""
    async with await m25.pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
        await cursor.execute(statement.encode(), parameters)
        return await cursor.fetchall() if cursor.description else []
