"""A worker of the demo: a process of its own that runs the queues named by its arguments.

    python -m m25.cli.demo.worker sources arrivals

It prints "ready" once it runs them, and ends when its standard input ends. So no worker is left
behind, however the program that started it ends.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Final

import trio

import m25

from .jobs import arrivals, sources

#: Where the database is; in the environment, which other users of the machine cannot read.
DSN: Final = "M25_DEMO_DSN"
SCHEMA: Final = "M25_DEMO_SCHEMA"

READY: Final = "ready"

QUEUES: Final[dict[str, m25.Queue[Any, Any, Any]]] = {
    queue.name: queue for queue in (sources, arrivals)
}


async def work(names: Sequence[str]) -> None:
    """Run the queues of these names until standard input ends."""
    async with m25.open(os.environ[DSN], schema=os.environ[SCHEMA]) as m:
        for name in names:
            m.add_queue(QUEUES[name])
        # On a machine that is busy with the other workers it takes longer than it should elsewhere.
        await m.start(60)
        _print_line(READY)
        async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as standard_input:
            async for _ in standard_input:
                pass


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(name)s: %(message)s", level=logging.WARNING)
    # Python warns of faults in the files that the jobs parse; m25 has none to warn of.
    warnings.simplefilter("ignore")
    trio.run(work, sys.argv[1:])
