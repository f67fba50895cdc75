"""S11: what a process with 20 queues and nothing to do asks of the server, and of the processor.

A process that idles for long is compared with one that idles briefly: what both ask of the server
in beginning and ending cancels out, and so does what it costs to count.
"""

from __future__ import annotations

import subprocess
import sys
import time

import psycopg
import trio

import m25

from . import databases, report

QUEUES = 20


async def idle(dsn: str, seconds: float) -> None:
    """The process: prints what processor time it has taken while it was idle."""

    async def handler(number: int) -> None:
        raise AssertionError(number)

    async with m25.open(dsn) as m:
        for number in range(QUEUES):
            m.add_queue(m25.queue(f"idle-{number}")(handler))
        await m.start()
        before = time.process_time()
        await trio.sleep(seconds)
        print(time.process_time() - before)


def measure(dsn: str, seconds: float) -> tuple[int, float]:
    """Transactions, one for each statement, and processor seconds of a process that idles."""
    before = transactions(dsn)
    command = [sys.executable, "-m", "benchmarks.idle", dsn, str(seconds)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # What a backend has done is known once it has ended.
    return transactions(dsn) - before, float(said)


def transactions(dsn: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as connection:
        while True:
            row = connection.execute(
                "select (select sum(xact_commit + xact_rollback) from pg_stat_database"
                " where datname = current_database()),"
                " (select count(*) from pg_stat_activity where datname = current_database())"
            ).fetchone()
            assert row is not None
            if row[1] == 1:
                return int(row[0])
            time.sleep(0.05)


def main(*, quick: bool = False) -> list[report.Verdict]:
    short, long, runs = (2, 12, 1) if quick else (5, 45, 3)
    with databases.server() as dsn:
        databases.fill(dsn, "idle-0", 0)
        found: list[dict[str, float]] = []
        for _ in range(runs):
            few, _ = measure(dsn, short)
            many, seconds = measure(dsn, long)
            found.append(
                {
                    "statements_per_second": (many - few) / (long - short),
                    "processor_percent": seconds / long * 100,
                }
            )
        figures = report.medians(found)
        statements, processor = figures.values()
        report.show(
            f"S11: an idle process with {QUEUES} queues, over {long - short} s (median of {runs})",
            [
                ("", "figure"),
                ("statements/s", f"{statements:.2f}"),
                ("processor, %", f"{processor:.2f}"),
            ],
        )
        verdicts = [
            report.at_most("S11", "idle, 20 queues: statements/s", statements, 1),
            report.at_most("S11", "idle, 20 queues: processor, %", processor, 0.5),
        ]
        report.write("idle", dsn, {"runs": found, "medians": figures}, verdicts)
    return verdicts


if __name__ == "__main__":
    trio.run(idle, sys.argv[1], float(sys.argv[2]))
