"""What a job costs, in figures that no clock takes: they are the same on a machine that is busy.

    python -m benchmarks cost       what each phase of a job costs, beside the figures that are kept
    python -m benchmarks.cost       the same, and the figures are kept from now on

The figures are a job's share: WAL, full-page images included, since each phase begins after a
checkpoint; buffers that the server touched; statements, round trips and transactions that wrote.
`cost.json` has those that were kept last, and a test compares: what makes them change is either a
mistake, or to be kept with the change that has made it. Where valgrind is there, the instructions
are counted, too, that a worker's process takes for a job.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import psycopg
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from m25 import pg
from m25._ids import IdSource
from m25._store.postgres import PostgresStore, prepare_connection
from m25._store.protocol import ClaimedJob, NewJob, Outcome

from . import databases, report, wire
from .driver import QUEUE as QUEUE_OF_DRIVER
from .revision import DRIVER, ROOT

KEPT = Path(__file__).with_name("cost.json")
SETTINGS = {**databases.SETTINGS, "autovacuum": "off", "checkpoint_timeout": "1d"}

#: Phases, and of each the figures of a job.
Figures: TypeAlias = dict[str, dict[str, float]]

#: Those that depend on nothing but what m25 asks: a test holds them to be as they were. How many
#: buffers are touched depends on the order of random tokens in an index, too.
COMPARED = ("WAL", "statements", "round trips", "commits")

QUEUE = "costs"
JOBS = 400
#: Jobs that one statement is about, in a worker that is busy.
BATCH = 100

_LEASE = timedelta(minutes=9)
_COUNTERS = """
select
    pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as "WAL",
    (blks_hit + blks_read)::float8 as buffers,
    pg_snapshot_xmax(pg_current_snapshot())::text::float8 as commits
