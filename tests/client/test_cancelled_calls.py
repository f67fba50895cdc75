"""Every call of a client, cancelled at each of its checkpoints: nothing is half done afterwards,
and nothing is missing. `M25_SWEEP_CASES` asks for more moments of rng, `M25_SWEEP_SEED` for
others.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
import trio

import m25
from m25 import pg
from support.cancelling import cancelled_at, cancelled_within
from support.thorough import thorough, tries
from support.waiting import ended, eventually, rows

SEED = int(os.environ.get("M25_SWEEP_SEED", "25"))
CASES = int(os.environ.get("M25_SWEEP_CASES", tries(10, 2)))

#: From one checkpoint that is tried to the next.
STRIDE = tries(1, 8)


@m25.queue("swept", poll_interval=30)
async def swept(number: int) -> int:
    await trio.lowlevel.checkpoint()
    return number


class Swept:
    """A client, and what is asked of it."""

    def __init__(self, m: m25.M25, pool: pg.Pool, dsn: str) -> None:
        self.m = m
        self.pool = pool
        self.dsn = dsn

    async def enqueue(self) -> None:
        await self.m.enqueue(swept, 1)

    async def enqueue_many(self) -> None:
        await self.m.enqueue_many(swept, range(1_200))

    async def enqueue_keyed(self) -> None:
        job = m25.Job(1).with_unique_key(str(uuid4()))
        await self.m.enqueue(swept, job)
        with pytest.raises(m25.UniqueKeyConflict):
            await self.m.enqueue(swept, m25.Job(2).with_unique_key(job.unique_key or ""))

    async def enqueue_side_by_side(self) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(self.m.enqueue, swept, number)

    async def enqueue_in_a_transaction(self) -> None:
        async with self.pool.connection() as connection, connection.transaction():
            await self.m.enqueue(swept, 1, connection=connection)
            await self.m.enqueue_many(swept, range(5), connection=connection)

    async def get_job(self) -> None:
        await self.m.get_job(swept, (await self.m.enqueue(swept, 1)).id)

    async def cancel_job(self) -> None:
        await self.m.cancel_job(swept, (await self.m.enqueue(swept, 1)).id)

    async def start_and_stop(self) -> None:
        async with m25.open(self.pool, shutdown_grace=0) as other:
            other.add_queue(swept)
            await other.start()
            await other.enqueue(swept, 3)
            await other.stop()

    async def run(self) -> None:
        async with m25.open(self.pool, shutdown_grace=0) as other, trio.open_nursery() as nursery:
            other.add_queue(swept)
            await nursery.start(other.run)
            await ended(self.m, swept, (await other.enqueue(swept, 4)).id)
            await other.stop()


CALLS = [name for name in vars(Swept) if not name.startswith("_")]


async def is_whole(dsn: str) -> None:
    """No row is held, and of those that were put together all are there or none."""
    (left,) = await rows(
        dsn,
        "select count(*) filter (where status in ('reserved', 'executing')) as held,"
        " count(*) filter (where status = 'failed') as failed from m25.job",
    )
    assert left == {"held": 0, "failed": 0}


@thorough
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_that_is_cancelled_anywhere_leaves_all_in_order(dsn: str, name: str) -> None:
    rng = random.Random(SEED)
    cases = 0
    async with pg.Pool(dsn, max_size=3, kwargs={"autocommit": True}) as pool, m25.open(pool) as m:
        call: Callable[[], Awaitable[None]] = getattr(Swept(m, pool, dsn), name)

        async def all_are_idle() -> bool:
            stats = pool.stats()
            return (stats.size, stats.idle, stats.waiting) == (3, 3, 0)

        async def check() -> None:
            # Whoever comes next is served, with every connection there is.
            async with pool.connection(), pool.connection(), pool.connection():
                pass
            # The client may just be telling workers of what was put.
            await eventually(all_are_idle)
            await is_whole(dsn)
            if name == "enqueue_many":
                (row,) = await rows(dsn, "select count(*) from m25.job")
                assert row["count"] % 1_200 == 0
            if name == "enqueue_in_a_transaction":
                (row,) = await rows(dsn, "select count(*) from m25.job")
                assert row["count"] % 6 == 0
            await rows(dsn, "delete from m25.job")

        with trio.fail_after(100):
            # Each call begins at another of the checkpoints that are not all tried.
            checkpoint = CALLS.index(name) % STRIDE
            while not await cancelled_at(checkpoint, call):
                await check()
                # Those of a long call are alike.
                checkpoint += STRIDE if checkpoint < 60 else rng.randrange(1, 20)
                cases += 1
            for _ in range(CASES):
                await cancelled_within(rng.uniform(0, 0.01), call)
                await check()
                cases += 1
    print(f"{name}: {cases} cases")


async def test_a_cancel_job_that_is_cancelled_anywhere_has_done_what_it_says(dsn: str) -> None:
    async with m25.open(dsn, pool_size=1) as m:
        checkpoint = 0
        is_through = False
        while not is_through:
            id = (await m.enqueue(swept, 1)).id
            said: list[m25.JobStatus] = []

            async def call(id: m25.JobId = id, said: list[m25.JobStatus] = said) -> None:
                said.append((await m.cancel_job(swept, id)).status)

            is_through = await cancelled_at(checkpoint, call)
            is_cancelled = (await m.get_job(swept, id)).status is m25.JobStatus.CANCELLED
            assert is_cancelled == (said == [m25.JobStatus.CANCELLED]), checkpoint
            checkpoint += 1
        assert checkpoint > 2
