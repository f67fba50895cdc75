"""A worker process for the tests of effects: it is killed, or stopped, and others go on.

It runs the queues "ten" and "rows". What plain steps do they write to the file that is named in the
environment, so that it is seen how often they did.
"""

import os
import random
import sys
from pathlib import Path
from typing import Any

import trio

import m25
from m25 import pg

OPTIONS: dict[str, Any] = {
    "poll_interval": 0.1,
    # A lease of one second.
    "heartbeat_interval": 0.25,
    "allowed_heartbeat_misses": 3,
    "allowed_losses": 1_000,
}
TABLES = "create table effect (job_id uuid, name text)"


def _note(name: str) -> None:
    with Path(os.environ["EFFECTS"]).open("a") as file:
        file.write(f"{name}\n")


async def draw(name: str) -> int:
    """A plain step: it does something outside of the database."""
    _note(name)
    return random.randrange(10**9)


async def charge(connection: pg.AsyncConnection[Any], name: str) -> int:
    """A step in a transaction."""
    await connection.execute("insert into effect values (%s, %s)", [m25.current_job().job_id, name])
    return random.randrange(10**9)


@m25.queue("ten", **OPTIONS)
async def ten(_: int) -> list[int]:
    job = m25.current_job()
    found: list[int] = []
    for number in range(5):
        found.append(await job.step(f"draw {number}", draw, f"draw {number}"))
        found.append(await job.transact(f"charge {number}", charge, f"charge {number}"))
    return found


@m25.queue("rows", transactional=True, max_concurrency=3, **OPTIONS)
async def inserts(seconds: float, *, connection: pg.AsyncConnection[Any]) -> None:
    await connection.execute("insert into effect values (%s, 'row')", [m25.current_job().job_id])
    await trio.sleep(seconds)


async def main(dsn: str, grace: float) -> None:
    async with m25.open(dsn, shutdown_grace=grace) as m:
        m.add_queue(ten)
        m.add_queue(inserts)
        await m.start(60)
        print("ready", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], float(sys.argv[2]))
