"""`max_concurrency` of a process: over all its queues, and none keeps the others from running."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import attrs
import psycopg
import pytest
import trio
import trio.testing

import m25
import m25.testing


@attrs.define
class World:
    """What the handlers of some queues do and see."""

    m: m25.M25 = attrs.field(init=False)
    queues: list[m25.Queue[float, None, Any]] = attrs.field(factory=list)
    #: The names of the queues, a job each, as they began.
    begun: list[str] = attrs.field(factory=list)
    ended: Counter[str] = attrs.field(factory=Counter)
    running: int = 0
    most_running: int = 0
    #: Whether it counts these, which takes time.
    counts: bool = False
    #: The ids of those whose handlers have ended.
    has_ended: set[m25.JobId] = attrs.field(factory=set)
    #: The most that were claimed and had not ended, when a job began.
    most_claimed: int = 0

    def queue(self, name: str, **options: Any) -> m25.Queue[float, None, Any]:
        """A queue whose jobs take as many seconds as their inputs say."""

        @m25.queue(name, **options)
        async def queue(seconds: float) -> None:
            self.begun.append(name)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            if self.counts:
                self.most_claimed = max(self.most_claimed, self.claimed())
            await trio.sleep(seconds)
            self.running -= 1
            self.ended[name] += 1
            self.has_ended.add(m25.current_job().id)

        self.queues.append(queue)
        return queue

    def claimed(self) -> int:
        live = (m25.JobStatus.RESERVED, m25.JobStatus.EXECUTING)
        return sum(
            job.status in live and job.id not in self.has_ended
            for queue in self.queues
            for job in m25.testing.jobs(self.m, queue)
        )

    @asynccontextmanager
    async def open(self, **options: Any) -> AsyncGenerator[m25.M25]:
        async with m25.testing.open(**options) as self.m:
            for queue in self.queues:
                self.m.add_queue(queue)
            yield self.m


async def test_a_process_runs_no_more_handlers_than_it_may_and_claims_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(counts=True)
    short = world.queue("short")
    long = world.queue("long", max_concurrency=3)
    once = world.queue("once", allowed_losses=0)
    shared = m25.Limit(4, name="shared")
    limited = [world.queue(f"limited {number}", limit=shared) for number in range(2)]
    async with world.open(max_concurrency=5) as m:
        for queue in world.queues:
            await m.enqueue_many(queue, [0.01 if queue is short else 1.0] * 8)
        await m.start()
        await m25.testing.drain(m)
    assert world.most_running == world.most_claimed == 5
    assert world.ended == {each.name: 8 for each in (short, long, once, *limited)}


async def test_while_another_queue_waits_for_a_slot_nothing_is_claimed_ahead(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(counts=True)
    long, brief = world.queue("long"), world.queue("brief")
    async with world.open(max_concurrency=2) as m:
        await m.enqueue_many(long, [60.0] * 4)
        await m.start()
        await trio.sleep(1)
        # So brief that many are claimed ahead of where a queue is alone.
        await m.enqueue_many(brief, [0.001] * 100)
        # The two that had begun end. From then on each queue has a slot, and would have both.
        await trio.sleep(90)
    assert world.ended == {"long": 2, "brief": 100}
    assert world.most_claimed == 2


async def test_a_queue_of_short_jobs_does_not_wait_for_a_backlog_of_long_ones(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()
    long, short = world.queue("long"), world.queue("short")
    async with world.open(max_concurrency=4) as m:
        await m.enqueue_many(long, [60.0] * 40)
        await m.start()
        await trio.sleep(1)
        assert world.begun == ["long"] * 4
        await m.enqueue_many(short, [0.1] * 200)
        # The long jobs that had begun end; from then on each queue has two slots.
        await trio.sleep(60)
        await trio.sleep(30)
        assert world.ended["short"] == 200
        assert world.ended["long"] == 4
        # Where nobody else has anything to run, all slots are the queue's again.
        assert world.running == 4


async def test_queues_take_turns_at_one_slot(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    queues = [world.queue(name) for name in "abc"]
    async with world.open(max_concurrency=1) as m:
        for queue in queues:
            await m.enqueue_many(queue, [1.0] * 5)
        await m.start()
        await m25.testing.drain(m)
    rounds = [set(world.begun[start : start + 3]) for start in range(0, 15, 3)]
    assert rounds == [{"a", "b", "c"}] * 5


async def test_a_queue_starts_although_others_have_all_slots(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()
    first, second = world.queue("first"), world.queue("second")
    async with world.open(max_concurrency=1) as m:
        for queue in (first, second):
            await m.enqueue(queue, 100.0)
        with trio.fail_after(1):
            await m.start()
        await m25.testing.drain(m)
    assert sorted(world.begun) == ["first", "second"]


async def test_handlers_that_wait_for_jobs_give_the_slots_of_the_process_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()
    leaf = world.queue("leaf", max_concurrency=2)
    tops = 0

    @m25.queue("top", max_concurrency=20)
    async def top(_: None) -> None:
        nonlocal tops
        for _ in range(3):
            await m25.current_job().m.call(leaf, 1.0)
            world.running += 1
            tops = max(tops, world.running)
            await trio.sleep(1)
            world.running -= 1

    async with world.open(max_concurrency=2) as m:
        m.add_queue(top)
        await m.start()
        with trio.fail_after(1_000):
            async with m.open_nursery() as nursery:
                await nursery.start_many(top, [None] * 20)
    assert world.ended == {"leaf": 60}
    assert tops == 2


async def test_who_waits_for_a_slot_of_its_own_queue_keeps_no_other_queue_waiting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()
    other = world.queue("other")
    went_on = trio.Event()

    @m25.queue("own", max_concurrency=1)
    async def own(is_parent: bool) -> None:
        if is_parent:
            await m25.current_job().m.call(other, 5.0)
            went_on.set()
        else:
            # Its parent is to go on meanwhile, and has no slot of this queue.
            await trio.sleep(1_000)

    async with world.open(max_concurrency=2) as m:
        m.add_queue(own)
        await m.start()
        await m.enqueue(own, True)
        await m.enqueue(own, False)
        await trio.sleep(10)
        await m.enqueue_many(other, [0.0] * 5)
        await trio.sleep(10)
        assert world.ended == {"other": 6}
        assert not went_on.is_set()
        await m25.testing.drain(m)
    assert went_on.is_set()


async def test_a_paused_queue_and_one_that_is_empty_leave_the_slots_to_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()
    busy, paused = world.queue("busy"), world.queue("paused")
    world.queue("empty")
    async with world.open(max_concurrency=2) as m:
        await m.enqueue_many(busy, [1.0] * 20)
        await m.enqueue_many(paused, [1.0] * 20)
        await m.start()
        await trio.sleep(1.5)
        await m.pause(paused)
        await trio.sleep(5)
        before = Counter(world.begun)["paused"]
        await trio.sleep(5)
        assert Counter(world.begun)["paused"] == before
        assert world.ended["busy"] > 10
        await m.resume(paused)
        await m25.testing.drain(m)
    assert world.ended == {"busy": 20, "paused": 20}


async def test_a_claim_that_was_in_doubt_is_followed_by_none_for_a_slot_that_is_taken_by_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls: list[str] = []

    async def fault(call: str, phase: Literal["before", "after"]) -> None:
        has_claimed = any(row.status == "executing" for row in store.rows())
        if phase == "after" and call == "claim" and has_claimed and not calls:
            calls.append(call)
            raise psycopg.OperationalError("the server closed the connection unexpectedly")
        if phase == "before" and call == "release_claims":
            calls.append(call)
            await m.enqueue(second, 100.0)
            await trio.sleep(10)

    store = m25.testing.MemoryStore(fault=fault)
    world = World()
    first, second = world.queue("first", allowed_losses=0), world.queue("second")
    async with world.open(max_concurrency=1, store=store) as m:
        await m.start()
        await m.enqueue(first, 100.0)
        await m25.testing.drain(m)
    assert calls == ["claim", "release_claims"]
    assert world.begun == ["second", "first"]
    assert world.most_running == 1


@pytest.mark.parametrize("most", [0, -1, True, 1.5, "1"])
async def test_a_limit_that_is_none_is_refused(most: Any) -> None:
    with pytest.raises(ValueError, match="max_concurrency must be a whole number from 1 on"):
        async with m25.testing.open(max_concurrency=most):
            pass
