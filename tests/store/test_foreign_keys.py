"""Tables of users may reference jobs: a row that was inserted, and is not committed yet, keeps no
job from being run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from _world import LEASE, PostgresWorld, job, success, token

import m25
from m25 import pg
from m25._store.protocol import Position, WriteResult
from support.waiting import PATIENCE, ended, eventually, rows


@pytest.fixture
async def orders(database: PostgresWorld) -> AsyncGenerator[PostgresWorld]:
    """A table of a user's, with an order for each job."""
    await database.execute("create table public.orders (job_id uuid references m25.job (id))")
    with trio.fail_after(PATIENCE):
        yield database


@asynccontextmanager
async def open_transaction(dsn: str, *job_ids: str) -> AsyncGenerator[None]:
    """Orders for these jobs, inserted in a transaction that stays open for the block."""
    async with await pg.AsyncConnection.connect(dsn) as connection:
        for id in job_ids:
            await connection.execute("insert into public.orders values (%s)", [id])
        yield
        await connection.rollback()


async def test_an_order_for_a_running_job_stops_neither_its_heartbeat_nor_its_result(
    orders: PostgresWorld, dsn: str
) -> None:
    await orders.put(job())
    claim = await orders.claim_one()
    async with open_transaction(dsn, claim.id):
        assert await orders.heartbeat(claim) == {claim.id}
        assert await orders.settle(success(claim)) is WriteResult.SETTLED


async def test_an_order_for_a_pending_job_does_not_keep_it_from_being_claimed(
    orders: PostgresWorld, dsn: str
) -> None:
    first, second = await orders.put(job(), job())
    async with open_transaction(dsn, first, second):
        assert [claim.id for claim in await orders.claim(limit=1)] == [first]
        after = [Position(0, "0", token())]
        assert [claim.id for claim in await orders.claim(limit=1, after=after)] == [second]


async def test_an_order_stops_no_other_write_of_a_claim(orders: PostgresWorld, dsn: str) -> None:
    await orders.put(*(job() for _ in range(3)))
    claims = await orders.claim(start=False)
    started, released, answer_lost = claims
    async with open_transaction(dsn, *(claim.id for claim in claims)):
        assert [one.id for one in await orders.start(started)] == [started.id]
        assert (await orders.store.confirm([started], LEASE)).ids == {started.id}
        assert await orders.release(released) == {released.id}
        lost = await orders.store.release_claims("q", [answer_lost.token])
        assert answer_lost.id in lost


@pytest.mark.parametrize("start", [True, False])
async def test_an_order_for_a_job_whose_worker_is_gone_does_not_keep_it_from_being_taken_over(
    orders: PostgresWorld, dsn: str, start: bool
) -> None:
    await orders.put(job())
    claim = await orders.claim_one(start=start)
    await orders.pass_time(LEASE.total_seconds() + 1)
    async with open_transaction(dsn, claim.id):
        assert [one.id for one in await orders.sweep()] == [claim.id]


async def test_a_handler_whose_job_is_in_an_open_order_goes_on_and_ends(
    dsn: str,
) -> None:
    begun, go_on = trio.Event(), trio.Event()
    beats = "select latest_heartbeat_at as at from m25.job"
    seen: set[object] = set()

    async def has_beaten() -> bool:
        seen.update(row["at"] for row in await rows(dsn, beats))
        return len(seen) > 3

    await rows(dsn, "create table public.orders (job_id uuid references m25.job (id))")

    # A lease so long that no machine is too slow to renew it.
    @m25.queue("bakery", heartbeat_interval=0.2, allowed_heartbeat_misses=600, poll_interval=0.2)
    async def bake(number: int) -> int:
        begun.set()
        await go_on.wait()
        return m25.current_job().attempt

    async with m25.open(dsn) as m:
        m.add_queue(bake)
        await m.start()
        record = await m.enqueue(bake, 1)
        await begun.wait()
        async with open_transaction(dsn, str(record.id)):
            # The first may have been under way before.
            await eventually(has_beaten)
            go_on.set()
            found = await ended(m, bake, record.id)
    assert (found.status, found.output) == (m25.JobStatus.SUCCEEDED, 1)
