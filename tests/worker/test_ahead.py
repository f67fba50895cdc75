"""Jobs that are claimed before there is a slot for them: none begins too soon, and none is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25._store.protocol import JobRow
from m25._worker.ahead import Ahead, AheadJob, ahead_of
from support.told import lines

#: Of these queues.
SLOTS = 2
#: How long a short job takes, in seconds: by these 100 jobs are claimed ahead.
SHORT = 0.001


class Store(m25.testing.MemoryStore):
    """A job table that counts claims."""

    def __init__(self) -> None:
        super().__init__()
        self.claims = 0

    async def claim(self, *args: Any, **options: Any) -> list[JobRow]:
        self.claims += 1
        return await super().claim(*args, **options)


@attrs.define
class World:
    """One client or several, and what their handlers do and see."""

    store: Store = attrs.field(factory=Store)
    #: The jobs that have begun, in order.
    begun: list[int] = attrs.field(factory=list)
    running: int = 0
    most_running: int = 0
    #: How many jobs were reserved or executing, in the database's eyes, when one began.
    most_live: int = 0
    #: The jobs that were lost with a process before, and how many of them were live when one began.
    lost_before: Sequence[int] = ()
    most_lost_live: int = 0
    waited_for: dict[int, trio.Event] = attrs.field(factory=dict)
    #: By number, how long a job takes that is not short.
    seconds: dict[int, float] = attrs.field(factory=dict)

    def queue(self, **options: Any) -> m25.Queue[int, None, Any]:
        @m25.queue("short", max_concurrency=SLOTS, **options)
        async def short(number: int) -> None:
            self.begun.append(number)
            if number in self.waited_for:
                self.waited_for[number].set()
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self.look(number)
            try:
                await trio.sleep(self.seconds.get(number, SHORT))
            finally:
                self.running -= 1

        return short

    def look(self, number: int) -> None:
        if number in self.lost_before:
            live = sum(row.losses > 0 and row.status == "executing" for row in self.store.rows())
            self.most_lost_live = max(self.most_lost_live, live)
        if number % 20 == 0:
            live = self.statuses["reserved"] + self.statuses["executing"]
            self.most_live = max(self.most_live, live)

    @asynccontextmanager
    async def client(self, queue: m25.Queue[int, None, Any]) -> AsyncGenerator[m25.M25]:
        async with m25.testing.open(self.store, shutdown_grace=1) as m:
            m.add_queue(queue)
            await m.start()
            yield m

    @property
    def statuses(self) -> Counter[str]:
        """How many jobs are in which status."""
        return Counter(row.status for row in self.store.rows())

    def lose(self) -> None:
        """As if the processes that ran these had been lost once."""
        for row in self.store._table.rows.values():
            if int(row.input) in self.lost_before:
                row.losses = 1

    def ahead(self) -> list[JobRow]:
        """The jobs that are executing in the database's eyes, and have not begun."""
        begun = {str(number) for number in self.begun}
        return [
            row for row in self.store.rows() if row.status == "executing" and row.input not in begun
        ]

    async def until_begun(self, number: int) -> None:
        if number not in self.begun:
            await self.waited_for.setdefault(number, trio.Event()).wait()


async def test_short_jobs_are_claimed_many_at_a_time_and_run_as_few_at_once_as_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()
    short = world.queue()
    async with world.client(short) as m:
        await m.enqueue_many(short, range(240))
        await m25.testing.drain(m)
    assert world.begun == list(range(240))
    assert world.most_running == SLOTS
    assert world.most_live > 5 * SLOTS
    assert world.store.claims < 240 / SLOTS / 4
    assert world.statuses == {"succeeded": 240}


