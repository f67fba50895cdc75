"""P7, S8: from `enqueue` to the handler, an idle worker in another process, beside bare psycopg.

With the bare ones a job has come once its claim is committed.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

import trio

import m25
from m25._ids import IdSource

from . import bare, databases, report

QUEUE = "latency"


@m25.queue(QUEUE)
async def stamped(enqueued_at: float) -> float:
    # One clock for all processes of a machine.
    return time.monotonic() - enqueued_at


async def work(dsn: str) -> None:
    """m25's worker: runs jobs until it is asked to end."""
    async with m25.open(dsn) as m:
        m.add_queue(stamped)
        await m.start()
        print("ready", flush=True)
        await m25.until_signal()


async def ask(dsn: str, jobs: int) -> None:
    """m25's client: enqueues jobs one by one, and waits for the last."""
    async with m25.open(dsn) as m:
        for number in range(jobs):
            await trio.sleep(bare.pause(number))
            last = await m.enqueue(stamped, time.monotonic())
        await m.wait(stamped, last.id)


def bare_work(dsn: str) -> None:
    """The bare worker."""
    bare.work(dsn, QUEUE, lambda enqueued_at: str(time.monotonic() - json.loads(enqueued_at)))


def bare_ask(dsn: str, jobs: int) -> None:
    """The bare client."""
    make_id = IdSource()
    with bare.connect(dsn) as connection:
        for number in range(jobs):
            time.sleep(bare.pause(number))
            bare.enqueue(connection, QUEUE, make_id(), str(time.monotonic()))
    while databases.count(dsn, "succeeded") < jobs:
        time.sleep(0.01)


def measure(dsn: str, whose: str, jobs: int) -> dict[str, float]:
    """Start a worker, and return the percentiles in milliseconds."""
    databases.fill(dsn, QUEUE, 0)
    command = [sys.executable, "-m", "benchmarks.latency", whose, dsn]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        try:
            assert worker.stdout.readline() == b"ready\n"
            if whose == "m25":
                trio.run(ask, dsn, jobs)
            else:
                bare_ask(dsn, jobs)
        finally:
            worker.terminate()
    with bare.connect(dsn) as connection:
        found = connection.execute("select output::float8 from m25.job order by created_at, id")
        latencies: list[float] = [latency for (latency,) in found]
    assert len(latencies) == jobs
    return report.percentiles(latencies)


def main(*, quick: bool = False) -> list[report.Verdict]:
    jobs, runs = (150, 3) if quick else (500, 5)
    found: list[dict[str, dict[str, float]]] = []
    with databases.server() as dsn:
        for number in range(runs):
            # In turns, each first as often as the other.
            sides = ("m25", "bare") if number % 2 else ("bare", "m25")
            found.append({whose: measure(dsn, whose, jobs) for whose in sides})
        ratio = statistics.median(each["m25"]["p50"] / each["bare"]["p50"] for each in found)
        medians = {side: report.medians([each[side] for each in found]) for side in ("m25", "bare")}
        report.show(
            f"from enqueue to handler, idle worker, ms (median of {runs})",
            [
                ("", "p50", "p99"),
                *(
                    (side, f"{figures['p50']:.2f}", f"{figures['p99']:.2f}")
                    for side, figures in medians.items()
                ),
            ],
        )
        # Those of S8 are beside the peers.
        verdicts = [report.at_most("P7", "enqueue to handler, p50 ÷ bare psycopg", ratio, 1.15)]
        report.write("latency", dsn, {"runs": found, "medians": medians}, verdicts)
    return verdicts


if __name__ == "__main__":
    if sys.argv[1] == "m25":
        trio.run(work, sys.argv[2])
    else:
        bare_work(sys.argv[2])
