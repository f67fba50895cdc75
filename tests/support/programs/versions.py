"""A worker before a change of its input's type, or after it: `VERSION=old versions.py DSN GRACE`.

Its log lines are printed, too.
"""

import logging
import os
import sys

import attrs
import trio
import trio.testing

import m25

VERSION = os.environ["VERSION"]


@attrs.frozen
class Old:
    number: int


@attrs.frozen
class New:
    number: int
    note: str = ""


async def handle(value: Old | New) -> str:
    print(f"ran {value}", flush=True)
    return VERSION


handle.__annotations__["value"] = Old if VERSION == "old" else New
notes = m25.Queue("notes", handler_function=handle, poll_interval=1)


async def main(dsn: str, grace: float) -> None:
    async with m25.open(dsn, shutdown_grace=grace) as m:
        m.add_queue(notes)
        await m.start(60)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m25.until_signal)
            # Until the receiver of signals is open.
            await trio.testing.wait_all_tasks_blocked()
            print("ready", flush=True)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
    trio.run(main, sys.argv[1], float(sys.argv[2]))
