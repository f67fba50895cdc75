"""P12: claims and drains beside ten million finished rows, and while a million of them are deleted.

What a claim of one job costs, and how many jobs a second a worker runs: on a table of few rows, on
one with the finished rows, and on that while old jobs of two attempts each are pruned. These take
turns; the pruning process is stopped for as long as it is not to count. Then how many rows a second
are pruned, and what it would cost to move rows into an archive that is partitioned by time, whose
partitions are dropped, beside what it costs to delete them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta

import attrs
import psycopg
import trio

import m25
from m25._keep import Keep

from . import databases, report
from .tables import FEW, Table, make

#: The old rows are those of this queue, in the same table.
_OLD = "old"
_KEEP = Keep(succeeded=timedelta(days=7), failed=timedelta(days=7))

# Of two attempts each; the ids come in the order of insertion, as those that `enqueue` makes.
_INSERT = """
insert into {schema}.job (
    id, queue_name, input, timeout, attempt, max_attempts, original_attempt_id, previous_attempt_id,
    created_at, reserved_at, started_at, finished_at, failure_reason
)
select
    (lpad(to_hex(%(first)s + 2 * number + attempt), 12, '0') || left(md5(number::text), 20))::uuid,
    'old', '{{"to": "ada@home", "number": 1}}', '5 minutes', attempt, 2,
    case when attempt = 2 then first.id end,
    case when attempt = 2 then first.id end,
    at, at, at, at, case when attempt = 1 then 'crash' end
from generate_series(1, %(jobs)s) as number,
    lateral (
        select (
            lpad(to_hex(%(first)s + 2 * number + 1), 12, '0') || left(md5(number::text), 20)
        )::uuid as id
    ) as first,
    generate_series(1, 2) as attempt,
    (select now() - interval '8 days' as at) as times
"""

# As a partition of an archive would be: `get_job` finds rows by their ids, and attempts of one job.
_ARCHIVE = """
create table {schema}.archive (like {schema}.job) partition by range (finished_at);
create table {schema}.archived partition of {schema}.archive
    for values from ('2000-01-01Z') to ('2100-01-01Z');
