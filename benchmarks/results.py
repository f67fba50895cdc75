"""From `call` to the result, an idle worker in another process, beside two bare psycopg processes.

The bare ones notify each other by the same channels.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import trio

import m25
from m25._ids import IdSource

from . import bare, databases, report

QUEUE = "results"
CHANNEL = "m25_waiter_bare"


@m25.queue(QUEUE)
async def answered(number: int) -> int:
    return number


async def work(dsn: str) -> None:
    """m25's worker."""
    async with m25.open(dsn) as m:
        m.add_queue(answered)
        await m.start()
        print("ready", flush=True)
        await m25.until_signal()


async def ask(dsn: str, jobs: int) -> list[float]:
    """m25's client: how long each call took, in seconds."""
    taken: list[float] = []
    async with m25.open(dsn) as m:
        for number in range(jobs):
            await trio.sleep(bare.pause(number))
            began = time.perf_counter()
            assert await m.call(answered, number) == number
            taken.append(time.perf_counter() - began)
    return taken


def bare_work(dsn: str) -> None:
    """The bare worker."""
    bare.work(dsn, QUEUE, lambda number: number)


def bare_ask(dsn: str, jobs: int) -> list[float]:
    """The bare client."""
    make_id = IdSource()
    taken: list[float] = []
    with bare.connect(dsn) as listening, bare.connect(dsn) as connection:
        listening.execute(f"listen {CHANNEL}")
        for number in range(jobs):
            time.sleep(bare.pause(number))
            began = time.perf_counter()
            id = make_id()
            bare.enqueue(connection, QUEUE, id, str(number), CHANNEL)
            for _ in listening.notifies(stop_after=1):
                pass
            watched = bare.run(connection, bare.CALLS.watch([id], CHANNEL))
            assert watched[id].row.output == str(number)
            taken.append(time.perf_counter() - began)
    return taken


def measure(dsn: str, whose: str, jobs: int) -> dict[str, float]:
    """Start a worker, and return the percentiles in milliseconds."""
    databases.fill(dsn, QUEUE, 0)
    asks: dict[str, Callable[[], list[float]]] = {
        "m25": lambda: trio.run(ask, dsn, jobs),
        "bare": lambda: bare_ask(dsn, jobs),
    }
    command = [sys.executable, "-m", "benchmarks.results", whose, dsn]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        try:
            assert worker.stdout.readline() == b"ready\n"
            taken = asks[whose]()
        finally:
            worker.terminate()
    return report.percentiles(taken)


def main(*, quick: bool = False) -> list[report.Verdict]:
    jobs, runs = (100, 1) if quick else (500, 5)
    found: list[dict[str, Any]] = []
    with databases.server() as dsn:
        for number in range(runs):
            # In turns, each first as often as the other.
            sides = ("m25", "bare") if number % 2 else ("bare", "m25")
            measured = {whose: measure(dsn, whose, jobs) for whose in sides}
            ratio = measured["m25"]["p50"] / measured["bare"]["p50"]
            found.append({**measured, "p50 ratio": ratio})
        ratio = statistics.median(run["p50 ratio"] for run in found)
        medians = {
            whose: report.medians([run[whose] for run in found]) for whose in ("m25", "bare")
        }
        report.show(
            f"from call to result, idle worker, ms (median of {runs})",
            [
                ("", "p50", "p99"),
                *(
                    (whose, f"{figures['p50']:.2f}", f"{figures['p99']:.2f}")
                    for whose, figures in medians.items()
                ),
            ],
        )
        verdicts = [report.at_most("results", "call to result, p50 ÷ bare psycopg", ratio, 1.3)]
        report.write("results", dsn, {"runs": found, "medians": medians}, verdicts)
    return verdicts


if __name__ == "__main__":
    {"m25": lambda dsn: trio.run(work, dsn), "bare": bare_work}[sys.argv[1]](sys.argv[2])
