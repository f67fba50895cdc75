"""From `call` to the result, an idle worker in another process, beside two bare psycopg processes.

The bare ones notify each other by the same channels, and have a database of their own, since a
notification wakes all that listen in one. Jobs of both go in turns, in an order that is drawn, so
what else a machine does meanwhile slows down both alike.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import trio
from psycopg.conninfo import make_conninfo

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


def bare_work(dsn: str) -> None:
    """The bare worker."""
    bare.work(dsn, QUEUE, lambda number: number)


@contextmanager
def bare_client(dsn: str) -> Generator[Callable[[int], None]]:
    """The bare client: a function that calls it."""
    make_id = IdSource()
    with bare.connect(dsn) as listening, bare.connect(dsn) as connection:
        listening.execute(f"listen {CHANNEL}")

        def call(number: int) -> None:
            id = make_id()
            bare.enqueue(connection, QUEUE, id, str(number), CHANNEL)
            for _ in listening.notifies(stop_after=1):
                pass
            latest = bare.run(connection, bare.CALLS.latest([id]))
            assert latest[id].output == str(number)

        yield call


async def ask(dsns: dict[str, str], jobs: int) -> dict[str, list[float]]:
    """How long each call of the two clients took, in seconds."""
    taken: dict[str, list[float]] = {whose: [] for whose in dsns}
    draw = random.Random(jobs)
    async with m25.open(dsns["m25"]) as m:
        with bare_client(dsns["bare"]) as call:
            for number in range(jobs):
                for whose in draw.sample([*dsns], len(dsns)):
                    await trio.sleep(bare.pause(number))
                    began = time.perf_counter()
                    if whose == "m25":
                        assert await m.call(answered, number) == number
                    else:
                        # The other client has nothing to do meanwhile, so its loop may stand.
                        call(number)
                    taken[whose].append(time.perf_counter() - began)
    return taken


@contextmanager
def worker(dsn: str, whose: str) -> Generator[None]:
    """A worker process, which is ready."""
    databases.fill(dsn, QUEUE, 0)
    command = [sys.executable, "-m", "benchmarks.results", whose, dsn]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.terminate()


def measure(dsns: dict[str, str], jobs: int) -> dict[str, dict[str, float]]:
    """Start both workers, and return the percentiles of each client in milliseconds."""
    with ExitStack() as workers:
        for whose, dsn in dsns.items():
            workers.enter_context(worker(dsn, whose))
        taken = trio.run(ask, dsns, jobs)
    return {whose: report.percentiles(each) for whose, each in taken.items()}


@contextmanager
def database_beside(dsn: str) -> Generator[str]:
    """Another migrated database of the same server."""
    name = "m25_bench_beside"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        try:
            beside = make_conninfo(dsn, dbname=name)
            databases.migrate(beside)
            yield beside
        finally:
            connection.execute(f"drop database {name} with (force)")


def main(*, quick: bool = False) -> list[report.Verdict]:
    jobs, runs = (100, 1) if quick else (500, 5)
    found: list[dict[str, Any]] = []
    with databases.server() as dsn, database_beside(dsn) as beside:
        for _ in range(runs):
            measured = measure({"m25": dsn, "bare": beside}, jobs)
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
