"""S15: how long m25's own tasks work between two checkpoints, while it drains and enqueues.

Meanwhile nothing else of the program has a turn. What is measured is processor time, of every step
of every task of m25's; the handlers do nothing.

On a machine that others keep busy the same work takes several times as much processor time: it has
to share their caches and cores. So after each step that is long enough to count, some other work is
measured that is always the same, and the step is as much shorter as this work is at its best.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections import defaultdict

import attrs
import trio

import m25

from . import databases, report

#: In milliseconds.
LONGEST = 1.0
#: A step that takes less than this, in milliseconds, counts as it is.
SHORT = 0.2
#: What is always the same: text that becomes objects, and text again, as most of m25's work is.
SAMPLE = json.dumps([{"to": "ada@home", "number": number} for number in range(60)])


@attrs.frozen
class Email:
    to: str
    number: int


def sample_work() -> float:
    """How much processor time the work takes now that is always the same, in milliseconds."""
    began = time.thread_time()
    json.dumps(json.loads(SAMPLE))
    return (time.thread_time() - began) * 1e3


class Turns(trio.abc.Instrument):
    """The length of each step, in milliseconds, by what the task runs."""

    def __init__(self) -> None:
        #: With each step, how much the sample took just after it, or nothing.
        self._steps = defaultdict[str, list[tuple[float, float | None]]](list)
        self._began = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        length = (time.thread_time() - self._began) * 1e3
        if task.name.startswith("m25."):
            self._steps[task.name].append((length, sample_work() if length >= SHORT else None))

    def p99(self) -> tuple[float, str]:
        """Of the task whose steps are the longest: the 99th percentile, and what it runs."""
        best = min(sample_work() for _ in range(2_000))
        return max(
            (
                statistics.quantiles(
                    [length * (best / sample if sample else 1) for length, sample in steps], n=100
                )[98],
                name,
            )
            for name, steps in self._steps.items()
            if len(steps) >= 20
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
