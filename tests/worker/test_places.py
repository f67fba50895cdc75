"""Jobs that wait, under a limit, for the place of one that runs in the same process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Literal, cast

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25._store.protocol import ClaimedJob, JobRow
from m25._worker.ahead import AheadJob
from m25._worker.places import Places, places_of

#: How long the jobs take, in seconds, unless they say otherwise.
BRIEF = 0.02
#: The number of a job that takes longer in some tests.
SLOW = 10


class Store(m25.testing.MemoryStore):
    """A job table whose answers take longer than a brief job."""

    def __init__(self) -> None:
        super().__init__(fault=self._delay)

    async def _delay(self, call: str, when: Literal["before", "after"]) -> None:
        if when == "after":
            await trio.sleep(1.5 * BRIEF)


@attrs.define
class World:
    """Processes that run one queue under a limit, and what its handlers see."""

    store: Store = attrs.field(factory=Store)
    begun: list[int] = attrs.field(factory=list[int])
    running: int = 0
    most: int = 0
    #: By number, how long a job takes that is not brief.
    takes: dict[int, float] = attrs.field(factory=dict[int, float])

    def queue(self, **options: Any) -> m25.Queue[int, None, Any]:
        @m25.queue("brief", poll_interval=60, **options)
        async def brief(number: int) -> None:
            self.begun.append(number)
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                await trio.sleep(self.takes.get(number, BRIEF))
            finally:
                self.running -= 1

        return brief

    @asynccontextmanager
    async def process(
        self, **options: Any
    ) -> AsyncGenerator[tuple[m25.M25, m25.Queue[int, None, Any]]]:
        """A process that runs the queue, in this one."""
        queue = self.queue(**{"limit": m25.Limit(1), **options})
        async with m25.testing.open(self.store) as m:
            m.add_queue(queue)
            await m.start()
            yield m, queue

    def waiting(self) -> list[int]:
        """The jobs that are this process's, and have not begun."""
        return [
            number
            for row in self.store._table.rows.values()
            if row.status.value == "executing"
            and (number := json.loads(row.input)) not in self.begun
        ]

    async def until_some_wait(self) -> list[int]:
        """Wait until jobs wait for the place of the one that is slow, and return them."""
        with trio.fail_after(10):
            while SLOW not in self.begun:  # noqa: ASYNC110 - the clock is a mock
                await trio.sleep(0.001)
        # What was claimed with it has come by now.
        await trio.sleep(5 * BRIEF)
        return self.waiting()


