"""P10: from `kill -9` of the process that runs a job to the job's second start in another one.

All options have their defaults. Both processes have run for some seconds when one is killed, at a
moment that has nothing to do with their heartbeats and polls.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Never

import attrs
import trio

import m25

from . import databases, report

#: In seconds.
MIDDLE, LONGEST = 8.0, 10.0
#: How many pairs of processes there are at a time, each with a queue of its own.
SIDE_BY_SIDE = 4
#: When one of a pair is killed, in seconds after the job's start: over more than all intervals.
AT = (2.0, 12.0)


def as_queue(name: str) -> m25.Queue[int, None, Never]:
    """A queue that says when a job begins, and whose jobs do not end by themselves."""

    @m25.queue(name)
    async def handler(number: int) -> None:
        print("begun", number, flush=True)
        await trio.sleep_forever()

    return handler


async def work(dsn: str, name: str) -> None:
    """A worker with all its defaults: says that it is ready, and what it begins."""
    queue = as_queue(name)
    async with m25.open(dsn) as m:
        m.add_queue(queue)
        await m.start()
        print("ready", flush=True)
        await m25.until_signal()


@attrs.frozen
class Worker:
    """A process, and the lines that it prints."""

    process: trio.Process
    lines: trio.MemoryReceiveChannel[str]


@asynccontextmanager
async def worker(dsn: str, name: str) -> AsyncGenerator[Worker]:
    """A worker that is ready; it is killed at the end."""
    send, lines = trio.open_memory_channel[str](100)

    async def read(stream: trio.abc.ReceiveStream) -> None:
        rest = b""
        async for chunk in stream:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                await send.send(line.decode())

    command = [sys.executable, "-m", "benchmarks.takeover", dsn, name]
    # What is logged of each takeover is as expected.
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, process.stdout)
        try:
            assert await lines.receive() == "ready"
            yield Worker(process, lines)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            nursery.cancel_scope.cancel()


async def take_over(dsn: str, name: str) -> float:
    """Kill the process that runs a job; return how long it takes until another one runs it."""
    queue = as_queue(name)
    async with m25.open(dsn) as m, worker(dsn, name) as holder:
        await m.enqueue(queue, 0)
        assert await holder.lines.receive() == "begun 0"
        async with worker(dsn, name) as other:
            await trio.sleep(random.uniform(*AT))
            killed = trio.current_time()
            holder.process.kill()
            assert await other.lines.receive() == "begun 0"
            return trio.current_time() - killed


async def measure(dsn: str, rounds: int) -> list[float]:
    """So many takeovers."""
    found: list[float] = []
    numbers = iter(range(rounds))

    async def in_turns() -> None:
        for number in numbers:
            seconds = await take_over(dsn, f"takeover {number}")
            found.append(seconds)

    async with trio.open_nursery() as nursery:
        for _ in range(SIDE_BY_SIDE):
            nursery.start_soon(in_turns)
    return found


def main(*, quick: bool = False) -> list[report.Verdict]:
    rounds = 8 if quick else 20
    with databases.server() as dsn:
        found = sorted(trio.run(measure, dsn, rounds))
        middle = statistics.median(found)
        report.show(
            f"P10: kill -9 of a worker to the second start of its job, {rounds} rounds, defaults",
            [
                ("", "s"),
                ("shortest", f"{found[0]:.1f}"),
                ("median", f"{middle:.1f}"),
                ("longest", f"{found[-1]:.1f}"),
            ],
        )
        verdicts = [
            report.at_most("P10", "kill -9 to the second start, median, s", middle, MIDDLE),
            report.at_most("P10", "kill -9 to the second start, longest, s", found[-1], LONGEST),
        ]
        report.write("takeover", dsn, {"seconds": found}, verdicts)
    return verdicts


if __name__ == "__main__":
    trio.run(work, sys.argv[1], sys.argv[2])
