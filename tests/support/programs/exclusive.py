"""A worker of an exclusive queue: it says when its handlers run; its loop stands still at times,
and where it does for longer than anybody can bear, it says that, too.

Its times are those of the machine's monotonic clock, which all processes share.
"""

import random
import sys
import time

import attrs
import trio

import m25

#: How long before the end of its lease a handler is cancelled, in seconds.
MARGIN = 0.25


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


async def watch() -> None:
    """Say when the machine let this process stand still for longer than the margin."""
    while True:
        before = time.monotonic()
        await trio.sleep(0.02)
        if (after := time.monotonic()) - before > MARGIN:
            print(f"still {before:.6f} {after:.6f}", flush=True)


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
        nursery.start_soon(watch)
        nursery.start_soon(stall)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