async def test_brief_jobs_follow_one_another_without_waiting_for_the_database(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()
    async with (
        world.process(limit=m25.Limit(5)) as (m, queue),
        world.process(limit=m25.Limit(5)),
        world.process(limit=m25.Limit(5)),
    ):
        began = trio.current_time()
        await m.enqueue_many(queue, range(1_000))
        await m25.testing.drain(m)
        used = 1_000 * BRIEF / 5 / (trio.current_time() - began)
    assert world.most == 5
    assert used > 0.9
    assert sorted(world.begun) == list(range(1_000))


async def test_what_waits_behind_a_job_that_turns_slow_is_left_to_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(takes={SLOW: 60})
    limit = m25.Limit(2)
    async with world.process(limit=limit) as (m, queue), world.process(limit=limit):
        await m.enqueue_many(queue, range(40))
        behind = await world.until_some_wait()
        began = trio.current_time()
        while len(world.begun) < 40:  # noqa: ASYNC110 - the clock is a mock
            await trio.sleep(0.1)
        assert trio.current_time() - began < 10
        await m25.testing.drain(m)
    assert behind
    assert world.most == 2
    assert sorted(world.begun) == list(range(40))


@pytest.mark.parametrize("what", ["cancel", "pause", "stop"])
async def test_what_waits_for_a_place_is_given_back_as_what_is_claimed_ahead(
    what: str, autojump_clock: trio.testing.MockClock
) -> None:
    world = World(takes={SLOW: 0.4})
    async with world.process() as (m, queue):
        ids = (await m.enqueue_many(queue, range(40))).ids
        behind = await world.until_some_wait()
        assert len(behind) > 2
        begun = list(world.begun)
        if what == "cancel":
            await m.cancel_job(queue, ids[behind[1]], running=True, wait=True)
            await m25.testing.drain(m)
            assert sorted([*world.begun, behind[1]]) == list(range(40))
            return
        await (m.pause(queue) if what == "pause" else m.stop())
        await trio.sleep(2)
        statuses = Counter(job.status.value for job in m25.testing.jobs(m, queue))
        assert world.begun == begun
        assert statuses == {"succeeded": len(begun), "pending": 40 - len(begun)}
    assert world.most == 1


async def test_a_job_that_expires_while_it_waits_for_a_place_does_not_begin(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(takes={SLOW: 0.4})
    async with world.process() as (m, queue):
        soon = world.store.now() + timedelta(seconds=0.6)
        await m.enqueue_many(queue, [m25.Job(number, expires_at=soon) for number in range(20)])
        behind = await world.until_some_wait()
        await m25.testing.drain(m)
        ended = Counter(job.status.value for job in m25.testing.jobs(m, queue))
    assert behind
    assert world.begun == list(range(SLOW + 1))
    assert ended == {"succeeded": SLOW + 1, "cancelled": 19 - SLOW}


@pytest.mark.parametrize(
    "options",
    [
        {"allowed_losses": 0},
        {"rate": m25.Rate(1_000)},
        {"limit": m25.Limit(1, key="x")},
        {"limit": m25.Limit(2)},
    ],
)
async def test_nothing_waits_where_it_may_not_or_need_not(
    options: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    world = World()
    async with world.process(max_concurrency=1, **options) as (m, queue):
        await m.enqueue_many(queue, range(30))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m25.testing.drain, m)
            while len(world.begun) < 30:
                assert world.waiting() == [] or world.running == 0
                await trio.sleep(0.001)


# Who is next


def waiting(*places: str, losses: int = 0, at: float = 1.0) -> list[AheadJob]:
    return [
        AheadJob(cast("JobRow", SimpleNamespace(id=f"{place} {n}", losses=losses)), "t", at, place)
        for n, place in enumerate(places)
    ]


def ids(jobs: list[AheadJob]) -> list[str]:
    return [job.row.id for job in jobs]


def test_of_each_place_one_job_runs_and_the_next_once_it_has_ended() -> None:
    places = Places(20)
    places.put(waiting("x", "y", "x", "y", "x"))
    taken = places.take(10, 1)
    assert ids(taken) == ["x 0", "y 1"]
    places.began(taken, 1)
    assert places.take(10, 1) == []
    places.left(ClaimedJob("x 0", "t"), 1)
    (following,) = places.take(10, 1)
    assert following.row.id == "x 2"
    # It does not begin after all, and so the place is free.
    assert ids(places.take(10, 1)) == ["x 4"]
    assert ids(places.remove({"y 3"})) == ["y 3"]
    assert len(places) == 0


def test_what_has_waited_too_long_does_not_begin() -> None:
    places = Places(20)
    places.put(waiting("x", "y") + waiting("z", at=1.2))
    assert places.late_at == 1.5
    assert ids(places.take(10, 1.6)) == ["z 0"]
    assert ids(places.late(1.6)) == ["x 0", "y 1"]


@pytest.mark.parametrize(
    ("takes", "depth"),
    [(0.0, 20), (0.001, 20), (0.019, 5), (0.045, 2), (0.11, 1), (0.19, 1), (0.3, 0), (60, 0)],
)
def test_so_many_wait_as_run_in_a_tenth_of_a_second(takes: float, depth: int) -> None:
    places = Places(20)
    assert places.depth == 0
    for number in range(3):
        job = cast("JobRow", SimpleNamespace(id=str(number)))
        places.began([(job, "t", 0.0, None)], 10)
        places.left(ClaimedJob(str(number), "t"), 10 + takes)
    assert places.depth == depth


def test_behind_a_job_that_was_lost_before_nobody_waits() -> None:
    places = Places(20)
    row = cast("JobRow", SimpleNamespace(id="1"))
    places.began([(row, "t", 0.0, None)], 10)
    places.left(ClaimedJob("1", "t"), 10)
    lost = waiting("x", losses=1)
    places.met([job.row for job in lost])
    assert places.depth == 0
    assert places.put(lost) == lost
    places.met([])
    assert places.depth > 0


async def handle(number: int) -> None:
    raise NotImplementedError(number)


def test_only_where_jobs_may_be_lost_any_of_them_waits() -> None:
    def may_wait(**options: Any) -> bool:
        places = places_of(m25.queue("q", **options)(handle))
        places.put(waiting("x"))
        return places._most > 0

    assert may_wait(limit=m25.Limit(1))
    assert not may_wait(limit=m25.Limit(1), allowed_losses=0)
    assert not may_wait(rate=m25.Rate(1))
