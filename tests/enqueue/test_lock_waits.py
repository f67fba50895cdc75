"""Locks that somebody's open transaction holds: only what needs them waits, and holds nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
import trio

import m25
from m25 import pg
from m25._store.postgres import prepare_connection
from support.waiting import eventually, rows


@m25.queue("orders")
async def orders(number: int) -> int:
    return number


def keyed(number: int, key: str) -> m25.Job[int]:
    return m25.Job(number).with_unique_key(key)


async def inputs(dsn: str) -> list[int]:
    return [row["input"] for row in await rows(dsn, "select input from m25.job order by input")]


@asynccontextmanager
async def holding(dsn: str, job: m25.Job[int]) -> AsyncGenerator[pg.AsyncConnection]:
    """A transaction that has enqueued a job, and stays open."""
    async with m25.open(dsn) as other, await pg.AsyncConnection.connect(dsn) as connection:
        await other.enqueue(orders, job, connection=connection)
        yield connection


class Waiting:
    """What became of calls that wait."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.outcomes: list[object] = []

    def start(self, call: Callable[[], Awaitable[object]]) -> None:
        async def run() -> None:
            try:
                self.outcomes.append(await call())
            except m25.M25Error as error:
                self.outcomes.append(type(error))

        self._nursery.start_soon(run)


async def test_a_task_whose_transaction_holds_a_key_can_enqueue_another_key(dsn: str) -> None:
    async with m25.open(dsn) as m, trio.open_nursery() as nursery:
        waiting = Waiting(nursery)
        async with holding(dsn, keyed(1, "a")) as connection:
            waiting.start(lambda: m.enqueue(orders, keyed(2, "a")))
            await trio.sleep(0.2)
            with trio.fail_after(60):
                await m.enqueue(orders, keyed(3, "zzz"))
                await m.enqueue(orders, m25.Job(4, id=m25.JobId(uuid4())))
                await m.enqueue(orders, 5)
                await m.enqueue_many(orders, [keyed(6, "b"), keyed(7, "c")])
            assert waiting.outcomes == []
            await connection.commit()

        async def answered() -> bool:
            return bool(waiting.outcomes)

        await eventually(answered)
    assert waiting.outcomes == [m25.UniqueKeyConflict]
    assert await inputs(dsn) == [1, 3, 4, 5, 6, 7]


async def test_of_a_batch_only_the_job_whose_key_is_held_waits(dsn: str) -> None:
    async with m25.open(dsn, pool_size=1) as m, trio.open_nursery() as nursery:
        waiting = Waiting(nursery)
        async with holding(dsn, keyed(0, "held")) as connection:
            for number in range(1, 100):
                key = "held" if number == 50 else str(number)
                job = keyed(number, key)
                waiting.start(lambda job=job: m.enqueue(orders, job))

            async def all_but_one() -> bool:
                return len(waiting.outcomes) == 98

            await eventually(all_but_one)
            # Those who ask for the same key later wait with it.
            waiting.start(lambda: m.enqueue(orders, keyed(100, "held")))
            with trio.fail_after(60):
                await m.enqueue(orders, keyed(101, "free"))
            await connection.rollback()
    assert [outcome for outcome in waiting.outcomes if isinstance(outcome, type)] == [
        m25.UniqueKeyConflict
    ]
    assert len(await inputs(dsn)) == 100


async def test_an_id_that_is_being_inserted_is_waited_for_alone(dsn: str) -> None:
    job = m25.Job(1, id=m25.JobId(uuid4()))
    async with m25.open(dsn) as m, trio.open_nursery() as nursery:
        waiting = Waiting(nursery)
        async with holding(dsn, job) as connection:
            waiting.start(lambda: m.enqueue(orders, job))
            await trio.sleep(0.1)
            with trio.fail_after(60):
                for number in range(2, 12):
                    await m.enqueue(orders, number)
            await connection.commit()
    (record,) = waiting.outcomes
    assert isinstance(record, m25.JobRecord)
    assert await inputs(dsn) == list(range(1, 12))


