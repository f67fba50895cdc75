"""A worker of an exclusive queue: it says when its handlers run; its loop stands still at times.

Its times are those of the machine's monotonic clock, which all processes share.
"""

import random
import sys
import time

import attrs
import trio

import m25


@attrs.frozen
class Task:
    number: int
    seconds: float


@m25.queue(
    "alone",
    exclusive=True,
    max_concurrency=50,
    heartbeat_interval=0.25,
    poll_interval=0.1,
    allowed_losses=1_000,
)
async def alone(task: Task) -> None:
    begin = time.monotonic()
    try:
        await trio.sleep(task.seconds)
    finally:
        print(f"ran {task.number} {begin:.6f} {time.monotonic():.6f}", flush=True)


async def stall() -> None:
    """Keep Trio's loop busy now and then, for less than the margin, a quarter of a second."""
    while True:
        await trio.sleep(random.uniform(0.1, 0.5))
        time.sleep(random.uniform(0.0, 0.12))  # noqa: ASYNC251 - it is to block


async def main(dsn: str) -> None:
    async with m25.open(dsn, shutdown_grace=0) as m, trio.open_nursery() as nursery:
        m.add_queue(alone)
        await m.start(queue_init_timeout=60)
        print("ready", flush=True)
        nursery.start_soon(stall)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
