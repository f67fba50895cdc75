"""A worker whose handlers write down what they begin with, and their end: `unique.py DSN GRACE`."""

import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

import m25
from m25 import pg

DSN = sys.argv[1]


@asynccontextmanager
async def connected() -> AsyncIterator[pg.AsyncConnection]:
    async with await pg.AsyncConnection.connect(DSN, autocommit=True) as connection:
        yield connection


@m25.queue(
    "work",
    lifespan=connected,
    retry=m25.Retry(max_attempts=3),
    heartbeat_interval=0.25,
    allowed_heartbeat_misses=2,
    allowed_losses=1_000,
    poll_interval=0.5,
)
async def work(given: dict[str, int], *, shared: pg.AsyncConnection) -> None:
    ((key, number),) = given.items()
    attempt = str(m25.current_job().id)
    begun = "insert into started (attempt, key, number) values (%s, %s, %s)"
    await shared.execute(begun, [attempt, key, number])
    await trio.sleep(random.choice((0, 0.002, 0.05)))
    await shared.execute("insert into ended (attempt) values (%s)", [attempt])
    if random.random() < 0.05:
        raise OSError


async def main() -> None:
    async with m25.open(DSN) as m:
        m.add_queue(work)
        await m.start(60)
        print("ready", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
