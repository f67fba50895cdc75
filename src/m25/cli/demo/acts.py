"""The acts of the demo, in the order in which they are played.

Each enqueues jobs, shows what became of them, and returns the counts that the account must have
afterwards: how many attempts ended in which way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import attrs
import psycopg
import trio

import m25
from m25 import Job, JobRecord, JobStatus, pg

from .jobs import Arrival, Locked, Receipt, arrivals
from .troupe import Troupe

ArrivalRecord = JobRecord[Arrival, Receipt, Locked]

#: How often a job's record is read, in seconds.
_POLL_INTERVAL: Final = 0.05

_ENDED: Final = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


@attrs.frozen
class Stage:
    """What an act works with."""

    name: str
    m: m25.M25
    connection: pg.AsyncConnection[Any]
    workers: Troupe
    folder: Path
    say: Callable[[str], None]

    def job(self, file: str, *, locked_for: int = 0) -> Job[Arrival]:
        """A job of this act, which waits for this file."""
        return Job(Arrival(str(self.folder / file), locked_for), meta={"act": self.name})

    async def put(self, file: str) -> None:
        """Let a file arrive."""
        content = f"This is {file}.\n".encode()
        aside = trio.Path(self.folder / f"{file}.part")
        await aside.write_bytes(content)
        # By renaming, so that the file is there at once and whole.
        await aside.rename(self.folder / file)

    async def now(self) -> datetime:
        """The time by the server's clock, which decides when jobs are due."""
        cursor = await self.connection.execute("select extract(epoch from clock_timestamp())")
        row = await cursor.fetchone()
        assert row is not None
        return datetime.fromtimestamp(float(row[0]), UTC)

    async def until(self, job: ArrivalRecord, *statuses: JobStatus) -> ArrivalRecord:
        """The record of a job, once it is in one of these statuses."""
        while True:
            record = await self.m.get_job(arrivals, job.id)
            if record.status in statuses:
                return record
            await trio.sleep(_POLL_INTERVAL)

    async def end_of(self, job: ArrivalRecord) -> ArrivalRecord:
        """The record of a job, once it has ended."""
        return await self.until(job, *_ENDED)


Act = Callable[[Stage], Awaitable[Mapping[str, int]]]


async def killed_worker(stage: Stage) -> Mapping[str, int]:
    """The jobs of a worker that was killed are run again by another."""
    files = ["first.txt", "second.txt", "third.txt"]
    victim = await stage.workers.start(arrivals.name)
    jobs = [await stage.m.enqueue(arrivals, stage.job(file)) for file in files]
    for job in jobs:
        await stage.until(job, JobStatus.EXECUTING)
    await stage.workers.kill(victim)
    stage.say(f"{victim.name} killed with SIGKILL, {len(files)} jobs in its hands")
    for file in files:
        await stage.put(file)
    successor = await stage.workers.start(arrivals.name)
    for job in jobs:
        await stage.end_of(job)
    stage.say(f"their heartbeats stopped: {successor.name} runs them again")
    return {"failed (heartbeat_timeout)": len(files), "succeeded": len(files)}


async def retry(stage: Stage) -> Mapping[str, int]:
    """An attempt that fails is followed by another, after a delay."""
    await stage.put("locked.txt")
    locked_for = 2
    job = stage.job("locked.txt", locked_for=locked_for).retry(max_attempts=5, delay=1.0)
    record = await stage.end_of(await stage.m.enqueue(arrivals, job))
    stage.say(f"the file is locked: {record.error_data!r}; next attempt 1 s later")
    return {"failed (error)": locked_for, "succeeded": 1}


async def deadline(stage: Stage) -> Mapping[str, int]:
    """A handler that is still running at its job's deadline is cancelled."""
    job = stage.job("never.txt").with_timeout(1.0)
    record = await stage.end_of(await stage.m.enqueue(arrivals, job))
    assert record.started_at is not None
    assert record.finished_at is not None
    stage.say(
        "the file never comes: cancelled at the deadline, "
        f"after {(record.finished_at - record.started_at).total_seconds():.2f} s"
    )
    return {"failed (job_timeout)": 1}


async def schedule(stage: Stage) -> Mapping[str, int]:
    """A job is not run before its time."""
    await stage.put("scheduled.txt")
    in_two_seconds = await stage.now() + timedelta(seconds=2)
    job = stage.job("scheduled.txt").schedule(at=in_two_seconds)
    record = await stage.end_of(await stage.m.enqueue(arrivals, job))
    assert record.started_at is not None
    assert record.scheduled_at is not None
    late = (record.started_at - record.scheduled_at).total_seconds()
    stage.say(f"scheduled in 2 s: started {late * 1000:.0f} ms after its time")
    return {"succeeded": 1}


async def unique_key(stage: Stage) -> Mapping[str, int]:
    """While a job holds a key, another with the same key is refused."""
    await stage.put("unique.txt")
    job = stage.job("unique.txt").with_unique_key("unique.txt")
    await stage.end_of(await stage.m.enqueue(arrivals, job))
    try:
        await stage.m.enqueue(arrivals, job)
    except m25.UniqueKeyConflict as refusal:
        stage.say(f"refused: {refusal}")
    return {"succeeded": 1}


async def cancelled(stage: Stage) -> Mapping[str, int]:
    """A job that has not begun can be cancelled."""
    tomorrow = await stage.now() + timedelta(days=1)
    job = await stage.m.enqueue(arrivals, stage.job("tomorrow.txt").schedule(at=tomorrow))
    record = await stage.m.cancel_job(arrivals, job.id)
    stage.say(f"scheduled for tomorrow, and {record.status.value}")
    return {"cancelled": 1}


async def rolled_back(stage: Stage) -> Mapping[str, int]:
    """A job enqueued in the caller's transaction is gone where that is rolled back."""
    async with stage.connection.transaction():
        job = await stage.m.enqueue(
            arrivals, stage.job("rolled_back.txt"), connection=stage.connection
        )
        raise psycopg.Rollback
    try:
        await stage.m.get_job(arrivals, job.id)
    except m25.NoJobRecordFound as nothing:
        stage.say(f"the transaction was rolled back: {nothing}")
    return {"succeeded": 0}


async def committed(stage: Stage) -> Mapping[str, int]:
    """A job enqueued in the caller's transaction is there once the transaction is committed."""
    await stage.put("committed.txt")
    async with stage.connection.transaction():
        job = await stage.m.enqueue(
            arrivals, stage.job("committed.txt"), connection=stage.connection
        )
    record = await stage.end_of(job)
    stage.say(f"the transaction was committed: {record.status.value}, {record.output}")
    return {"succeeded": 1}


ACTS: Final[Mapping[str, Act]] = {
    "a killed worker": killed_worker,
    "a retry with delay": retry,
    "a deadline": deadline,
    "a scheduled job": schedule,
    "a refused unique key": unique_key,
    "a cancelled job": cancelled,
    "an enqueue rolled back": rolled_back,
    "an enqueue committed": committed,
}
