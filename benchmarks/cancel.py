"""From `cancel_job` to the handler that is cancelled, in another process, by NOTIFY."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import trio

import m25

from . import databases, report

#: In milliseconds.
_LONGEST: float = 50.0
#: How many jobs run at once while one after the other is cancelled.
_AT_ONCE = 50


# No heartbeat comes to the aid of a notification that is lost.
@m25.queue("cancelled", max_concurrency=_AT_ONCE, heartbeat_interval=300)
async def stamped(_: int) -> float:
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        # One clock for all processes of a machine. What is returned all the same is kept.
        return time.monotonic()


async def work(dsn: str) -> None:
    """The worker process: runs jobs until it is asked to end."""
    async with m25.open(dsn, shutdown_grace=0) as m:
        m.add_queue(stamped)
        await m.start()
        print("ready", flush=True)
        await m25.until_signal()


async def ask(dsn: str, jobs: int) -> list[float]:
    """Cancel jobs one by one, and return how long each cancel was on its way, in seconds."""
    async with m25.open(dsn) as m:
        ids = [(await m.enqueue(stamped, number)).id for number in range(jobs)]
        asked_at: list[float] = []
        for number, id in enumerate(ids):
            # It is in another process: there is no event for it.
            while (await m.get_job(stamped, id)).status is not m25.JobStatus.EXECUTING:  # noqa: ASYNC110
                await trio.sleep(0.01)
            # Not in step with anything.
            await trio.sleep(0.02 + 0.001 * (number % 17))
            asked_at.append(time.monotonic())
            await m.cancel_job(stamped, id, running=True)
        latencies: list[float] = []
        for id, began in zip(ids, asked_at, strict=True):
            record = await m.get_job(stamped, id)
            while record.output is None:
                await trio.sleep(0.01)
                record = await m.get_job(stamped, id)
            latencies.append(record.output - began)
        return latencies


def measure(dsn: str, jobs: int) -> dict[str, float]:
    """Start a worker, and return the percentiles in milliseconds."""
    databases.fill(dsn, "cancelled", 0)
    command = [sys.executable, "-m", "benchmarks.cancel", dsn]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        try:
            assert worker.stdout.readline() == b"ready\n"
            latencies = trio.run(ask, dsn, jobs)
        finally:
            worker.terminate()
    cuts = statistics.quantiles(latencies, n=100)
    return {"p50": cuts[49] * 1e3, "p99": cuts[98] * 1e3, "longest": max(latencies) * 1e3}


def main(*, quick: bool = False) -> list[report.Verdict]:
    jobs, runs = (100, 1) if quick else (500, 3)
    with databases.server() as dsn:
        found = [measure(dsn, jobs) for _ in range(runs)]
        medians = report.medians(found)
        report.show(
            f"From cancel_job to the handler in another process, ms (median of {runs})",
            [
                ("", "p50", "p99", "longest"),
                ("m25", *(f"{medians[name]:.2f}" for name in ("p50", "p99", "longest"))),
            ],
        )
        report.write("cancel", dsn, {"runs": found, "medians": medians})
    return [
        report.at_most("cancel", "p99 of cancelling a running job, ms", medians["p99"], _LONGEST)
    ]


if __name__ == "__main__":
    trio.run(work, sys.argv[1])
