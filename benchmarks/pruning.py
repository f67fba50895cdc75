"""P12: old jobs are deleted while others are claimed and run.

How many rows a second are pruned, of jobs of two attempts each; what a claim of one job costs
beside that, and beside as many rows that stay; and how fast a worker runs jobs meanwhile.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import trio

import m25
from m25._keep import Keep

from . import databases, report
from .tables import Table, make

#: The finished rows are those of this queue, in the same table.
_OLD = "old"
_KEEP = Keep(succeeded=timedelta(days=7), failed=timedelta(days=7))

# Of two attempts each; the ids come in the order of insertion, as those that `enqueue` makes.
_INSERT = """
insert into {schema}.job (
    id, queue_name, input, timeout, attempt, max_attempts, original_attempt_id, previous_attempt_id,
    created_at, reserved_at, started_at, finished_at, failure_reason
)
select
    (lpad(to_hex(2 * number + attempt), 12, '0') || left(md5(number::text), 20))::uuid,
    'old', '{{"to": "ada@home", "number": 1}}', '5 minutes', attempt, 2,
    case when attempt = 2 then first.id end,
    case when attempt = 2 then first.id end,
    at, at, at, at, case when attempt = 1 then 'crash' end
from generate_series(1, %(jobs)s) as number,
    lateral (
        select (lpad(to_hex(2 * number + 1), 12, '0') || left(md5(number::text), 20))::uuid as id
    ) as first,
    generate_series(1, 2) as attempt,
    (select now() - interval '8 days' as at) as times
"""


def _fill(table: Table, jobs: int) -> None:
    with psycopg.connect(table.dsn, autocommit=True) as connection:
        connection.execute(
            _INSERT.format(schema=table.schema),  # type: ignore[arg-type]
            {"jobs": jobs},
        )
    table.settle()


def _prune(dsn: str, schema: str) -> None:
    """What a process of its own does until it is killed, or nothing is left."""

    @m25.queue(_OLD)
    async def old(_: object) -> None: ...

    async def run() -> None:
        async with m25.open(dsn, schema=schema) as m:
            await m.prune(old, _KEEP)

    trio.run(run)


@contextmanager
def _pruning(table: Table, jobs: int) -> Generator[multiprocessing.process.BaseProcess]:
    process = multiprocessing.get_context("spawn").Process(
        target=_prune, args=(table.dsn, table.schema)
    )
    process.start()
    try:
        while table.count().get("failed", 0) == jobs:
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.join()


def main(*, quick: bool = False) -> list[report.Verdict]:
    jobs, claims = (50_000, 300) if quick else (500_000, 2_000)
    with databases.server() as dsn:
        idle = trio.run(make, dsn, "idle")
        idle.settle()
        table = trio.run(make, dsn, "busy")
        _fill(table, jobs)
        figures = {"empty": idle.cost_of_a_claim(claims), "full": table.cost_of_a_claim(claims)}
        rate_idle = idle.rate(5_000)
        with _pruning(table, jobs) as process:
            figures["pruning"] = table.cost_of_a_claim(claims)
            rate_pruning = table.rate(5_000)
            assert process.is_alive(), "too few jobs to be pruned for as long as that"
        left = _rows(table)
        began = time.perf_counter()
        _prune(table.dsn, table.schema)
        taken = time.perf_counter() - began
        pruned = left - _rows(table)
        verdicts = [
            report.at_most(
                "P12",
                "a claim beside pruning ÷ on a table without",
                figures["pruning"] / figures["empty"],
                1.2,
            )
        ]
        report.show(
            f"{2 * jobs:,} rows that ended long ago",
            [
                ("", ""),
                ("claim of one job, few rows", f"{figures['empty']:.2f} ms"),
                ("beside old rows", f"{figures['full']:.2f} ms"),
                ("while these are pruned", f"{figures['pruning']:.2f} ms"),
                ("jobs/s of a worker, few rows", f"{rate_idle:,.0f}"),
                ("while old rows are pruned", f"{rate_pruning:,.0f}"),
                ("rows/s pruned, with rests", f"{pruned / taken:,.0f}"),
            ],
        )
        report.write(
            "pruning",
            dsn,
            {
                **figures,
                "rate_idle": rate_idle,
                "rate_pruning": rate_pruning,
                "rows": pruned / taken,
            },
            verdicts,
        )
    return verdicts


def _rows(table: Table) -> int:
    return sum(table.count().values())
