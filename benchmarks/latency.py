"""S8: from `enqueue` to the handler, an idle worker in another process."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import trio

import m25

from . import databases, report


@m25.queue("latency")
async def stamped(enqueued_at: float) -> float:
    # One clock for all processes of a machine.
    return time.monotonic() - enqueued_at


async def work(dsn: str) -> None:
    """The worker process: runs jobs until it is asked to end."""
    async with m25.open(dsn) as m:
        m.add_queue(stamped)
        await m.start()
        print("ready", flush=True)
        await m25.until_signal()


async def ask(dsn: str, jobs: int) -> list[float]:
    """Enqueue jobs one by one, and return how long each was on its way, in seconds."""
    async with m25.open(dsn) as m:
        ids: list[m25.JobId] = []
        for number in range(jobs):
            # Idle again before the next, and not in step with anything.
            await trio.sleep(0.02 + 0.001 * (number % 17))
            ids.append((await m.enqueue(stamped, time.monotonic())).id)
        latencies: list[float] = []
        for id in ids:
            record = await m.get_job(stamped, id)
            while record.output is None:
                await trio.sleep(0.01)
                record = await m.get_job(stamped, id)
            latencies.append(record.output)
        return latencies


def measure(dsn: str, jobs: int) -> dict[str, float]:
    """Start a worker, and return the percentiles in milliseconds."""
    databases.fill(dsn, "latency", 0)
    command = [sys.executable, "-m", "benchmarks.latency", dsn]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        try:
            assert worker.stdout.readline() == b"ready\n"
            latencies = trio.run(ask, dsn, jobs)
        finally:
            worker.terminate()
    cuts = statistics.quantiles(latencies[len(latencies) // 10 :], n=100)
    return {"p50": cuts[49] * 1e3, "p99": cuts[98] * 1e3}


def main(*, quick: bool = False) -> list[report.Verdict]:
    jobs, runs = (100, 1) if quick else (500, 3)
    with databases.server() as dsn:
        found = [measure(dsn, jobs) for _ in range(runs)]
        medians = report.medians(found)
        report.show(
            f"S8: from enqueue to handler, idle worker, ms (median of {runs})",
            [("", "p50", "p99"), ("m25", f"{medians['p50']:.2f}", f"{medians['p99']:.2f}")],
        )
        report.write("latency", dsn, {"runs": found, "medians": medians})
    # Its goals are beside the peers.
    return []


if __name__ == "__main__":
    trio.run(work, sys.argv[1])
