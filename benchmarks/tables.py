"""S9 and S10: tables that are large, and tables that vacuum cannot clean.

S9   claiming one job, with many others pending, scheduled for later, or finished
S10  a drain while a transaction is held open for the whole of it ÷ one without

and how fast jobs are run that are at the head of a short backlog, and of a long one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import attrs
import psycopg
import trio

import m25
from m25 import migrations, pg
from m25._store.postgres import PostgresStore, prepare_connection

from . import databases, drain, report

FEW = 10_000
QUEUE = "tables"

# The ids come in the order of insertion, as those that `enqueue` makes.
_INSERT = """
insert into {schema}.job (
    id, queue_name, input, timeout, attempt, max_attempts, priority, scheduled_at,
    reserved_at, started_at, finished_at
)
select
    (lpad(to_hex(number), 12, '0') || right(md5(random()::text), 20))::uuid,
    %(queue_name)s, '{{"to": "ada@home", "number": 1}}', '5 minutes', 1, 1,
    %(priority)s, %(scheduled_at)s, %(at)s, %(at)s, %(at)s
from generate_series(%(first)s, %(first)s + %(jobs)s - 1) as number
"""


@attrs.frozen
class Table:
    """The job table of a schema of its own, so that tables of every kind can take turns."""

    dsn: str
    schema: str

    def insert(
        self, jobs: int, *, first: int = 0, later: bool = False, finished: bool = False
    ) -> None:
        """Add so many jobs; those for later have a priority that comes before the others'."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            row = connection.execute("select now()").fetchone()
            assert row is not None
            connection.execute(
                _INSERT.format(schema=self.schema),  # type: ignore[arg-type]
                {
                    "queue_name": QUEUE,
                    "first": first,
                    "jobs": jobs,
                    "priority": -1 if later else 0,
                    "scheduled_at": row[0] + timedelta(days=1) if later else None,
                    "at": row[0] if finished else None,
                },
            )

    def settle(self) -> None:
        """Leave the server nothing to do for what was inserted."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"vacuum analyze {self.schema}.job")  # type: ignore[arg-type]
            connection.execute("checkpoint")

    def cost_of_a_claim(self, claims: int) -> float:
        """The median time of a claim of one job, in milliseconds."""
        return trio.run(self._time_claims, claims)

    async def _time_claims(self, claims: int) -> float:
        async with pg.Pool(
            self.dsn, max_size=1, configure=prepare_connection, kwargs={"autocommit": True}
        ) as pool:
            store = PostgresStore(pool, self.schema)
            await store.check_version()
            times: list[float] = []
            for _ in range(claims):
                began = time.perf_counter()
                rows = await store.claim(
                    QUEUE, token=str(uuid4()), limit=1, lease=timedelta(minutes=9), start=True
                )
                times.append(time.perf_counter() - began)
                assert len(rows) == 1
            return statistics.median(times) * 1e3

    def rate(self, jobs: int) -> float:
        """Run so many of the jobs in one process, and return how many a second that were."""
        return trio.run(self._run, jobs)

    async def _run(self, jobs: int) -> float:
        left = jobs
        done = trio.Event()

        @m25.queue(QUEUE, max_concurrency=100)
        async def handler(email: drain.Email) -> int:
            nonlocal left
            left -= 1
            if left == 0:
                done.set()
            return email.number

        async with m25.open(self.dsn, schema=self.schema) as m:
            m.add_queue(handler)
            began = time.perf_counter()
            await m.start()
            await done.wait()
            taken = time.perf_counter() - began
        return jobs / taken

    def empty(self) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"truncate {self.schema}.job")  # type: ignore[arg-type]

    def count(self) -> dict[str, int]:
        """How many jobs there are of each status."""
        with psycopg.connect(self.dsn) as connection:
            return dict(
                connection.execute(
                    f"select status, count(*) from {self.schema}.job group by status"  # type: ignore[arg-type]
                ).fetchall()
            )


async def make(dsn: str, schema: str) -> Table:
    """A table of this schema, with few pending jobs."""
    async with await pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await migrations.apply(connection, schema)
    table = Table(dsn, schema)
    table.insert(FEW)
    return table


@contextmanager
def transaction_held_open(dsn: str) -> Generator[None]:
    """Keep vacuum from cleaning up anything that dies from now on."""
    with psycopg.connect(dsn) as connection:
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("select txid_current()")
        yield


def claims(dsn: str, many: int, finished: int, asked: int, runs: int) -> list[dict[str, float]]:
    """What a claim costs in tables of every kind, which take turns, in milliseconds."""
    tables = {
        name: trio.run(make, dsn, schema)
        for name, schema in (
            (f"{FEW:,} pending", "few"),
            (f"{many:,} pending", "pending"),
            (f"{many:,} for later, at a higher priority", "later"),
            (f"{finished:,} finished", "finished"),
        )
    }
    _, pending, later, done = tables.values()
    pending.insert(many - FEW, first=FEW)
    later.insert(many, first=FEW, later=True)
    done.insert(finished, first=FEW, finished=True)
    for table in tables.values():
        table.settle()
    found = [
        {name: table.cost_of_a_claim(asked) for name, table in tables.items()} for _ in range(runs)
    ]
    for table in tables.values():
        assert table.count()["executing"] == asked * runs
    return found


def backlogs(dsn: str, sizes: tuple[int, ...], jobs: int) -> dict[str, float]:
    """Jobs a second at the head of backlogs of these sizes."""
    rates: dict[str, float] = {}
    table = Table(dsn, "m25")
    for size in sizes:
        table.empty()
        table.insert(size)
        table.settle()
        rates[f"{size:,}"] = table.rate(jobs)
        found = table.count()
        assert found.keys() <= {"succeeded", "pending"}
        assert found["succeeded"] >= jobs
        assert sum(found.values()) == size
    return rates


def main(*, quick: bool = False) -> list[report.Verdict]:
    many, finished, drained, asked, runs = (
        (100_000, 200_000, 20_000, 100, 1) if quick else (1_000_000, 5_000_000, 200_000, 400, 3)
    )
    sizes, head = ((5_000, many), 5_000) if quick else ((20_000, 100_000, many), 20_000)
    with databases.server() as dsn:
        costs = report.medians(found := claims(dsn, many, finished, asked, runs))
        base = costs[f"{FEW:,} pending"]
        report.show(
            f"S9: claiming one job (median of {runs})",
            [
                ("with", "ms", "ratio", "goal"),
                *((name, f"{ms:.2f}", f"{ms / base:.2f}", "≤ 1.2") for name, ms in costs.items()),
            ],
        )
        drains: list[dict[str, float]] = []
        for _ in range(runs):
            free = drain.drain(dsn, drained, 200)
            with transaction_held_open(dsn):
                drains.append({"free": free, "held": drain.drain(dsn, drained, 200)})
        rates = report.medians(drains)
        free, held = rates["free"], rates["held"]
        report.show(
            f"S10: drain of {drained:,} jobs (median of {runs})",
            [
                ("", "jobs/s", "time ÷ without", "goal"),
                ("without a transaction held open", f"{free:,.0f}", "1.00", ""),
                ("with one", f"{held:,.0f}", f"{free / held:.2f}", "≤ 2"),
            ],
        )
        heads = report.medians([backlogs(dsn, sizes, head) for _ in range(runs)])
        report.show(
            f"the first {head:,} jobs of a backlog, one process (median of {runs})",
            [
                ("a backlog of", "jobs/s"),
                *((size, f"{rate:,.0f}") for size, rate in heads.items()),
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
        figures = {
            "runs": {"claim_ms": found, "drain": drains},
            "claim_ms": costs,
            "free": free,
            "held": held,
            "backlog": heads,
        }
        report.write("tables", dsn, figures, verdicts)
    return verdicts
