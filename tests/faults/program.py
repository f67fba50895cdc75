"""A process under torture: `python -m faults.program ROLE DSN DIRECTORY NAME SEED`.

A worker runs jobs until it is asked to end; a client puts jobs on their queue, and cancels a few,
until then. Both write a journal.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs
import trio

import m25
from support.claims import claim_token

from .journal import Journal

MAX_CONCURRENCY = 20
#: In seconds.
POLL_INTERVAL = 0.5
HEARTBEAT_INTERVAL = 0.5
_MISSES = int(os.environ.get("M25_TEST_MISSES", "2"))
#: How long a job belongs to whoever beats no more.
LEASE = HEARTBEAT_INTERVAL * (_MISSES + 1)
#: Enough for a job to be run in the end, whatever happens to its workers.
ALLOWED_LOSSES = 1_000
GRACE = 2.0


class Declared(Exception):
    """A declared error."""


@attrs.frozen
class Task:
    """An input: what its handler is to do, and how it knows that it got what was put."""

    takes: float
    #: How each attempt ends: "ok", "declared", "crash" or "overrun"; the last for all that follow.
    ends: tuple[str, ...]
    text: str
    digest: str


def make_task(rng: random.Random) -> Task:
    text = "".join(chr(rng.choice((33, 233, 0x4E2D, 0x1F600))) for _ in range(20))
    how = rng.random()
    ends = ("ok",) if how < 0.9 else (rng.choice(("declared", "crash", "overrun")), "ok")
    takes = rng.choice((0.0, 0.0, 0.001, 0.01, 0.05, 0.3))
    return Task(takes, ends, text, _digest(text))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_queue(journal: Journal) -> Any:
    running = 0

    @m25.queue(
        "torture",
        errors=(Declared,),
        max_concurrency=MAX_CONCURRENCY,
        poll_interval=POLL_INTERVAL,
        heartbeat_interval=HEARTBEAT_INTERVAL,
        allowed_heartbeat_misses=_MISSES,
        allowed_losses=ALLOWED_LOSSES,
    )
    async def torture(task: Task) -> str:
        nonlocal running
        record = m25.current_job()
        run = str(uuid4())
        running += 1
        facts = {"job": str(record.id), "run": run}
        claim = {"attempt": record.attempt, "token": claim_token()}
        journal.write("began", **facts, **claim, running=running)
        if _digest(task.text) != task.digest:
            journal.write("damaged", **facts)
        # Attempts that were lost with their process are not of the task's doing.
        turn = min(record.attempt - record.losses, len(task.ends)) - 1
        try:
            await trio.sleep(task.takes)
            match task.ends[turn]:
                case "declared":
                    journal.write("ended", **facts, how="error")
                    raise Declared(run)
                case "crash":
                    journal.write("ended", **facts, how="crash")
                    raise RuntimeError(run)
                case "overrun":
                    await trio.sleep_forever()
            journal.write("ended", **facts, how="succeeded")
            return run
        finally:
            running -= 1

    return torture


async def work(dsn: str, journal: Journal, _: random.Random) -> None:
    async with m25.open(dsn, shutdown_grace=GRACE) as m, trio.open_nursery() as nursery:
        m.add_queue(make_queue(journal))
        nursery.start_soon(m25.until_signal)
        while True:
            try:
                await m.start(queue_init_timeout=10)
            except m25.errors.QueueStartError:
                # The database is away just now.
                continue
            break
        journal.write("ready")


async def ask(dsn: str, journal: Journal, rng: random.Random) -> None:
    queue = make_queue(journal)
    async with m25.open(dsn) as m, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            await m25.until_signal()
            nursery.cancel_scope.cancel()

        for _ in range(4):
            nursery.start_soon(keep_asking, m, queue, journal, rng)


async def keep_asking(m: m25.M25, queue: Any, journal: Journal, rng: random.Random) -> None:
    while True:
        jobs = [make_job(rng) for _ in range(rng.choice((1, 1, 5, 100)))]
        ids = [str(job.id) for job in jobs]
        journal.write("asked", jobs=ids)
        while True:
            try:
                if len(jobs) == 1:
                    await m.enqueue(queue, jobs[0])
                else:
                    await m.enqueue_many(queue, jobs)
            except m25.UniqueKeyConflict:
                break
            except m25.errors.JobRecordFetchQueryError:
                # Safe to repeat: the ids are ours.
                await trio.sleep(0.1)
            else:
                journal.write("acknowledged", jobs=ids)
                break
        if rng.random() < 0.2:
            id = rng.choice(jobs).id
            assert id is not None
            try:
                record = await m.cancel_job(queue, id)
            except (m25.JobCancelError, m25.JobRecordFetchError):
                pass
            else:
                # Its latest attempt is what was cancelled: one before it may have failed by then.
                journal.write("cancelled", job=str(record.id))
        await trio.sleep(rng.uniform(0.05, 0.25))


def make_job(rng: random.Random) -> m25.Job[Task]:
    job = m25.Job(
        make_task(rng),
        id=m25.JobId(uuid4()),
        max_attempts=3,
        retry_delay=rng.choice((0, 0, 0.5)),
        timeout=5,
        priority=rng.choice((0, 0, 0, -1, 5)),
    )
    if rng.random() < 0.01:
        job = job.with_unique_key(f"key {rng.randrange(50)}")
    return job


def main() -> None:
    role, dsn, directory, name, seed = sys.argv[1:]
    logging.basicConfig(
        filename=f"{directory}/{name}.log", format="%(asctime)s %(name)s %(message)s"
    )
    journal = Journal(Path(directory), name)
    while True:
        try:
            trio.run({"worker": work, "client": ask}[role], dsn, journal, random.Random(seed))
        except m25.errors.DatabaseUnavailable:
            # Who begins without a database is told so, and asks again.
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    main()
