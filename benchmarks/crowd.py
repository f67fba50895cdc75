"""Five thousand jobs at once in one process: memory, the loop's lag, beats, deadlines, the stop."""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psycopg
import trio

import m25

from . import databases, report
from .memory import resident

#: How often the loop is asked whether it keeps time, in seconds.
_TICK = 0.01


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


@asynccontextmanager
async def timing_the_loop() -> AsyncGenerator[list[float]]:
    """By how many seconds the loop was late, every few milliseconds."""
    lags: list[float] = []

    async def tick() -> None:
        while True:
            due = trio.current_time() + _TICK
            await trio.sleep_until(due)
            lags.append(trio.current_time() - due)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        yield lags
        nursery.cancel_scope.cancel()


async def bare(tasks: int) -> float:
    """Trio alone: by how much so many tasks are late, at p99, whose scopes end at one moment."""
    late: list[float] = []
    deadline = trio.current_time() + 1

    async def sleep() -> None:
        with trio.CancelScope(deadline=deadline):
            try:
                await trio.sleep_forever()
            finally:
                late.append(trio.current_time() - deadline)

    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(sleep)
    return percentile(late, 99)


class Crowd:
    """So many jobs, which all run at the same time."""

    def __init__(self, dsn: str, jobs: int) -> None:
        self._dsn = dsn
        self._jobs = jobs

    async def sleep(self, seconds: float) -> dict[str, float]:
        """All sleep: what that costs, and what remains."""
        there, left = 0, self._jobs
        all_there, done = trio.Event(), trio.Event()

        @m25.queue("crowd", max_concurrency=self._jobs, default_job_timeout=600)
        async def handler(_email: dict[str, str | int]) -> None:
            nonlocal there, left
            there += 1
            if there == self._jobs:
                all_there.set()
            await trio.sleep(seconds)
            left -= 1
            if left == 0:
                done.set()

        databases.fill(self._dsn, "crowd", self._jobs)
        gc.collect()
        before = resident()
        async with timing_the_loop() as lags, m25.open(self._dsn) as m:
            m.add_queue(handler)
            began = trio.current_time()
            await m.start()
            await all_there.wait()
            took = trio.current_time() - began
            starting, running = list(lags), len(lags)
            memory = (resident() - before) / self._jobs
            # Without the second in which they come, or go.
            await trio.sleep(max(0.0, seconds - took - 1))
            steady = lags[running:]
            await done.wait()
        self._check("succeeded")
        return {
            "memory_per_job": memory,
            "all_running_after": took,
            "lag_p99_starting": percentile(starting, 99),
            "lag_p99": percentile(steady, 99),
            "lost": self._sum_of("losses"),
        }

    async def overrun(self, timeout: float, spread: float) -> float:
        """All overrun their deadlines, which fall within so many seconds: by how much they are late
        to be told, at p99.
        """
        late: list[float] = []
        done = trio.Event()

        @m25.queue("crowd", max_concurrency=self._jobs)
        async def handler(_email: dict[str, str | int]) -> None:
            deadline = trio.current_effective_deadline()
            try:
                await trio.sleep_forever()
            finally:
                late.append(trio.current_time() - deadline)
                if len(late) == self._jobs:
                    done.set()

        databases.fill(self._dsn, "crowd", self._jobs)
        with psycopg.connect(self._dsn) as connection:
            connection.execute(
                "update m25.job set timeout = make_interval(secs => %s + %s * random())",
                [timeout, spread],
            )
        async with m25.open(self._dsn) as m:
            m.add_queue(handler)
            await m.start()
            await done.wait()
        self._check("failed")
        return percentile(late, 99)

    async def stop(self) -> float:
        """All are running when the client is stopped: how many seconds that takes."""
        there = 0
        all_there = trio.Event()

        @m25.queue("crowd", max_concurrency=self._jobs, default_job_timeout=600)
        async def handler(_email: dict[str, str | int]) -> None:
            nonlocal there
            there += 1
            if there == self._jobs:
                all_there.set()
            await trio.sleep_forever()

        databases.fill(self._dsn, "crowd", self._jobs)
        async with m25.open(self._dsn, shutdown_grace=0) as m:
            m.add_queue(handler)
            await m.start()
            await all_there.wait()
            began = trio.current_time()
            await m.stop()
            taken = trio.current_time() - began
        self._check("pending")
        return taken

    def _check(self, status: str) -> None:
        found = databases.count(self._dsn, status)
        assert found == self._jobs, f"{found} of {self._jobs} jobs are {status}"

    def _sum_of(self, column: str) -> int:
        with psycopg.connect(self._dsn) as connection:
            row = connection.execute(f"select sum({column}) from m25.job").fetchone()  # type: ignore[arg-type]
            assert row is not None
            return int(row[0])


def measure(dsn: str, jobs: int, seconds: float) -> dict[str, float]:
    """All of it, in this process."""
    crowd = Crowd(dsn, jobs)
    return {
        **trio.run(crowd.sleep, seconds),
        "deadline_lateness_p99": trio.run(crowd.overrun, 5, 5),
        "deadline_lateness_p99_at_once": trio.run(crowd.overrun, 5, 0),
        "bare_lateness_p99_at_once": trio.run(bare, jobs),
        "stop": trio.run(crowd.stop),
    }


def main(*, quick: bool = False) -> list[report.Verdict]:
    jobs, seconds, runs = (1_000, 5, 1) if quick else (5_000, 30, 3)
    with databases.server() as dsn:
        # Processes of their own: what one has taken from the system its next crowd uses again.
        command = [sys.executable, "-m", "benchmarks.crowd", dsn, str(jobs), str(seconds)]
        found: list[dict[str, float]] = [
            json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            for _ in range(runs)
        ]
        figures = report.medians(found)
        report.show(
            f"{jobs:,} jobs at once in one process (median of {runs})",
            [
                ("", "figure"),
                ("memory of each, kB", f"{figures['memory_per_job'] / 1e3:.1f}"),
                ("all running after, s", f"{figures['all_running_after']:.2f}"),
                ("the loop late while they begin, p99, ms", _ms(figures["lag_p99_starting"])),
                ("the loop late while they run, p99, ms", _ms(figures["lag_p99"])),
                ("lost for want of a beat", f"{figures['lost']:.0f}"),
                ("deadlines within 5 s, late, p99, ms", _ms(figures["deadline_lateness_p99"])),
                (
                    "deadlines at one moment, late, p99, ms",
                    _ms(figures["deadline_lateness_p99_at_once"]),
                ),
                (
                    "the same of bare Trio's tasks, p99, ms",
                    _ms(figures["bare_lateness_p99_at_once"]),
                ),
                ("all handed back at a stop after, s", f"{figures['stop']:.2f}"),
            ],
        )
        verdicts = [
            report.at_most(
                "crowd",
                f"{jobs:,} deadlines within 5 s: lateness at p99, ms",
                figures["deadline_lateness_p99"] * 1e3,
                100,
            ),
            report.at_most("crowd", f"{jobs:,} jobs at once: lost", figures["lost"], 0),
        ]
        report.write("crowd", dsn, {"runs": found, "medians": figures}, verdicts)
    return verdicts


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
