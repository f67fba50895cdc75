"""Events written a thousand at a time by COPY: what is bad fails alone, and none comes twice.

python examples/bulk_insert.py DSN
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import attrs
import trio

import m25
from m25 import pg

TABLE = "create table if not exists event (id uuid primary key, name text, value int)"


@attrs.frozen
class Event:
    id: UUID
    name: str
    value: int


class BadEvent(Exception):
    pass


#: How many events each call had.
sizes: list[int] = []


@asynccontextmanager
async def connections() -> AsyncGenerator[pg.Pool]:
    """What all batches of a process share."""
    async with pg.Pool(sys.argv[1], max_size=2) as pool:
        yield pool


@m25.queue("events", batch=m25.Batch(1_000, wait=0.2), lifespan=connections, errors=(BadEvent,))
async def events(batch: list[Event], *, shared: pg.Pool) -> list[Exception | None]:
    """One COPY for up to a thousand jobs; it is written as a whole, so what is bad is left out."""
    outcomes: list[Exception | None] = [
        BadEvent(event.value) if event.value < 0 else None for event in batch
    ]
    async with shared.connection() as connection, connection.cursor() as cursor:
        await cursor.execute("create temporary table new (like event) on commit drop")
        async with cursor.copy("copy new (id, name, value) from stdin") as copy:
            for event, outcome in zip(batch, outcomes, strict=True):
                if outcome is None:
                    await copy.write_row((event.id, event.name, event.value))
        # A worker that is lost after this commit, and before the outcomes, has the batch run again.
        await cursor.execute("insert into event select * from new on conflict (id) do nothing")
    sizes.append(len(batch))
    return outcomes


async def main(dsn: str) -> None:
    async with await pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(TABLE)
        async with m25.open(dsn) as m:
            new = [Event(uuid4(), "clicked", -1 if n == 500 else n) for n in range(2_500)]
            ids = (await m.enqueue_many(events, new)).ids
            m.add_queue(events)
            await m.start()
            ended = [await m.wait(events, id) for id in ids]
        cursor = await connection.execute("select count(*) from event")
        print("written:", await cursor.fetchone())
    print("events in the largest batch:", max(sizes))
    print("failed:", [job.error_data for job in ended if job.error_data is not None])


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