from pg_stat_database
where datname = %(database)s
"""


class _Phases:
    """The life of some jobs, phase by phase; each is measured from one connection's first statement
    to its end, but for what a connection costs that does nothing.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._make_id = IdSource()
        self._claims: list[ClaimedJob] = []
        self._nothing: dict[str, float] = {}
        self.figures: Figures = {}

    async def run(self) -> None:
        """Measure all."""
        await trio.to_thread.run_sync(self._tidy)
        # The first connection after that finds nothing in the server's own caches.
        await self._measure(self._do_nothing)
        self._nothing = await self._measure(self._do_nothing)
        half = JOBS // 2
        await self._phase("enqueue, one by one", half, self._enqueue)
        await self._phase("enqueue, together", half, self._enqueue_together)
        await self._phase("claim", JOBS, self._claim)
        await self._phase("heartbeat", JOBS, self._heartbeat)
        await self._phase("settle, succeeded", half, self._succeed)
        await self._phase("settle, failed and retried", half, self._fail)

    async def _phase(
        self, name: str, jobs: int, work: Callable[[PostgresStore], Awaitable[None]]
    ) -> None:
        found = await self._measure(work)
        self.figures[name] = {
            figure: round((found[figure] - self._nothing[figure]) / jobs, 3) for figure in found
        }

    async def _measure(self, work: Callable[[PostgresStore], Awaitable[None]]) -> dict[str, float]:
        async with wire.tapped(self._dsn) as tap:
            before = await trio.to_thread.run_sync(partial(self._counters, checkpoint=True))
            async with _store(tap.dsn) as store:
                await work(store)
            after = await trio.to_thread.run_sync(self._counters)
            found = {name: after[name] - before[name] for name in after}
            return {**found, "statements": tap.statements, "round trips": tap.round_trips}

    def _tidy(self) -> None:
        # Who first reads a row that a migration has written notes on its page that it is committed.
        # Where pages have checksums, an image of the page is written: that is no cost of a job.
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute("vacuum")

    def _counters(self, *, checkpoint: bool = False) -> dict[str, float]:
        """Read the server's counters once nobody is connected, and maybe after a checkpoint."""
        # From beside: what this connection does is not to count.
        beside = make_conninfo(self._dsn, dbname="template1")
        database = conninfo_to_dict(self._dsn)["dbname"]
        with psycopg.connect(beside, autocommit=True) as connection:
            # With the end of a connection its counters are right.
            others = "select count(*) from pg_stat_activity where datname = %s"
            while connection.execute(others, [database]).fetchone() != (0,):
                time.sleep(0.01)
            if checkpoint:
                connection.execute("checkpoint")
            row = connection.execute(_COUNTERS, {"database": database}).fetchone()
            assert row is not None
        return dict(zip(("WAL", "buffers", "commits"), row, strict=True))

    def _new_jobs(self, count: int) -> list[NewJob]:
        return [
            NewJob(
                id=self._make_id(),
                queue_name=QUEUE,
                input='{"to": "ada@home", "number": 1}',
                scheduled_at=None,
                timeout=timedelta(minutes=5),
                max_attempts=2,
                retry_delay=timedelta(0),
                unique_key=None,
                priority=0,
                meta=None,
            )
            for _ in range(count)
        ]

    async def _do_nothing(self, _: PostgresStore) -> None:
        await trio.lowlevel.checkpoint()

    async def _enqueue(self, store: PostgresStore) -> None:
        for job in self._new_jobs(JOBS // 2):
            await store.enqueue([job], [])

    async def _enqueue_together(self, store: PostgresStore) -> None:
        for _ in range(JOBS // 2 // BATCH):
            await store.enqueue(self._new_jobs(BATCH), [QUEUE])

    async def _claim(self, store: PostgresStore) -> None:
        for _ in range(JOBS // BATCH):
            token = str(uuid4())
            rows = await store.claim(QUEUE, token=token, limit=BATCH, lease=_LEASE, start=True)
            self._claims += [ClaimedJob(row.id, token) for row in rows]
        assert len(self._claims) == JOBS

    async def _heartbeat(self, store: PostgresStore) -> None:
        for claims in _batches(self._claims):
            await store.heartbeat(claims, _LEASE, _LEASE)

    async def _succeed(self, store: PostgresStore) -> None:
        for claims in _batches(self._claims[: JOBS // 2]):
            outcomes = [
                Outcome(*claim, None, "1", None, None, None, None, None) for claim in claims
            ]
            await store.settle(outcomes, 3)

    async def _fail(self, store: PostgresStore) -> None:
        for claims in _batches(self._claims[JOBS // 2 :]):
            outcomes = [
                Outcome(
                    *claim, "crash", None, None, "ValueError", "no", "Traceback …", self._make_id()
                )
                for claim in claims
            ]
            await store.settle(outcomes, 3)


def _batches(claims: Sequence[ClaimedJob]) -> list[Sequence[ClaimedJob]]:
    return [claims[first : first + BATCH] for first in range(0, len(claims), BATCH)]


@asynccontextmanager
async def _store(dsn: str) -> AsyncGenerator[PostgresStore]:
    async with pg.Pool(
        dsn, max_size=1, configure=prepare_connection, kwargs={"autocommit": True}
    ) as pool:
        store = PostgresStore(pool, "m25")
        await store.check_version()
        yield store


def measure(dsn: str) -> Figures:
    """What each phase of a job costs, in an empty database that nobody else uses."""
    phases = _Phases(dsn)
    trio.run(phases.run)
    return phases.figures


def kept() -> Figures:
    """The figures that were kept last."""
    found: Figures = json.loads(KEPT.read_text(encoding="utf-8"))
    return found


def instructions(dsn: str, jobs: int) -> float | None:
    """How many instructions a worker's process takes to drain one more job, if valgrind is here."""
    if shutil.which("valgrind") is None:
        return None
    counted: list[int] = []
    for number in (jobs, 2 * jobs):
        databases.fill(dsn, QUEUE_OF_DRIVER, number)
        command = [
            *("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"),
            *(sys.executable, "-P", str(DRIVER), "drain", str(ROOT / "src"), dsn, str(number)),
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": "0"}
        ran = subprocess.run(
            command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, check=True
        )
        found = re.search(rb"I\s+refs:\s+([\d,]+)", ran.stderr)
        assert found is not None, ran.stderr
        counted.append(int(found[1].replace(b",", b"")))
    return (counted[1] - counted[0]) / jobs


def main(*, quick: bool = False, keep: bool = False) -> list[report.Verdict]:
    with databases.server(SETTINGS) as dsn:
        figures = measure(dsn)
        before = kept() if KEPT.exists() else {}
        names = list(next(iter(figures.values())))
        rows = [("a job's share of", *(f"{name}, before" for name in names))]
        for phase, found in figures.items():
            old = before.get(phase, {})
            cells = (f"{found[name]:,g}, {old.get(name, math.nan):,g}" for name in names)
            rows.append((phase, *cells))
        report.show(f"{JOBS} jobs, {BATCH} in a statement", rows)
        worker = None if quick else instructions(dsn, 5 * JOBS)
        if worker is not None:
            print(
                f"\n{worker / 1000:,.1f} thousand instructions of a worker's process to drain one"
            )
        report.write("cost", dsn, {"phases": figures, "instructions": worker})
    if keep:
        KEPT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return []


if __name__ == "__main__":
    main(quick=True, keep=True)
