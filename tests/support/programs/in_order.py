"""A worker of an ordered queue: `in_order.py DSN GRACE`, and a file's name in `M25_TEST_LOG`.

Each handler writes there when it begins and when it has done its work, beside those of all other
processes: a short line that is appended comes behind all that were appended before it. The test
kills it, so it does nothing about signals.
"""

import os
import random
import sys

import attrs
import trio

import m25

LOG = os.open(os.environ["M25_TEST_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


@attrs.frozen
class Step:
    key: str
    number: int


def note(what: str, step: Step) -> None:
    os.write(LOG, f"{what} {step.key} {step.number} {os.getpid()}\n".encode())


@m25.queue(
    "steps",
    ordered_by="key",
    max_concurrency=4,
    poll_interval=0.5,
    # Longer than a process may stand still: else another has its job, and it goes on with it. That
    # one was killed is seen sooner.
    heartbeat_interval=0.5,
    allowed_heartbeat_misses=59,
    allowed_losses=1_000,
)
async def steps(step: Step) -> None:
    note("begins", step)
    await trio.sleep(random.uniform(0.005, 0.05))
    if random.random() < 0.2:
        note("fails", step)
        raise OSError("not this time")
    note("does", step)


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(steps)
        await m.start(queue_init_timeout=60)
        print("ready", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
