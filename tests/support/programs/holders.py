"""A worker of a queue with a limit, which holds places of the same limit outside of its jobs, too.

It says when they are held, by the machine's monotonic clock, which all processes share.
"""

import random
import sys
import time

import trio

import m25
from m25 import errors

LIMIT = m25.Limit(3, name="gpu")


def say(what: str, began: float) -> None:
    print(f"{what} {began:.6f} {time.monotonic():.6f}", flush=True)


@m25.queue("pictures", limit=LIMIT, heartbeat_interval=0.5, poll_interval=0.3, allowed_losses=1_000)
async def pictures(seconds: float) -> None:
    began = time.monotonic()
    try:
        await trio.sleep(seconds)
    finally:
        say("ran", began)


async def watch() -> None:
    """Say when this process stood still: it could end nothing meanwhile."""
    while True:
        before = time.monotonic()
        await trio.sleep(0.05)
        if time.monotonic() - before > 0.3:
            say("still", before)


async def hold(m: m25.M25) -> None:
    """Hold a place again and again."""
    while True:
        began = None
        try:
            async with m.limiter(LIMIT, lease=2):
                began = time.monotonic()
                await trio.sleep(random.uniform(0.02, 0.3))
                # What comes after that is the leaving.
                said, began = began, None
                say("held", said)
        except errors.PlaceLost:
            if began is not None:
                say("lost", began)
        await trio.sleep(random.uniform(0, 0.05))


async def main(dsn: str) -> None:
    async with m25.open(dsn, shutdown_grace=0) as m, trio.open_nursery() as nursery:
        m.add_queue(pictures)
        await m.start(queue_init_timeout=60)
        print("ready", flush=True)
        nursery.start_soon(watch)
        for _ in range(4):
            nursery.start_soon(hold, m)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
