"""What a call says of its jobs is what the table says, whenever it was cancelled.

`M25_SWEEP_CASES` asks for more moments, `M25_SWEEP_SEED` for others.
"""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import pg
from m25._client import open_on
from m25._store.memory import MemoryStore
from support.cancelling import cancelled_at
from support.databases import WAITING
from support.thorough import thorough, tries
from support.waiting import eventually, rows

SEED = int(os.environ.get("M25_SWEEP_SEED", "25"))
CASES = int(os.environ.get("M25_SWEEP_CASES", str(tries(40, 5))))

pytestmark = thorough


@m25.queue("told")
async def told(number: int) -> None:
    pass


class Told:
    """What the calls have said: for each number, whether it was put; and what nobody could know."""

    def __init__(self) -> None:
        self.put: dict[int, bool] = {}
        self.unknown: set[int] = set()

    async def run(self, call: Callable[[], Awaitable[object]], *numbers: int) -> None:
        """Make a call that puts these, and note what it says."""
        try:
            await call()
        except m25.errors.OutcomeUnknown:
            self.unknown.update(numbers)
            raise
        except BaseException:
            self.put.update(dict.fromkeys(numbers, False))
            raise
        self.put.update(dict.fromkeys(numbers, True))

    async def check(self, dsn: str) -> None:
        found = [row["input"] for row in await rows(dsn, "select input from m25.job")]
        assert len(found) == len(set(found))
        assert sorted(found) == sorted(number for number, put in self.put.items() if put)
        assert self.unknown == set()
        await rows(dsn, "delete from m25.job")


async def swept(case: Callable[[int, float], Awaitable[None]], longest: float) -> None:
    rng = random.Random(SEED)
    with trio.fail_after(150):
        for turn in range(CASES):
            await case(turn, rng.uniform(0, longest))


async def test_an_enqueue_that_is_cancelled_at_any_checkpoint(dsn: str) -> None:
    async with m25.open(dsn, pool_size=1) as m:
        job = m25.Job(1, id=m25.JobId(uuid4()))
        for each in (m25.Job(1), job, job.with_unique_key("k")):
            checkpoint = 0
            is_through = False
            while not is_through:
                told_here = Told()
                call = partial(told_here.run, partial(m.enqueue, told, each), 1)
                is_through = await cancelled_at(checkpoint, call)
                await told_here.check(dsn)
                checkpoint += 1
            assert checkpoint > 1


async def test_enqueues_side_by_side_that_are_cancelled(dsn: str) -> None:
    async with m25.open(dsn) as m:

        async def case(turn: int, seconds: float) -> None:
            told_here = Told()
            with trio.move_on_after(seconds):
                async with trio.open_nursery() as nursery:
                    for number in range(20):
                        job = m25.Job(number)
                        if number % 3 == 0:
                            job = job.with_unique_key(str(number))
                        nursery.start_soon(
                            told_here.run, lambda job=job: m.enqueue(told, job), number
                        )
            await told_here.check(dsn)

        await swept(case, 0.02)


async def test_an_enqueue_many_that_is_cancelled(dsn: str) -> None:
    async with m25.open(dsn) as m:

        async def case(turn: int, seconds: float) -> None:
            told_here = Told()
            numbers = range(600)
            with trio.move_on_after(seconds):
                await told_here.run(lambda: m.enqueue_many(told, numbers), *numbers)
            await told_here.check(dsn)

        await swept(case, 0.06)


async def test_an_enqueue_whose_client_is_closed_meanwhile(dsn: str) -> None:
    async def case(turn: int, seconds: float) -> None:
        told_here = Told()

        async def enqueue(m: m25.M25, number: int) -> None:
            with suppress(m25.errors.ClientClosed, m25.errors.EnqueueQueryError):
                await told_here.run(lambda: m.enqueue(told, number), number)

        async with trio.open_nursery() as nursery:
            async with m25.open(dsn) as m:
                for number in range(20):
                    nursery.start_soon(enqueue, m, number)
                await trio.sleep(seconds)
        await told_here.check(dsn)

    await swept(case, 0.02)


