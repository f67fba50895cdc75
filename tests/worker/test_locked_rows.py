"""Somebody has the row of a running job locked, as an open `select … for update` in a database's
console does: that costs this job alone.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Literal

import pytest
import trio
import trio.testing

import m25
from m25._client import open_on
from m25._store.memory import MemoryStore
from support.failing import connection_lost
from support.told import told
from support.waiting import ended, eventually, rows

#: For queues whose leases are renewed often, and last a minute: no machine stands still that long.
OPTIONS: dict[str, Any] = {
    "heartbeat_interval": 0.25,
    "allowed_heartbeat_misses": 239,
    "poll_interval": 0.5,
    "max_concurrency": 50,
}

#: For tests in memory.
GRACE = timedelta(0)


@asynccontextmanager
async def locked(dsn: str, *ids: m25.JobId) -> AsyncGenerator[None]:
    """A stranger's open transaction, which has locked these jobs."""
    async with await m25.pg.AsyncConnection.connect(dsn) as stranger:
        lock = "select from m25.job where id = any(%s) for update"
        await stranger.execute(lock, [[id.value for id in ids]])
        yield
        await stranger.rollback()


async def test_a_job_that_somebody_has_locked_costs_no_other_job_of_its_queue(dsn: str) -> None:
    starts: Counter[int] = Counter()
    all_run, go_on = trio.Event(), trio.Event()

    @m25.queue("crowd", **OPTIONS)
    async def crowd(number: int) -> int:
        starts[number] += 1
        if len(starts) == 10:
            all_run.set()
        await go_on.wait()
        return number

    async with m25.open(dsn) as m, m25.open(dsn) as other:
        ids = list((await m.enqueue_many(crowd, range(10))).ids)
        for each in (m, other):
            each.add_queue(crowd)
            await each.start()
        await all_run.wait()
        async with locked(dsn, ids[0]):
            # The leases of the others are renewed, again and again.
            for _ in range(2):
                await others_beat(dsn, ids[0])
            go_on.set()
            with trio.fail_after(60):
                for id in ids[1:]:
                    assert (await ended(m, crowd, id)).status is m25.JobStatus.SUCCEEDED
            assert (await m.get_job(crowd, ids[0])).status is m25.JobStatus.EXECUTING
    assert {number: starts[number] for number in range(1, 10)} == dict.fromkeys(range(1, 10), 1)


async def others_beat(dsn: str, locked: m25.JobId) -> None:
    """Wait until all jobs but this one have had a heartbeat that was sent from now on."""
    (now,) = await rows(dsn, "select clock_timestamp() as since")
    waiting = (
        "select id from m25.job where id <> %(locked)s"
        " and latest_heartbeat_at > %(since)s is not true"
    )

    async def all_have() -> bool:
        return not await rows(dsn, waiting, locked=locked.value, since=now["since"])

    await eventually(all_have)


