"""S4: one worker process drains no-op typed jobs, beside the same statements without any Python.

The ceiling is one plain connection, set up as a client's, that claims and settles in batches of
200, and does nothing with what it claims.
"""

from __future__ import annotations

import time
from uuid import uuid4

import attrs
import psycopg
import trio

import m25
from m25._store.parameters import array, plain_array
from m25._store.statements import SESSION, load_statements

from . import databases, report

BATCH = 200


@attrs.frozen
class Email:
    to: str
    number: int


def drain(dsn: str, jobs: int, max_concurrency: int) -> float:
    """Run so many jobs, and return how many a second that were."""
    left = jobs

    async def run() -> float:
        done = trio.Event()

        @m25.queue("drain", max_concurrency=max_concurrency)
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
        # The block is left when every result is written.
        return jobs / (time.perf_counter() - began)

    databases.fill(dsn, "drain", jobs)
    rate = trio.run(run)
    succeeded = databases.count(dsn, "succeeded")
    assert succeeded == jobs, f"{succeeded} of {jobs} jobs succeeded"
    early = out_of_order(dsn)
    assert early == 0, f"{early} jobs began before others that were ahead of them"
    return rate


def out_of_order(dsn: str) -> int:
    """How many jobs began before one that was ahead of them; with one worker there are none."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select count(*) from (select started_at, lag(started_at) over"
            " (order by priority, run_at, id) as before from m25.job) as began"
            " where started_at < before"
        ).fetchone()
        assert row is not None
        found: int = row[0]
        return found


def ceiling(dsn: str, jobs: int) -> float:
    """The same statements, one after the other; return how many jobs a second that were."""
    databases.fill(dsn, "drain", jobs)
    statements = load_statements("m25")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SESSION, {"backend_pid": connection.info.backend_pid})
        began = time.perf_counter()
        while True:
            token = str(uuid4())
            claim = {"queue_name": "drain", "claim_token": token, "limit": str(BATCH)}
            rows = connection.execute(
                statements["claim"], {**claim, "lease": "20 seconds", "start": "true"}
            ).fetchall()
            if not rows:
                break
            connection.execute(
                statements["succeed"],
                {
                    "id": plain_array(row[0] for row in rows),
                    "claim_token": plain_array([token] * len(rows)),
                    "output": array(["1"] * len(rows)),
                    "notifies": "true",
                },
            )
        rate = jobs / (time.perf_counter() - began)
    assert databases.count(dsn, "succeeded") == jobs
    return rate


def main(*, quick: bool = False) -> list[report.Verdict]:
    jobs, runs = (5_000, 1) if quick else (50_000, 3)
    with databases.server() as dsn:
        found = [
            {
                "ceiling": ceiling(dsn, jobs),
                **{f"max_concurrency={n}": drain(dsn, jobs, n) for n in (10, 100, 500)},
            }
            for _ in range(runs)
        ]
        rates = report.medians(found)
        report.show(
            f"S4: drain of {jobs} no-op jobs, one process, history kept (median of {runs})",
            [
                ("", "jobs/s", "÷ ceiling"),
                *(
                    (name, f"{rate:,.0f}", f"{rate / rates['ceiling']:.2f}")
                    for name, rate in rates.items()
                ),
            ],
        )
        verdicts = [
            report.at_least(
                "S4",
                "drain at max_concurrency=100 ÷ the SQL ceiling",
                rates["max_concurrency=100"] / rates["ceiling"],
                0.6,
            )
        ]
        report.write("drain", dsn, {"runs": found, "medians": rates}, verdicts)
    return verdicts