async def test_cancels_behind_a_locked_row_stop_no_enqueue(dsn: str) -> None:
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as stranger:
        records = [await m.enqueue(orders, number) for number in range(8)]
        await stranger.execute("select from m25.job for update")
        async with trio.open_nursery() as nursery:
            waiting = Waiting(nursery)
            for record in records:
                waiting.start(lambda record=record: m.cancel_job(orders, record.id))
            await trio.sleep(0.2)
            for _ in range(5):
                with trio.fail_after(60):
                    await m.enqueue(orders, 9)
            assert waiting.outcomes == []
            await stranger.rollback()
    assert len(waiting.outcomes) == 8
    found = await rows(dsn, "select status from m25.job where input <> '9'")
    assert [row["status"] for row in found] == ["cancelled"] * 8


async def test_who_is_cancelled_while_it_waits_has_written_nothing(dsn: str) -> None:
    async with m25.open(dsn) as m:
        async with holding(dsn, keyed(1, "a")) as connection:
            with trio.move_on_after(0.3) as scope:
                await m.enqueue(orders, keyed(2, "a"))
            assert scope.cancelled_caught
            await connection.rollback()
        await m.enqueue(orders, keyed(3, "a"))
    assert await inputs(dsn) == [3]


async def test_who_waits_while_the_client_is_closed_is_told(dsn: str) -> None:
    async with holding(dsn, keyed(1, "a")), trio.open_nursery() as nursery:
        waiting = Waiting(nursery)
        async with m25.open(dsn) as m:
            waiting.start(lambda: m.enqueue(orders, keyed(2, "a")))
            await trio.sleep(0.2)
    assert waiting.outcomes == [m25.errors.ClientClosed]
    assert await inputs(dsn) == [1]


async def test_nobody_inherits_how_long_an_enqueue_waits(dsn: str) -> None:
    kwargs = {"autocommit": True}
    async with (
        pg.Pool(dsn, max_size=1, kwargs=kwargs, configure=prepare_connection) as pool,
        m25.open(pool) as m,
    ):
        record = await m.enqueue(orders, keyed(1, "a"))
        await m.enqueue_many(orders, [2, 3])
        await m.cancel_job(orders, record.id)
        async with pool.connection() as connection, connection.transaction():
            await m.enqueue(orders, 4, connection=connection)
            cursor = await connection.execute("show lock_timeout")
            assert await cursor.fetchone() == ("0",)


@pytest.mark.parametrize(
    "turn", [0, *(pytest.param(turn, marks=pytest.mark.slow) for turn in (1, 2))]
)
async def test_many_with_the_same_keys_in_another_order_do_not_deadlock(
    dsn: str, turn: int
) -> None:
    numbers = range(1_200)
    async with m25.open(dsn) as m, trio.open_nursery() as nursery:
        waiting = Waiting(nursery)
        for order in (numbers, numbers[::-1], numbers):
            jobs = [keyed(number, f"{turn} {number}") for number in order]
            waiting.start(lambda jobs=jobs: m.enqueue_many(orders, jobs, skip_conflicts=True))
    assert [type(outcome) for outcome in waiting.outcomes] == [m25.EnqueuedMany] * 3
    assert sorted(len(found.conflicts) for found in waiting.outcomes) == [0, 1_200, 1_200]  # type: ignore[attr-defined]
    assert await inputs(dsn) == list(numbers)


async def test_many_that_wait_for_a_key_hold_no_other(dsn: str) -> None:
    async with m25.open(dsn, pool_size=1) as m, trio.open_nursery() as nursery:
        waiting = Waiting(nursery)
        async with holding(dsn, keyed(1, "a")) as connection:
            jobs = [keyed(2, "b"), keyed(3, "a")]
            waiting.start(lambda: m.enqueue_many(orders, jobs))
            await trio.sleep(0.1)
            with trio.fail_after(60):
                await m.enqueue(orders, keyed(4, "b"))
            await connection.rollback()
    assert waiting.outcomes == [m25.UniqueKeyConflict]
    assert await inputs(dsn) == [4]