async def test_through_a_pooler_it_is_the_same(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m._runtime.store._is_direct = False  # type: ignore[attr-defined]

        async def case(turn: int, seconds: float) -> None:
            told_here = Told()
            with trio.move_on_after(seconds):
                await told_here.run(lambda: m.enqueue(told, 1), 1)
            await told_here.check(dsn)

        await swept(case, 0.004)


async def test_on_a_connection_that_commits_by_itself_it_is_the_same(dsn: str) -> None:
    connecting = pg.AsyncConnection.connect(dsn, autocommit=True)
    async with m25.open(dsn) as m, await connecting as connection:

        async def case(turn: int, seconds: float) -> None:
            told_here = Told()
            with trio.move_on_after(seconds):
                await told_here.run(lambda: m.enqueue(told, 1, connection=connection), 1)
            await told_here.check(dsn)

        await swept(case, 0.004)


async def test_after_a_refusal_of_one_the_others_are_told_what_became_of_them(dsn: str) -> None:
    await rows(dsn, "alter table m25.job add check (input <> '13')")
    async with m25.open(dsn) as m:

        async def case(turn: int, seconds: float) -> None:
            told_here = Told()

            async def enqueue(number: int) -> None:
                try:
                    await told_here.run(lambda: m.enqueue(told, number), number)
                except m25.errors.EnqueueQueryError:
                    assert number == 13

            with trio.move_on_after(seconds):
                async with trio.open_nursery() as nursery:
                    for number in range(20):
                        nursery.start_soon(enqueue, number)
            await told_here.check(dsn)

        await swept(case, 0.03)


async def test_without_an_answer_the_outcome_is_unknown_and_a_repeat_is_safe(dsn: str) -> None:
    job = m25.Job(1, id=m25.JobId(uuid4()))
    unknown: list[m25.errors.OutcomeUnknown] = []

    interruption = trio.CancelScope()

    async def enqueue(call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(m25.errors.OutcomeUnknown) as caught:
            await call()
        unknown.append(caught.value)

    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as stranger:
        # It is waited for before a statement begins, and no time of ours bounds that.
        await stranger.execute("lock table m25.job")
        with interruption:
            async with trio.open_nursery() as nursery:
                for number, value in enumerate([job, 2], 1):
                    nursery.start_soon(enqueue, lambda value=value: m.enqueue(told, value))

                    async def is_waiting(number: int = number) -> bool:
                        (row,) = await rows(dsn, WAITING)
                        return bool(row["count"] == number)

                    await eventually(is_waiting)
                interruption.cancel()
        await stranger.rollback()
        for error in unknown:
            (id,) = error.job_ids
            assert str(id) in str(error)
            assert "safe to repeat" in str(error)
            assert isinstance(error, m25.DatabaseError)
            assert isinstance(error.__cause__, pg.OutcomeUnknown)
            assert pickle.loads(pickle.dumps(error)).job_ids == [id]
        assert any(error.job_ids == [job.id] for error in unknown)
        await m.enqueue(told, job)
    found = await rows(dsn, "select id from m25.job where input = '1'")
    assert found == [{"id": UUID(str(job.id))}]


async def test_a_connection_that_is_lost_at_the_commit_of_many_leaves_their_ids(dsn: str) -> None:
    # A trigger that is run at the commit ends the session there.
    await rows(
        dsn,
        "create function die() returns trigger language plpgsql as $$ begin"
        " perform pg_sleep(60); return null; end $$",
    )
    await rows(
        dsn,
        "create constraint trigger die after insert on m25.job deferrable initially deferred"
        " for each row execute function die()",
    )

    async def is_committing() -> bool:
        found = await rows(
            dsn,
            "select 1 from pg_stat_activity where datname = current_database()"
            " and query ilike 'commit%%' and state = 'active'",
        )
        return bool(found)

    caught: list[m25.errors.OutcomeUnknown] = []

    async def enqueue(m: m25.M25, scope: trio.CancelScope) -> None:
        with scope, pytest.raises(m25.errors.OutcomeUnknown) as error:
            await m.enqueue_many(told, [1, 2, 3])
        caught.append(error.value)

    async with m25.open(dsn) as m, trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(enqueue, m, scope)
        await eventually(is_committing)
        scope.cancel()
    (error,) = caught
    assert len(error.job_ids) == 3
    assert "these 3 jobs are" in str(error)


async def test_in_memory_a_lost_answer_is_told_likewise(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def fault(name: str, when: str) -> None:
        if name == "enqueue" and when == "after":
            await trio.sleep_forever()

    store = MemoryStore(fault=fault)
    async with open_on(store, grace=timedelta(0)) as m:
        with trio.move_on_after(0.01), pytest.raises(m25.errors.OutcomeUnknown):
            await m.enqueue(told, 1)
    assert len(store.rows()) == 1