create index on {schema}.archive (id);
create index on {schema}.archive (original_attempt_id) where original_attempt_id is not null;
"""
_GONE = """
delete from {schema}.job
where id = any(array(
    select id from {schema}.job
    where status = 'failed' and queue_name = 'old' and id > '00000000-0000-0000-0000-000000000000'
    order by id limit 500
))
"""
_MOVED = "with gone as ({gone} returning *) insert into {{schema}}.archive select * from gone"


@attrs.frozen
class _Sizes:
    kept: int
    #: Old jobs; each has two rows.
    old: int
    #: Pending jobs, of which each turn takes some.
    pending: int
    #: Claims are timed in short turns: a machine that others use is at one speed for some seconds.
    turns_of_claims: int
    claims: int
    turns_of_drains: int
    drained: int
    #: For how long pruning is timed, in seconds.
    seconds: float
    #: Rows that are deleted, and as many that are moved.
    moved: int


_FULL = _Sizes(9_000_000, 500_000, 80_000, 21, 100, 9, 4_000, 60, 50_000)
_QUICK = _Sizes(400_000, 50_000, 20_000, 7, 50, 1, 3_000, 10, 5_000)


def _fill(table: Table, sizes: _Sizes) -> None:
    table.insert(sizes.pending - FEW, first=FEW)
    # Ids of old rows come before those of younger ones.
    first = sizes.pending
    with psycopg.connect(table.dsn, autocommit=True) as connection:
        connection.execute(
            _INSERT.format(schema=table.schema),
            {"jobs": sizes.old, "first": first},
        )
    table.insert(sizes.kept, first=first + 2 * sizes.old + 3, finished=True)
    table.settle()


def _end_claimed(table: Table) -> None:
    """Else they are swept and run again, once their leases are over, on top of what is timed."""
    with psycopg.connect(table.dsn, autocommit=True) as connection:
        connection.execute(
            f"update {table.schema}.job set finished_at = now() where reserved_at is not null"
            " and finished_at is null and cancelled_at is null"
        )


def _old_jobs(table: Table) -> int:
    """How many are left: those that have failed at first, which an index has."""
    with psycopg.connect(table.dsn) as connection:
        (number,) = connection.execute(
            f"select count(*) from {table.schema}.job"
            " where status = 'failed' and queue_name = 'old'"
        ).fetchone() or (0,)
        assert isinstance(number, int)
        return number


def _prune(dsn: str, schema: str) -> None:
    """What a process of its own does until it is killed, or nothing is left."""

    @m25.queue(_OLD)
    async def old(_: object) -> None: ...

    async def run() -> None:
        async with m25.open(dsn, schema=schema) as m:
            await m.prune(old, _KEEP)

    trio.run(run)


@attrs.frozen
class _Pruning:
    """The process that prunes; it stands still but within `going_on`."""

    process: multiprocessing.process.BaseProcess

    @contextmanager
    def going_on(self) -> Generator[None]:
        self._send(signal.SIGCONT)
        yield
        assert self.process.is_alive(), "too few jobs to be pruned for as long as that"
        self._send(signal.SIGSTOP)
        # What its last statement does on the server is no part of what follows.
        time.sleep(0.5)

    def _send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)


@contextmanager
def _pruning(table: Table, jobs: int) -> Generator[_Pruning]:
    process = multiprocessing.get_context("spawn").Process(
        target=_prune, args=(table.dsn, table.schema)
    )
    process.start()
    try:
        while _old_jobs(table) == jobs:
            time.sleep(0.05)
        pruning = _Pruning(process)
        with pruning.going_on():
            pass
        yield pruning
    finally:
        process.kill()
        process.join()


def _take_turns(
    turns: int, measure: Callable[[Table], float], few: Table, many: Table, pruning: _Pruning
) -> list[dict[str, float]]:
    """What was measured in each turn; every second turn goes the other way round."""

    def while_pruning() -> float:
        with pruning.going_on():
            return measure(many)

    ways = {"few": lambda: measure(few), "many": lambda: measure(many), "pruning": while_pruning}
    found: list[dict[str, float]] = []
    for turn in range(turns):
        order = list(ways) if turn % 2 == 0 else list(reversed(ways))
        measured = {name: ways[name]() for name in order}
        found.append({name: measured[name] for name in ways})
    return found


def _ratios(turns: list[dict[str, float]]) -> dict[str, float]:
    """The medians of what was measured ÷ on the table of few rows, in the same turn."""
    return report.medians([{name: turn[name] / turn["few"] for name in turn} for turn in turns])


def _rows_pruned(table: Table, pruning: _Pruning, seconds: float) -> float:
    """How many rows a second."""
    before, began = _old_jobs(table), time.perf_counter()
    with pruning.going_on():
        time.sleep(seconds)
        taken = time.perf_counter() - began
        after = _old_jobs(table)
    return 2 * (before - after) / taken


def _cost_of_rows(table: Table, statement: str, rows: int) -> tuple[float, float]:
    """Rows a second of a statement that is repeated, and bytes of WAL a row."""
    with psycopg.connect(table.dsn, autocommit=True) as connection:

        def position() -> int:
            query = "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
            return int((connection.execute(query).fetchone() or (0,))[0])

        connection.execute("checkpoint")
        done, written, began = 0, position(), time.perf_counter()
        while done < rows:
            cursor = connection.execute(statement.format(schema=table.schema))
            assert cursor.rowcount > 0, "too few rows"
            done += cursor.rowcount
        return done / (time.perf_counter() - began), (position() - written) / done


def _archive(table: Table, rows: int) -> dict[str, float]:
    """What deleting costs, and what moving does, and dropping what was moved."""
    deleted, wal_of_deleted = _cost_of_rows(table, _GONE, rows)
    with psycopg.connect(table.dsn, autocommit=True) as connection:
        connection.execute(_ARCHIVE.format(schema=table.schema))
        moved, wal_of_moved = _cost_of_rows(table, _MOVED.format(gone=_GONE), rows)
        began = time.perf_counter()
        connection.execute(f"drop table {table.schema}.archived")
        dropped = time.perf_counter() - began
    return {
        "deleted": deleted,
        "moved": moved,
        "WAL of a deleted row": wal_of_deleted,
        "WAL of a moved row": wal_of_moved,
        "seconds to drop": dropped,
    }


def main(*, quick: bool = False) -> list[report.Verdict]:
    sizes = _QUICK if quick else _FULL
    with databases.server() as dsn:
        few = trio.run(make, dsn, "few")
        few.insert(sizes.pending - FEW, first=FEW)
        few.settle()
        many = trio.run(make, dsn, "many")
        _fill(many, sizes)
        with _pruning(many, sizes.old) as pruning:
            tables = few, many, pruning
            claims = _take_turns(
                sizes.turns_of_claims, lambda table: table.cost_of_a_claim(sizes.claims), *tables
            )
            _end_claimed(few)
            _end_claimed(many)
            drains = _take_turns(
                sizes.turns_of_drains, lambda table: table.rate(sizes.drained), *tables
            )
            pruned = _rows_pruned(many, pruning, sizes.seconds)
        archive = _archive(many, sizes.moved)
        claim, drain = report.medians(claims), report.medians(drains)
        claim_ratios, drain_ratios = _ratios(claims), _ratios(drains)
        report.show(
            f"{sizes.kept + 2 * sizes.old:,} finished rows, of which {2 * sizes.old:,} are old"
            f" (medians of {sizes.turns_of_claims} turns with claims, {sizes.turns_of_drains} with"
            " drains)",
            [
                ("", "few rows", "with them", "while these are pruned"),
                ("claim of one job, ms", *(f"{each:.2f}" for each in claim.values())),
                (
                    "÷ few rows, in the same turn",
                    *(f"{each:.2f}" for each in claim_ratios.values()),
                ),
                ("jobs/s of a worker", *(f"{each:,.0f}" for each in drain.values())),
                (
                    "÷ few rows, in the same turn",
                    *(f"{each:.2f}" for each in drain_ratios.values()),
                ),
            ],
        )
        report.show(
            "rows that go",
            [
                ("", "rows/s", "WAL of one"),
                ("pruned, with rests", f"{pruned:,.0f}", ""),
                (
                    "deleted, without rests or looking for trees",
                    f"{archive['deleted']:,.0f}",
                    f"{archive['WAL of a deleted row']:,.0f} B",
                ),
                (
                    "moved into an archive, likewise",
                    f"{archive['moved']:,.0f}",
                    f"{archive['WAL of a moved row']:,.0f} B",
                ),
            ],
        )
        print(f"dropping the archive's partition took {archive['seconds to drop']:.3f} s")
        verdicts = [
            report.at_most(
                "P12",
                "a claim beside old rows that are pruned ÷ on a table of few rows",
                claim_ratios["pruning"],
                1.2,
            )
        ]
        report.write(
            "retention",
            dsn,
            {
                "runs": {"claim_ms": claims, "jobs_a_second": drains},
                "claim": claim_ratios,
                "drain": drain_ratios,
                "rows pruned a second": pruned,
                **archive,
            },
            verdicts,
        )
    return verdicts
