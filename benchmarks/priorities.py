"""S14: a drain of jobs in 3,000 priorities ÷ one of as many jobs in one priority.

A queue's jobs are claimed by priority, and each priority is a range of its own in the index.
"""

from __future__ import annotations

import time

import attrs
import psycopg
import trio

import m25

from . import databases, report

PRIORITIES = 3_000


@attrs.frozen
class Email:
    to: str
    number: int


def drain(dsn: str, jobs: int, priorities: int) -> float:
    """Run so many jobs, spread over so many priorities; return how many a second that were."""
    left = jobs

    async def run() -> float:
        done = trio.Event()

        @m25.queue("drain", max_concurrency=100)
        async def handler(email: Email) -> int:
            nonlocal left
            left -= 1
            if left == 0:
                done.set()
            return email.number

        async with m25.open(dsn) as m:
            m.add_queue(handler)
            began = time.perf_counter()
            await m.start()
            await done.wait()
        return jobs / (time.perf_counter() - began)

    databases.fill(dsn, "drain", jobs)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "update m25.job set priority = mod((input->>'number')::integer, %s)", [priorities]
        )
        connection.execute("vacuum analyze m25.job")
    rate = trio.run(run)
    assert databases.count(dsn, "succeeded") == jobs
    return rate


def main(*, quick: bool = False) -> list[report.Verdict]:
    jobs, runs = (15_000, 1) if quick else (30_000, 5)
    with databases.server() as dsn:
        found = [
            {name: drain(dsn, jobs, number) for name, number in (("one", 1), ("many", PRIORITIES))}
            for _ in range(runs)
        ]
        rates = report.medians(found)
        report.show(
            f"S14: drain of {jobs:,} no-op jobs (median of {runs})",
            [
                ("priorities", "jobs/s"),
                ("1", f"{rates['one']:,.0f}"),
                (f"{PRIORITIES:,}", f"{rates['many']:,.0f}"),
            ],
        )
        verdicts = [
            report.at_least(
                "S14",
                f"drain of {PRIORITIES:,} priorities ÷ one",
                rates["many"] / rates["one"],
                0.5,
            )
        ]
        report.write("priorities", dsn, {"runs": found, "medians": rates}, verdicts)
    return verdicts
