"""S9 and S10: tables that are large, and tables that vacuum cannot clean.

S9   claiming one job, with many others pending, scheduled for later, or finished
S10  a drain while a transaction is held open for the whole of it ÷ one without
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import psycopg
import trio

from m25 import pg
from m25._store.postgres import PostgresStore

from . import databases, drain, report

FEW = 10_000

_INSERT = """
insert into m25.job (
    id, queue_name, input, timeout, attempt, max_attempts, priority, scheduled_at,
    reserved_at, started_at, finished_at
)
select gen_random_uuid(), 'drain', '{"to": "ada@home", "number": 1}', '5 minutes', 1, 1,
    %(priority)s, %(scheduled_at)s, %(at)s, %(at)s, %(at)s
from generate_series(1, %(jobs)s)
"""


def insert(
    dsn: str, jobs: int, *, priority: int = 0, later: bool = False, finished: bool = False
) -> None:
    """Add so many jobs to the table."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute("select now()").fetchone()
        assert row is not None
        connection.execute(
            _INSERT,
            {
                "jobs": jobs,
                "priority": priority,
                "scheduled_at": row[0] + timedelta(days=1) if later else None,
                "at": row[0] if finished else None,
            },
        )


def cost_of_a_claim(dsn: str, claims: int) -> float:
    """The median time of a claim of one job, in milliseconds."""

    async def run() -> float:
        async with pg.Pool(dsn, max_size=1, kwargs={"autocommit": True}) as pool:
            store = PostgresStore(pool, "m25")
            times: list[float] = []
            for _ in range(claims):
                began = time.perf_counter()
                rows = await store.claim(
                    "drain", token=str(uuid4()), limit=1, lease=timedelta(minutes=9), start=True
                )
                times.append(time.perf_counter() - began)
                assert len(rows) == 1
            return statistics.median(times) * 1e3

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("vacuum analyze m25.job")
        connection.execute("checkpoint")
    return trio.run(run)


@contextmanager
def transaction_held_open(dsn: str) -> Generator[None]:
    """Keep vacuum from cleaning up anything that dies from now on."""
    with psycopg.connect(dsn) as connection:
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("select txid_current()")
        yield


def main(*, quick: bool = False) -> list[report.Verdict]:
    many, finished, drained, claims = (
        (100_000, 200_000, 20_000, 100) if quick else (1_000_000, 5_000_000, 200_000, 400)
    )
    with databases.server() as dsn:
        costs: dict[str, float] = {}
        databases.fill(dsn, "drain", FEW)
        costs[f"{FEW:,} pending"] = base = cost_of_a_claim(dsn, claims)
        insert(dsn, many)
        costs[f"{many:,} pending"] = cost_of_a_claim(dsn, claims)
        databases.fill(dsn, "drain", FEW)
        insert(dsn, many, priority=-1, later=True)
        costs[f"{many:,} for later, at a higher priority"] = cost_of_a_claim(dsn, claims)
        databases.fill(dsn, "drain", FEW)
        insert(dsn, finished, finished=True)
        costs[f"{finished:,} finished"] = cost_of_a_claim(dsn, claims)
        report.show(
            "S9: claiming one job",
            [
                ("with", "ms", "ratio", "goal"),
                *((name, f"{ms:.2f}", f"{ms / base:.2f}", "≤ 1.2") for name, ms in costs.items()),
            ],
        )
        free = drain.drain(dsn, drained, 200)
        with transaction_held_open(dsn):
            held = drain.drain(dsn, drained, 200)
        report.show(
            f"S10: drain of {drained:,} jobs",
            [
                ("", "jobs/s", "time ÷ without", "goal"),
                ("without a transaction held open", f"{free:,.0f}", "1.00", ""),
                ("with one", f"{held:,.0f}", f"{free / held:.2f}", "≤ 2"),
            ],
        )
        verdicts = [
            *(
                report.at_most("S9", f"claiming a job with {name} ÷ with {FEW:,}", ms / base, 1.2)
                for name, ms in costs.items()
                if ms != base
            ),
            report.at_most("S10", "drain with a transaction held open, time", free / held, 2),
        ]
        report.write("tables", dsn, {"claim_ms": costs, "free": free, "held": held}, verdicts)
    return verdicts
