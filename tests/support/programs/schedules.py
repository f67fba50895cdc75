"""A process with a schedule of a tick each second: `schedules.py DSN GRACE`.

The test kills it, so it does nothing about signals.
"""

import sys
from datetime import datetime

import trio

import m25


@m25.queue("seconds", poll_interval=0.5, heartbeat_interval=0.5, allowed_losses=1_000)
async def seconds(tick: int) -> int:
    await trio.lowlevel.checkpoint()
    return tick


def second(tick: datetime) -> int:
    return int(tick.timestamp())


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(seconds)
        m.add_schedule("each second", seconds, every=1, input=second, catch_up="all")
        await m.start(queue_init_timeout=60)
        print("ready", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
