"""A worker without any care for signals: Ctrl-C is Trio's own, which raises KeyboardInterrupt."""

import os
import sys
import time

import trio

import m25


@m25.queue("sleeps", max_concurrency=4, poll_interval=0.2)
async def sleeps(seconds: float) -> None:
    # Printed once it sleeps: Ctrl-C in the lines before that would come out of the handler itself.
    trio.lowlevel.current_trio_token().run_sync_soon(lambda: print("begun", flush=True))
    await trio.sleep(seconds)


@m25.queue("spins", poll_interval=0.2, heartbeat_interval=0.2, allowed_heartbeat_misses=1)
async def spins(seconds: float) -> None:
    """Compute for so long, or until there is a file that the program is told of."""
    print("begun", flush=True)
    end = time.monotonic() + seconds
    over = os.environ.get("SPINS_UNTIL")
    while time.monotonic() < end and not (over and os.path.exists(over)):  # noqa: ASYNC240, PTH110
        pass


async def main(dsn: str) -> None:
    async with m25.open(dsn, shutdown_grace=60) as m:
        m.add_queue(sleeps)
        m.add_queue(spins)
        await m.start(60)
        print("ready", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    try:
        trio.run(main, sys.argv[1])
    except KeyboardInterrupt:
        print("interrupted", flush=True)