@pytest.mark.parametrize(
    "options",
    [
        {"allowed_losses": 0},
        {"exclusive": True},
        {"limit": m25.Limit(50)},
        {"setup": lambda: trio.open_nursery()},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_nothing_is_claimed_ahead_where_it_matters_which_jobs_have_begun(
    options: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    world = World()
    if "setup" in options:

        @m25.queue("short", max_concurrency=SLOTS, **options)
        async def short(number: int, nursery: trio.Nursery) -> None:
            world.look(number)
            await trio.sleep(SHORT)

    else:
        short = world.queue(**options)
    async with world.client(short) as m:
        await m.enqueue_many(short, range(140))
        await m25.testing.drain(m)
    assert world.statuses == {"succeeded": 140}
    # With a limit the write of results claims the next jobs: a slot has the old one and the next.
    assert world.most_live <= (2 * SLOTS if "limit" in options else SLOTS)


async def test_a_job_that_was_lost_before_is_not_claimed_before_there_is_a_slot(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()
    short = world.queue()
    world.lost_before = range(80, 100)
    async with m25.testing.open(world.store) as m:
        await m.enqueue_many(short, range(160))
        world.lose()
        m.add_queue(short)
        await m.start()
        await m25.testing.drain(m)
    assert world.statuses == {"succeeded": 160}
    assert sorted(world.begun) == list(range(160))
    assert world.most_lost_live <= SLOTS
    # They are given back once or twice, and not over and over.
    assert world.store.claims < 160 / SLOTS / 2
    assert world.most_live > 5 * SLOTS


async def test_where_jobs_turn_slow_others_have_what_was_claimed_ahead(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(seconds=dict.fromkeys(range(80, 86), 60))
    short = world.queue()
    async with world.client(short) as m:
        await m.enqueue_many(short, range(140))
        await world.until_begun(81)
        assert len(world.ahead()) > 5 * SLOTS
        await trio.sleep(1)
        assert world.ahead() == []
        assert world.statuses == {"succeeded": 80, "executing": SLOTS, "pending": 58}
        async with world.client(short):
            await world.until_begun(83)
            await trio.sleep(1)
            assert world.statuses["executing"] == 2 * SLOTS
            await m25.testing.drain(m)
    assert world.most_running == 2 * SLOTS
    assert sorted(world.begun) == list(range(140))
    assert world.statuses == {"succeeded": 140}
    assert {row.attempt for row in world.store.rows()} == {1}


async def test_a_stop_gives_back_what_was_claimed_ahead_as_if_it_had_not_been(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()
    short = world.queue()
    async with world.client(short) as m:
        later = datetime.now(UTC) + timedelta(days=1)
        await m.enqueue_many(short, [m25.Job(number, expires_at=later) for number in range(140)])
        await world.until_begun(80)
        assert len(world.ahead()) > 5 * SLOTS
    done = len(world.begun)
    assert world.statuses == {"succeeded": done, "pending": 140 - done}
    for row in world.store.rows():
        assert row.attempt == 1
        assert row.expires_at is not None


async def test_a_job_that_was_claimed_ahead_can_be_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(seconds={80: 0.3, 81: 0.3})
    short = world.queue()
    async with world.client(short) as m:
        await m.enqueue_many(short, range(140))
        await world.until_begun(81)
        row = world.ahead()[-1]
        with trio.fail_after(0.25):
            await m.cancel_job(short, m25.JobId(row.id), running=True, wait=True)
        await m25.testing.drain(m)
    assert world.statuses == {"succeeded": 139, "cancelled": 1}
    assert int(row.input) not in world.begun


@pytest.mark.parametrize("by", ["the same process", "another"])
async def test_a_pause_holds_for_what_was_claimed_ahead(
    by: str, autojump_clock: trio.testing.MockClock
) -> None:
    world = World(seconds={80: 0.3, 81: 0.3})
    short = world.queue()
    async with world.client(short) as m, m25.testing.open(world.store) as other:
        await m.enqueue_many(short, range(140))
        await world.until_begun(81)
        assert len(world.ahead()) > 5 * SLOTS
        await (m if by == "the same process" else other).pause(short)
        await trio.sleep(0.1)
        assert world.statuses == {"succeeded": 80, "executing": SLOTS, "pending": 58}
        await trio.sleep(10)
        assert world.statuses == {"succeeded": 82, "pending": 58}
        await other.resume(short)
        await m25.testing.drain(m)
    assert world.begun == list(range(140))
    assert world.statuses == {"succeeded": 140}


async def test_a_job_that_expires_once_it_was_claimed_ahead_does_not_begin(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    world = World(seconds={80: 0.3, 81: 0.3})
    short = world.queue()
    async with world.client(short) as m:
        soon = world.store.now() + timedelta(seconds=0.2)
        jobs = [m25.Job(number, expires_at=soon if number % 2 else None) for number in range(140)]
        await m.enqueue_many(short, jobs)
        await world.until_begun(81)
        assert {"82", "83"} < {row.input for row in world.ahead()}
        await m25.testing.drain(m)
    assert world.begun == [*range(82), *range(82, 140, 2)]
    assert world.statuses == {"succeeded": 82 + 29, "cancelled": 29}
    assert len(lines(caplog, "JobExpired")) == 29


async def test_a_job_that_was_claimed_ahead_has_all_of_its_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(seconds={80: 0.3, 81: 0.3, 82: 0.25})
    short = world.queue()
    async with world.client(short) as m:
        await m.enqueue_many(short, [m25.Job(number, timeout=0.35) for number in range(140)])
        await world.until_begun(81)
        assert "82" in {row.input for row in world.ahead()}
        await m25.testing.drain(m)
    assert world.statuses == {"succeeded": 140}


# How much


def of(count: int, at: float) -> list[AheadJob]:
    row = cast("JobRow", SimpleNamespace(losses=0))
    return [AheadJob(row, str(number), at) for number in range(count)]


def after(rate: float, ahead: Ahead, now: float = 10.0) -> int:
    """The room for more, where so many jobs have ended in a second."""
    ahead.room(now)
    for _ in range(int(rate / 10)):
        ahead.ended += 1
    return ahead.room(now + 0.1)


@pytest.mark.parametrize(("rate", "room"), [(0, 0), (10, 0), (100, 5), (1_000, 50), (10_000, 200)])
def test_a_twentieth_of_a_second_of_work_is_claimed_ahead(rate: float, room: int) -> None:
    assert after(rate, Ahead(20)) == room


def test_nothing_is_claimed_ahead_where_one_job_after_another_takes_longer_than_that() -> None:
    ahead = Ahead(20)
    ahead.room(10.0)
    for ends_at in (10.5, 11.0, 11.5):
        assert ahead.room(ends_at - 0.02) == 0
        ahead.ended += 1
        assert ahead.room(ends_at + 0.005) == 0


def test_no_more_is_claimed_before_half_of_it_has_begun() -> None:
    ahead = Ahead(20)
    assert after(1_000, ahead) == 50
    ahead.put(of(50, at=10.1))
    taken: Sequence[AheadJob] = ahead.take(24, 10.1)
    assert [job.token for job in taken] == [str(number) for number in range(24)]
    assert ahead.room(10.1) == 0
    ahead.take(1, 10.1)
    assert ahead.room(10.1) == 25


@pytest.mark.parametrize(("lease", "wait"), [(20, 0.5), (0.8, 0.2)])
def test_what_has_not_begun_in_time_does_not_begin(lease: float, wait: float) -> None:
    ahead = Ahead(lease)
    ahead.put(of(2, at=1) + of(1, at=1.1))
    assert ahead.late_at == pytest.approx(1 + wait)
    assert ahead.late(1 + 0.9 * wait) == []
    now = 1 + wait + 0.01
    assert ahead.take(3, now) == []
    assert len(ahead.late(now)) == 2
    assert len(ahead.take(3, now)) == 1


def test_what_was_lost_before_is_not_kept_and_claims_are_for_slots_until_it_is_through() -> None:
    ahead = Ahead(20)
    assert after(1_000, ahead) == 50
    jobs = of(3, at=10.1)
    lost = jobs[1]._replace(row=cast("JobRow", SimpleNamespace(losses=1)))
    ahead.met([job.row for job in (jobs[0], lost, jobs[2])])
    assert ahead.put([jobs[0], lost, jobs[2]]) == [lost]
    assert [job.token for job in ahead.take(3, 10.1)] == ["0", "2"]
    assert ahead.room(10.1) == 0
    ahead.met([jobs[0].row])
    assert ahead.room(10.1) == 50


@attrs.frozen
class Order:
    customer: str


async def deliver(order: Order) -> None:
    raise NotImplementedError(order)


def test_a_queue_that_is_fair_claims_nothing_ahead() -> None:
    assert after(1_000, ahead_of(m25.queue("orders")(deliver))) == 50
    assert after(1_000, ahead_of(m25.queue("orders", fair_by="customer")(deliver))) == 0
