"""S15: how long m25's own tasks work between two checkpoints, while it drains and enqueues.

Meanwhile nothing else of the program has a turn. What is measured is processor time, of every step
of every task of m25's; the handlers do nothing. A machine that others keep busy makes it several
times as long: look at the processor time of a job beside it.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections import defaultdict

import attrs
import trio

import m25

from . import databases, report

#: In milliseconds.
LONGEST = 1.0


@attrs.frozen
class Email:
    to: str
    number: int


class Turns(trio.abc.Instrument):
    """The length of each step, in milliseconds, by what the task runs."""

    def __init__(self) -> None:
        self.lengths = defaultdict[str, list[float]](list)
        self._began = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        length = (time.thread_time() - self._began) * 1e3
        if task.name.startswith("m25."):
            self.lengths[task.name].append(length)

    def p99(self) -> tuple[float, str]:
        """Of the task whose steps are the longest: the 99th percentile, and what it runs."""
        return max(
            (statistics.quantiles(lengths, n=100)[98], name)
            for name, lengths in self.lengths.items()
            if len(lengths) >= 20
        )


def drain(dsn: str, jobs: int, max_concurrency: int) -> Turns:
    """Of a drain of so many jobs."""
    turns = Turns()
    left = jobs

    async def run() -> None:
        done = trio.Event()

        @m25.queue("turns", max_concurrency=max_concurrency)
        async def handler(email: Email) -> int:
            nonlocal left
            left -= 1
            if left == 0:
                done.set()
            return email.number

        async with m25.open(dsn) as m:
            m.add_queue(handler)
            await m.start()
            trio.lowlevel.add_instrument(turns)
            await done.wait()
            trio.lowlevel.remove_instrument(turns)

    databases.fill(dsn, "turns", jobs)
    trio.run(run)
    return turns


def enqueue(dsn: str, jobs: int) -> Turns:
    """Of `enqueue_many`, and then of many that enqueue at once."""
    turns = Turns()

    async def run() -> None:
        @m25.queue("turns")
        async def handler(email: Email) -> int:
            raise AssertionError(email)

        async with m25.open(dsn) as m:
            trio.lowlevel.add_instrument(turns)
            await m.enqueue_many(handler, (Email("ada@home", number) for number in range(jobs)))
            for _ in range(10):
                async with trio.open_nursery() as nursery:
                    for number in range(jobs // 20):
                        nursery.start_soon(m.enqueue, handler, Email("ada@home", number))
            trio.lowlevel.remove_instrument(turns)

    trio.run(run)
    return turns


def main(*, quick: bool = False) -> list[report.Verdict]:
    jobs = 10_000 if quick else 50_000
    with databases.server() as dsn:
        # Python's own collections are no work of ours.
        gc.collect()
        gc.disable()
        found = {
            f"drain at max_concurrency={number}": drain(dsn, jobs, number).p99()
            for number in (100, 500, 1_000)
        }
        found["enqueueing"] = enqueue(dsn, jobs).p99()
        gc.enable()
        report.show(
            "S15: processor time of a step of the task whose steps are the longest",
            [
                ("", "p99, ms", "task"),
                *((what, f"{ms:.2f}", name) for what, (ms, name) in found.items()),
            ],
        )
        verdicts = [
            report.at_most("S15", f"{what}: a step, p99, ms", ms, LONGEST)
            for what, (ms, _) in found.items()
        ]
        report.write("turns", dsn, {"p99_ms": found}, verdicts)
    return verdicts
