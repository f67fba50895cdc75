"""S12: eight worker processes on one database, beside one. The database being the limit, what they
do together must not fall.
"""

from __future__ import annotations

import time

from . import databases, report, workers


def drain(dsn: str, jobs: int, processes: int) -> float:
    """Run so many jobs in so many processes; return how many a second that were."""
    databases.fill(dsn, workers.QUEUE, jobs)
    with workers.workers(dsn, processes):
        began = time.perf_counter()
        workers.wait_until_finished(dsn, jobs)
        rate = jobs / (time.perf_counter() - began)
    workers.check_outcomes(dsn, jobs)
    return rate


def main(*, quick: bool = False) -> list[report.Verdict]:
    jobs, runs = (10_000, 1) if quick else (50_000, 3)
    with databases.server() as dsn:
        found = [
            {f"{processes}": drain(dsn, jobs, processes) for processes in (1, 8)}
            for _ in range(runs)
        ]
        rates = report.medians(found)
        report.show(
            f"S12: drain of {jobs:,} no-op jobs (median of {runs})",
            [("processes", "jobs/s"), *((name, f"{rate:,.0f}") for name, rate in rates.items())],
        )
        verdicts = [
            report.at_least("S12", "8 processes ÷ 1, total jobs/s", rates["8"] / rates["1"], 0.9)
        ]
        report.write("processes", dsn, {"runs": found, "medians": rates}, verdicts)
    return verdicts
