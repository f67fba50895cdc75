"""Many jobs that fall due at the same moment, beside a backlog of as many that were due already."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import psycopg

from . import databases, report, workers

PROCESSES = 4

_SCHEDULE = "update m25.job set scheduled_at = %s"


def backlog(dsn: str, jobs: int) -> float:
    """Seconds in which jobs are run that were due before the workers came."""
    databases.fill(dsn, workers.QUEUE, jobs)
    with workers.workers(dsn, PROCESSES):
        began = time.perf_counter()
        workers.wait_until_finished(dsn, jobs)
        taken = time.perf_counter() - began
    workers.check_outcomes(dsn, jobs)
    return taken


def falling_due(dsn: str, jobs: int, lead: float) -> float:
    """Seconds, from when they are due, in which jobs are run that the workers wait for."""
    databases.fill(dsn, workers.QUEUE, jobs)
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute("select clock_timestamp()").fetchone()
        assert row is not None
        now: datetime = row[0]
        due_in = time.perf_counter() + lead
        connection.execute(_SCHEDULE, [now + timedelta(seconds=lead)])
        connection.execute("vacuum analyze m25.job")
    with workers.workers(dsn, PROCESSES):
        assert time.perf_counter() < due_in - 1, "too slow to have workers waiting in time"
        time.sleep(due_in - time.perf_counter())
        workers.wait_until_finished(dsn, jobs)
        taken = time.perf_counter() - due_in
    workers.check_outcomes(dsn, jobs)
    return taken


def main(*, quick: bool = False) -> list[report.Verdict]:
    jobs, lead, runs = (20_000, 8, 1) if quick else (200_000, 30, 3)
    with databases.server() as dsn:
        found = [
            {"backlog": backlog(dsn, jobs), "due": falling_due(dsn, jobs, lead)}
            for _ in range(runs)
        ]
        seconds = report.medians(found)
        report.show(
            f"{jobs:,} jobs, {PROCESSES} processes (median of {runs})",
            [
                ("", "s"),
                ("due before", f"{seconds['backlog']:.1f}"),
                ("falling due in one moment", f"{seconds['due']:.1f}"),
                ("ratio", f"{seconds['due'] / seconds['backlog']:.2f}"),
            ],
        )
        report.write("due", dsn, {"runs": found, "medians": seconds})
    return []
