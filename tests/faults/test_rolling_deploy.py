"""A newer m25 migrates the database while processes of this one run, and are started again."""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

import m25
from m25 import migrations
from support.databases import ADDITION, upgrade
from support.original import CANCEL, INSERT, PROMOTE, RESERVE, SUCCEED
from support.processes import worker
from support.waiting import ended, eventually, rows

from . import journal as journals
from .checker import WITNESS, runs, violations
from .journal import Journal
from .program import ALLOWED_LOSSES, MAX_CONCURRENCY, make_job, make_queue
from .torture import read_rows, read_tokens


@m25.queue("sleeps")
async def sleeps(seconds: float) -> int:
    raise AssertionError("run by the worker")


@asynccontextmanager
async def working(dsn: str, directory: Path, name: str) -> AsyncGenerator[trio.Process]:
    """A worker process that keeps a journal."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "faults.program", "worker", dsn, str(directory), name, "0"],
        cwd=Path(__file__).parents[1],
        # Leases of half a minute: none is lost where a process stands still for a while.
        env={**os.environ, "M25_TEST_MISSES": "59"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def keep_asking(
    dsn: str,
    directory: Path,
    name: str,
    *,
    task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Be a client that puts jobs on the queue, no more than one worker can run."""
    journal, rng = Journal(directory, name), random.Random(name)
    queue = make_queue(journal)
    with trio.CancelScope() as scope:
        async with m25.open(dsn) as m:
            task_status.started(scope)
            while True:
                # None occupies a slot for long.
                how_many = rng.choice((1, 1, 3))
                jobs = [make_job(rng).with_timeout(0.5) for _ in range(how_many)]
                ids = [str(job.id) for job in jobs]
                journal.write("asked", jobs=ids)
                try:
                    if len(jobs) == 1:
                        await m.enqueue(queue, jobs[0])
                    else:
                        await m.enqueue_many(queue, jobs)
                except m25.UniqueKeyConflict:
                    continue
                journal.write("acknowledged", jobs=ids)
                await trio.sleep(0.015)


async def count(dsn: str, *statuses: str) -> int:
    statement = "select count(*) from m25.job where status = any(%(statuses)s)"
    (row,) = await rows(dsn, statement, statuses=list(statuses))
    found: int = row["count"]
    return found


async def until_more_succeeded(dsn: str) -> None:
    """Wait until a hundred jobs more have succeeded than now."""
    before = await count(dsn, "succeeded")

    async def look() -> bool:
        return await count(dsn, "succeeded") >= before + 100

    await eventually(look)


@pytest.mark.slow
async def test_processes_of_before_a_migration_go_on_and_can_be_started_again_after_it(
    dsn: str, tmp_path: Path
) -> None:
    await rows(dsn, WITNESS)

    async def second_is_at_work() -> bool:
        journal = journals.read(tmp_path)
        return any(each.process == "second" and each.event == "ended" for each in journal)

    async def none_is_left() -> bool:
        return await count(dsn, "pending", "reserved", "executing") == 0

    async with working(dsn, tmp_path, "first") as first, trio.open_nursery() as nursery:
        client = await nursery.start(keep_asking, dsn, tmp_path, "client")
        await until_more_succeeded(dsn)
        await upgrade(dsn, ADDITION, works_from=migrations.latest_version())
        await until_more_succeeded(dsn)
        async with working(dsn, tmp_path, "second") as second:
            other = await nursery.start(keep_asking, dsn, tmp_path, "other client")
            await eventually(second_is_at_work)
            client.cancel()
            first.terminate()
            assert await first.wait() == 0
            await until_more_succeeded(dsn)
            other.cancel()
            await eventually(none_is_left)
            second.terminate()
            assert await second.wait() == 0
    found, journal = await read_rows(dsn), journals.read(tmp_path)
    problems = violations(
        found,
        journal,
        await rows(dsn, "select * from witness"),
        await read_tokens(dsn),
        max_concurrency=MAX_CONCURRENCY,
        allowed_losses=ALLOWED_LOSSES,
    )
    assert problems == []
    # No attempt was lost, and none was run to its end by two.
    assert sum(row.losses for row in found) == 0
    finished = Counter(run.job_id for run in runs(found, journal) if run.ended)
    assert set(finished.values()) == {1}


async def test_a_migration_that_needs_newer_code_stops_no_process_and_lets_none_begin(
    dsn: str,
) -> None:
    async with m25.open(dsn) as m, worker(dsn):
        step = await upgrade(dsn, ADDITION, works_from=None)
        record = await m.enqueue(sleeps, 0.0)
        assert (await ended(m, sleeps, record.id)).status is m25.JobStatus.SUCCEEDED
        with pytest.raises(m25.errors.DatabaseTooNew, match=r"needs code of version .* or newer"):
            async with m25.open(dsn):
                pass
    assert step.endswith("made_up")


async def test_after_an_addition_the_originals_plain_statements_are_legal(dsn: str) -> None:
    await upgrade(dsn, ADDITION, works_from=migrations.latest_version())
    given = {"queue": "sleeps", "input": "0", "max_attempts": 1, "unique_key": None}
    for _ in range(2):
        await rows(dsn, INSERT, **given)
    ((id,),) = [row.values() for row in await rows(dsn, RESERVE, queue="sleeps", limit=1)]
    assert await rows(dsn, PROMOTE, id=id)
    assert await rows(dsn, SUCCEED, id=id, output="1")
    (other,) = await rows(dsn, "select id from m25.job where status = 'pending'")
    assert await rows(dsn, CANCEL, **other)
    await rows(dsn, "insert into m25.version (version) values ('2025-09-01')")
    async with m25.open(dsn) as m:
        assert (await m.get_job(sleeps, m25.JobId(id))).output == 1
