"""From `call` to the result, an idle worker in another process, beside two bare psycopg processes.

The bare ones make the same statements on plain connections, and notify each other by the same
channels: what they take is the server's, the kernel's and psycopg's.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import psycopg
import trio

import m25
from m25._ids import IdSource
from m25._store.protocol import NewJob, Outcome
from m25._store.statements import load_statements
from m25._store.steps import Calls, Steps

from . import databases, report

T = TypeVar("T")

QUEUE = "results"
CHANNEL = "m25_waiter_bare"
CALLS = Calls("m25")
STATEMENTS = load_statements("m25")


@m25.queue(QUEUE)
async def answered(number: int) -> int:
    return number


def pause(number: int) -> float:
    """Idle again before the next, and not in step with anything, in seconds."""
    return 0.02 + 0.001 * (number % 17)


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
            await trio.sleep(pause(number))
            began = time.perf_counter()
            assert await m.call(answered, number) == number
            taken.append(time.perf_counter() - began)
    return taken


def run(connection: psycopg.Connection, steps: Steps[T]) -> T:
    """Make a call of the store on a plain connection."""
    try:
        statement = next(steps)
        while True:
            cursor = connection.execute(
                STATEMENTS[statement.name], statement.parameters, prepare=True
            )
            statement = steps.send(cursor.fetchall())
    except StopIteration as done:
        answer: T = done.value
        return answer


def bare_work(dsn: str) -> None:
    """The bare worker."""
    with connect(dsn) as listening, connect(dsn) as connection:
        listening.execute(f'listen "{CALLS.channel(QUEUE)}"')
        print("ready", flush=True)
        for _ in listening.notifies():
            token = str(uuid4())
            lease = timedelta(seconds=30)
            for row in run(
                connection,
                CALLS.claim(
                    QUEUE, token=token, limit=10, lease=lease, start=True, after=(), on_rows=None
                ),
            ):
                outcome = Outcome(row.id, token, None, row.input, None, None, None, None, None)
                run(connection, CALLS.settle([outcome], 3))


def bare_ask(dsn: str, jobs: int) -> list[float]:
    """The bare client."""
    make_id = IdSource()
    taken: list[float] = []
    with connect(dsn) as listening, connect(dsn) as connection:
        listening.execute(f"listen {CHANNEL}")
        for number in range(jobs):
            time.sleep(pause(number))
            began = time.perf_counter()
            job = NewJob(
                id=make_id(),
                queue_name=QUEUE,
                scheduled_at=None,
                input=str(number),
                timeout=timedelta(minutes=5),
                max_attempts=1,
                retry_delay=timedelta(0),
                unique_key=None,
                priority=0,
                meta=None,
                waiter=CHANNEL,
            )
            run(connection, CALLS.enqueue([job], [QUEUE]))
            for _ in listening.notifies(stop_after=1):
                pass
            assert run(connection, CALLS.watch([job.id], CHANNEL))[job.id].row.output == str(number)
            taken.append(time.perf_counter() - began)
    return taken


def connect(dsn: str) -> psycopg.Connection:
    return psycopg.connect(dsn, autocommit=True)


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
    cuts = statistics.quantiles(taken[len(taken) // 10 :], n=100)
    return {"p50": cuts[49] * 1e3, "p99": cuts[98] * 1e3}


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