async def test_a_result_is_written_soon_after_its_row_is_not_locked_any_more(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")
    running, go_on = trio.Event(), trio.Event()

    @m25.queue("alone", **OPTIONS)
    async def alone(number: int) -> int:
        running.set()
        await go_on.wait()
        return number

    async with m25.open(dsn) as m:
        m.add_queue(alone)
        await m.start()
        id = (await m.enqueue(alone, 25)).id
        await running.wait()
        async with locked(dsn, id):
            go_on.set()
            # Until it was tried to write it, perhaps more than once.
            await trio.sleep(1)
        unlocked_at = time.time()
        record = await ended(m, alone, id)
    assert (record.output, record.attempt) == (25, 1)
    assert record.finished_at is not None
    # Without another try it would be lost with its lease, after a minute.
    assert record.finished_at.timestamp() - unlocked_at < 30
    assert "ResultDiscarded" not in told(caplog)


async def test_a_lease_is_renewed_again_before_the_next_heartbeat_is_due(
    autojump_clock: trio.testing.MockClock,
) -> None:
    heartbeats: list[float] = []

    class Store(MemoryStore):
        async def heartbeat(self, claims: Any, *options: Any) -> Any:
            if len(claims) > 1:
                heartbeats.append(trio.current_time())
            return await super().heartbeat(claims, *options)

    running: list[str] = []
    starts = 0

    @m25.queue("dozen", heartbeat_interval=10, allowed_heartbeat_misses=1, poll_interval=1)
    async def dozen(number: int) -> None:
        nonlocal starts
        starts += 1
        running.append(str(m25.current_job().id))
        await trio.sleep(60)

    store = Store()
    async with open_on(store, grace=GRACE) as m:
        m.add_queue(dozen)
        await m.enqueue_many(dozen, range(12))
        await m.start()
        await trio.sleep(9)
        store.lock(running[0])
        # Its lease ends at 20, and the heartbeat of 10 finds it locked.
        await trio.sleep(9)
        store.unlock(running[0])
        await trio.sleep(1.2)
        renewed = [row.latest_heartbeat_at for row in store.rows() if row.id == running[0]]
        await trio.sleep(60)
    assert renewed != [None]
    assert starts == 12
    # The others' came no more often for it.
    gaps = {round(after - before) for before, after in itertools.pairwise(heartbeats)}
    assert gaps == {10}


async def test_a_job_that_stays_locked_is_cancelled_once_somebody_else_has_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cancelled: list[str] = []
    running: list[str] = []

    @m25.queue("taken", heartbeat_interval=1, allowed_heartbeat_misses=1, poll_interval=1)
    async def taken(number: int) -> None:
        id = str(m25.current_job().id)
        running.append(id)
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.append(id)
            raise

    store = MemoryStore()
    async with open_on(store, grace=GRACE) as m:
        m.add_queue(taken)
        await m.enqueue(taken, 1)
        await m.start()
        await trio.testing.wait_all_tasks_blocked()
        store.lock(running[0])
        await trio.sleep(2.5)
        assert cancelled == []
        row = store._table.rows[running[0]]
        store._table.release("release", row)
        await trio.sleep(2.5)
        assert cancelled == [running[0]]


async def test_of_those_that_are_to_start_the_one_that_is_locked_waits_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    began: dict[str, float] = {}

    @contextlib.asynccontextmanager
    async def setup() -> AsyncIterator[None]:
        await trio.sleep(1)
        yield

    @m25.queue("prepared", setup=setup, poll_interval=1)
    async def prepared(number: int, _: None) -> int:
        began[str(m25.current_job().id)] = trio.current_time()
        return number

    store = MemoryStore()
    async with open_on(store, grace=GRACE) as m:
        m.add_queue(prepared)
        ids = [str(id) for id in (await m.enqueue_many(prepared, range(5))).ids]
        await m.start()
        await trio.sleep(0.5)
        store.lock(ids[2])
        await trio.sleep(1.5)
        assert began.keys() == {*ids} - {ids[2]}
        store.unlock(ids[2])
        await trio.sleep(1)
        assert began.keys() == {*ids}
        await trio.sleep(1)
    assert {row.status for row in store.rows()} == {"succeeded"}


async def test_what_is_cut_short_while_it_is_locked_is_released_once_it_is_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("stopped")
    async def stopped(number: int) -> None:
        await trio.sleep_forever()

    store = MemoryStore()
    async with trio.open_nursery() as nursery:
        async with open_on(store, grace=GRACE) as m:
            m.add_queue(stopped)
            ids = [str(id) for id in (await m.enqueue_many(stopped, range(3))).ids]
            await m.start()
            await trio.sleep(0.1)
            store.lock(ids[1])

            @nursery.start_soon
            async def unlock() -> None:
                await trio.sleep(0.5)
                others = [row.status for row in store.rows() if row.id != ids[1]]
                assert others == ["pending", "pending"]
                await trio.sleep(2.5)
                store.unlock(ids[1])

    assert [row.status for row in store.rows()] == ["pending"] * 3


async def test_a_stop_waits_for_what_is_locked_no_longer_than_for_a_database_that_is_away(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")

    @m25.queue("stuck")
    async def stuck(number: int) -> int:
        await trio.sleep(1)
        return number

    store = MemoryStore()
    async with open_on(store, grace=timedelta(10)) as m:
        m.add_queue(stuck)
        id = str((await m.enqueue(stuck, 1)).id)
        await m.start()
        await trio.sleep(0.1)
        store.lock(id)
        stopped_at = trio.current_time()
    assert 5 <= trio.current_time() - stopped_at <= 7
    assert "OutcomesUnwritten" in told(caplog)
    assert [row.status for row in store.rows()] == ["executing"]


@pytest.mark.parametrize("lock_lasts", [0.5, 30.0])
async def test_of_a_claim_in_doubt_the_row_that_is_locked_costs_its_job_alone(
    autojump_clock: trio.testing.MockClock, lock_lasts: float
) -> None:
    class Store(MemoryStore):
        loses = False

        async def claim(self, *args: Any, **options: Any) -> Any:
            found = await super().claim(*args, **options)
            if found and self.loses:
                self.loses = False
                self.lock(found[0].id)
                raise connection_lost()
            return found

    cancelled: list[int] = []

    @m25.queue("doubtful", heartbeat_interval=5, allowed_heartbeat_misses=1, poll_interval=1)
    async def doubtful(number: int) -> int:
        try:
            await trio.sleep(3)
        except trio.Cancelled:
            cancelled.append(number)
            raise
        return number

    store = Store()
    async with open_on(store, grace=GRACE) as m:
        m.add_queue(doubtful)
        await m.start()
        store.loses = True
        ids = [str(id) for id in (await m.enqueue_many(doubtful, range(4))).ids]
        began = trio.current_time()
        await trio.sleep(lock_lasts)
        if lock_lasts < 1:
            store.unlock(ids[0])
        later = await m.enqueue(doubtful, 4)
        await trio.sleep(6)
        assert (await m.get_job(doubtful, later.id)).status is m25.JobStatus.SUCCEEDED
        store.unlock(ids[0])
        await trio.sleep(10)
    by_id = {row.id: row for row in store.rows()}
    zero = float(by_id[ids[0]].created_at)
    assert cancelled == ([] if lock_lasts < 1 else [0])
    for id in ids[1:]:
        assert by_id[id].status == "succeeded"
        assert float(by_id[id].finished_at or 0) - zero < 4.5 - began
    assert by_id[ids[0]].status == ("succeeded" if lock_lasts < 1 else "failed")


@pytest.mark.parametrize("answers_take", [0.0, 0.2])
async def test_what_is_locked_while_it_is_looked_for_begins_within_a_second_after_that(
    autojump_clock: trio.testing.MockClock, answers_take: float
) -> None:
    async def be_slow(call: str, when: Literal["before", "after"]) -> None:
        if call == "survey" and when == "before":
            await trio.sleep(answers_take)

    began: dict[int, float] = {}

    @m25.queue("passed over")
    async def passed_over(number: int) -> None:
        began[number] = trio.current_time()

    store = MemoryStore(fault=be_slow)
    async with open_on(store, grace=GRACE) as m:
        m.add_queue(passed_over)
        await m.start()
        await trio.sleep(60)
        for number in range(10):
            enqueued = await m.enqueue_many(passed_over, [number, 10 + number])
            # As somebody does who asks for it just then.
            store.lock(str(enqueued.ids[0]))
            await trio.sleep(0.01)
            store.unlock(str(enqueued.ids[0]))
            unlocked_at = trio.current_time()
            await trio.sleep(1)
            assert began[number] - unlocked_at < 1
            await trio.sleep(random.Random(number).uniform(0, 10))


async def test_strangers_who_lock_rows_at_random_cost_those_jobs_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    lease = 2.0
    starts: Counter[str] = Counter()
    returned: dict[str, float] = {}
    locked_ids: set[str] = set()
    rng = random.Random(25)
    store = MemoryStore()

    @m25.queue(
        "storm",
        heartbeat_interval=0.5,
        allowed_heartbeat_misses=3,
        poll_interval=0.5,
        max_concurrency=50,
    )
    async def storm(number: int) -> int:
        id = str(m25.current_job().id)
        starts[id] += 1
        await trio.sleep(rng.uniform(0.1, 2 * lease))
        returned[id] = store.now().timestamp()
        return number

    async def lock_some() -> None:
        while True:
            running = [row.id for row in store.rows() if row.status == "executing"]
            if not (free := [id for id in running if id not in held]):
                await trio.sleep(0.1)
                continue
            id = rng.choice(free)
            store.lock(id)
            held.add(id)
            locked_ids.add(id)
            await trio.sleep(rng.uniform(0, 2 * lease))
            store.unlock(id)
            held.remove(id)

    held: set[str] = set()
    async with (
        open_on(store, grace=GRACE) as m,
        open_on(store, grace=GRACE) as other,
        trio.open_nursery() as strangers,
    ):
        for each in (m, other):
            each.add_queue(storm)
            await each.start()
        ids = {str(id) for id in (await m.enqueue_many(storm, range(80))).ids}
        for _ in range(4):
            strangers.start_soon(lock_some)

        async def all_others_ended() -> bool:
            return {row.id for row in store.rows() if row.finished_at} >= ids - locked_ids

        await eventually(all_others_ended, patience=60)
        strangers.cancel_scope.cancel()
    others = ids - locked_ids
    assert len(locked_ids) > 2
    assert len(others) > 30
    found = {row.id: row for row in store.rows()}
    for id in others:
        assert (found[id].status, starts[id]) == ("succeeded", 1)
    assert max(float(found[id].finished_at or 0) - returned[id] for id in others) < 1
