"""A worker process for the tests of jobs that start jobs: it is killed, and others go on."""

import sys
import time
from typing import Any

import trio

import m25

OPTIONS: dict[str, Any] = {
    "poll_interval": 0.5,
    "heartbeat_interval": 0.5,
    "allowed_heartbeat_misses": 3,
    "allowed_losses": 1_000,
}


@m25.queue("leaf", max_concurrency=50, **{**OPTIONS, "poll_interval": 5})
async def leaf(number: int) -> int:
    return number


@m25.queue("sum", **OPTIONS)
async def total(count: int) -> list[float]:
    """The sum of what its children return, and when it went on after the last."""
    async with m25.current_job().open_nursery() as nursery:
        parts = await nursery.start_many(leaf, range(count))
    went_on = time.time()
    return [sum(part.output for part in parts), went_on]


@m25.queue("pair", max_concurrency=10, default_job_timeout=600, **OPTIONS)
async def pair(depth: int) -> int:
    """Parents and children on one queue."""
    if not depth:
        return 1
    async with m25.current_job().open_nursery() as nursery:
        child = await nursery.start_job(pair, depth - 1)
    return 1 + child.output


@m25.queue("node", max_concurrency=2_000, **OPTIONS)
async def node(widths: list[int]) -> None:
    """A tree that goes on for ever: `widths[0]` children, each of which has the rest."""
    async with m25.current_job().open_nursery() as nursery:
        if widths:
            await nursery.start_many(node, [widths[1:]] * widths[0])
        await trio.sleep_forever()


QUEUES = (leaf, total, pair, node)


async def main(dsn: str, grace: float) -> None:
    async with m25.open(dsn, shutdown_grace=grace) as m:
        for queue in QUEUES:
            m.add_queue(queue)
        await m.start(60)
        print("ready", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], float(sys.argv[2]))
