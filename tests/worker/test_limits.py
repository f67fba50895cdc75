"""Limits on how many jobs run at once, in whatever process."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import errors
from support.told import lines


@attrs.define
class Running:
    """How many handlers run, by key, and how many ran at the most."""

    now: Counter[str] = attrs.field(factory=Counter)
    most: defaultdict[str, int] = attrs.field(factory=lambda: defaultdict(int))
    order: list[int] = attrs.field(factory=list)

    @asynccontextmanager
    async def one(self, key: str, number: int = 0) -> AsyncGenerator[None]:
        self.order.append(number)
        self.now[key] += 1
        self.most[key] = max(self.most[key], self.now[key])
        try:
            yield
        finally:
            self.now[key] -= 1


@attrs.frozen
class Order:
    customer: str
    number: int = 0
    takes: float = 1.0


def a_queue(running: Running, name: str = "orders", **options: Any) -> m25.Queue[Order, None, Any]:
    @m25.queue(name, poll_interval=60, **options)
    async def orders(order: Order) -> None:
        async with running.one(order.customer, order.number):
            await trio.sleep(order.takes)

    return orders


@asynccontextmanager
async def workers(
    count: int, *queues: m25.Queue[Any, Any, Any]
) -> AsyncGenerator[tuple[m25.M25, ...]]:
    """So many processes, in one: each with all queues."""
    store = m25.testing.MemoryStore()
    async with trio.open_nursery() as nursery:
        done = trio.Event()

        async def serve(task_status: trio.TaskStatus[m25.M25]) -> None:
            async with m25.testing.open(store) as m:
                for queue in queues:
                    m.add_queue(queue)
                await m.start()
                task_status.started(m)
                await done.wait()

        yield tuple([await nursery.start(serve) for _ in range(count)])
        done.set()


async def test_no_more_jobs_run_than_the_limit_in_all_processes_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = Running()
    queue = a_queue(running, limit=m25.Limit(3), max_concurrency=10)
    async with workers(4, queue) as (m, *_):
        began = trio.current_time()
        await m.enqueue_many(queue, [Order("a", number) for number in range(30)])
        await m25.testing.drain(m)
        assert running.most["a"] == 3
        # Those that begin together may do so in any order.
        assert sorted(running.order[:3]) == [0, 1, 2]
        # Room is used as soon as it is there.
        assert trio.current_time() - began < 10.5


async def test_room_that_a_failure_makes_is_used_as_soon_as_it_is_there(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Where an attempt has failed, the write of its outcome claims no other job in its place."""

    @m25.queue("failing", poll_interval=60, limit=m25.Limit(3), max_concurrency=10)
    async def failing(number: int) -> None:
        await trio.sleep(1)
        raise ValueError(number)

    async with workers(1, failing) as (m,):
        began = trio.current_time()
        await m.enqueue_many(failing, range(30))
        await m25.testing.drain(m)
        assert trio.current_time() - began < 11


async def test_of_each_key_as_many_run_and_no_key_waits_for_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = Running()
    queue = a_queue(running, limit=m25.Limit(2, key="customer"), max_concurrency=10)
    async with workers(2, queue) as (m, *_):
        began = trio.current_time()
        await m.enqueue_many(queue, [Order("a", number) for number in range(300)])
        late = await m.enqueue(queue, Order("b"))
        await m.wait(queue, late.id)
        assert trio.current_time() - began < 2.5
        await m25.testing.drain(m, scheduled=True)
        assert running.most == {"a": 2, "b": 1}
        assert sorted(running.order) == [0, *range(300)]
        places = {number: place for place, number in enumerate(running.order)}
        assert all(abs(place - number) <= 3 for number, place in places.items())


async def test_queues_that_share_a_limit_make_room_for_each_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = Running()
    shared = m25.Limit(2, name="gpu")
    queues = [a_queue(running, name, limit=shared) for name in ("images", "films")]
    async with workers(1, *queues) as (m,), workers(1, *queues):
        for queue in queues:
            await m.enqueue_many(queue, [Order("gpu")] * 10)
        began = trio.current_time()
        await m25.testing.drain(m)
        assert running.most["gpu"] == 2
        assert trio.current_time() - began < 12


async def test_no_more_jobs_begin_than_the_rate_and_the_burst_in_any_window(
    autojump_clock: trio.testing.MockClock,
) -> None:
    begun: list[float] = []

    @m25.queue("rated", rate=m25.Rate(50), poll_interval=60)
    async def rated(number: int) -> None:
        begun.append(trio.current_time())
        await trio.sleep(0.5)

    async with workers(3, rated) as (m, *_):
        await m.enqueue_many(rated, range(500))
        await m25.testing.drain(m)
    assert begun == sorted(begun)
    # The first second has the burst. (The store's clock is one of microseconds.)
    most = max(sum(at <= each < at + 0.999 for each in begun) for at in begun)
    assert most == 51
    assert begun[-1] - begun[0] == pytest.approx(10, rel=0.02)


async def test_a_rate_costs_no_claims_while_there_are_no_jobs_and_is_shared_by_name(
    autojump_clock: trio.testing.MockClock,
) -> None:
    claims = 0

    async def count(call: str, when: Literal["before", "after"]) -> None:
        nonlocal claims
        claims += call == "claim" and when == "before"

    running = Running()
    rate = m25.Rate(1, per=60, name="mailer")
    queues = [a_queue(running, name, rate=rate) for name in ("letters", "parcels")]
    async with m25.testing.open(m25.testing.MemoryStore(fault=count)) as m:
        for queue in queues:
            m.add_queue(queue)
        await m.start()
        began = trio.current_time()
        for queue in queues:
            await m.enqueue_many(queue, [Order("a")] * 2)
        await m25.testing.drain(m)
        assert trio.current_time() - began == pytest.approx(121, abs=3)
        claims = 0
        await trio.sleep(600)
        assert claims < 5


async def test_a_limit_that_is_set_is_heard_at_once_and_a_smaller_one_cancels_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = Running()
    queue = a_queue(running, limit=m25.Limit(1))
    async with workers(2, queue) as (m, other):
        jobs = await m.enqueue_many(queue, [Order("a", takes=10)] * 12)
        await trio.sleep(1)
        assert running.now["a"] == 1
        await other.set_limit(queue, 4)
        await trio.sleep(0.1)
        assert running.now["a"] == 4
        await other.set_limit("orders", 2)
        assert running.now["a"] == 4
        await trio.sleep(30)
        assert running.now["a"] == 2
        (listed,) = await m.queues()
        assert (listed.limiter, listed.limit) == ("orders", 2)
        await m.set_limit(queue, None)
        assert (await m.queues())[0].limit == 1
        await m25.testing.drain(m)
        assert len(jobs.ids) == 12


async def test_a_job_cannot_wait_for_one_that_waits_for_its_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    gpu = m25.Limit(1, name="gpu")
    running = Running()
    children = a_queue(running, "children", limit=gpu)

    @m25.queue("parents", limit=gpu)
    async def parents(number: int) -> None:
        async with m25.current_job().open_nursery() as nursery:
            await nursery.start_job(children, Order("a"), detached=True)
            await nursery.start_job(children, Order("a"))

    async with m25.testing.open() as m:
        m.add_queue(parents)
        m.add_queue(children)
        await m.start()
        job = await m.enqueue(parents, 1)
        record = await m.wait(parents, job.id)
        assert "keeps its place while it waits" in (record.crash_traceback or "")
        await m25.testing.drain(m)
        assert running.most["a"] == 1


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (lambda: m25.Limit(0), "from 1 to 10,000"),
        (lambda: m25.Limit(True), "whole number"),
        (lambda: m25.Limit(5, key=""), "empty"),
        (lambda: m25.Limit(5, key="a..b"), "dots in between"),
        (lambda: m25.Limit(5, key=len), "not a function"),  # type: ignore[arg-type]
        (lambda: m25.Limit(5, name=""), "empty"),
        (lambda: m25.Limit(5, name="x" * 201), "200"),
        (lambda: a_queue(Running(), limit=5), r"must be a m25.Limit"),
        (lambda: a_queue(Running(), rate=5), r"must be a m25.Rate"),
        (lambda: m25.Rate(0), "from 1 to"),
        (lambda: m25.Rate(1.5), "whole number"),  # type: ignore[arg-type]
        (lambda: m25.Rate(1, burst=0), "from 1 to"),
        (lambda: m25.Rate(1, per=0), "the time of a rate"),
        (lambda: m25.Rate(2_000, per=1), "more than a thousand"),
        (lambda: m25.Rate(1, per=86_400 * 365, burst=200), "more than a century"),
        (
            lambda: a_queue(Running(), limit=m25.Limit(1, name="a"), rate=m25.Rate(1, name="b")),
            "the same name",
        ),
        (
            lambda: m25.Queue("q", handler_function=print, runs="thread", limit=m25.Limit(1)),
            'runs="thread"',
        ),
    ],
)
def test_what_is_no_limit_is_refused(limit: Any, said: str) -> None:
    with pytest.raises(errors.InvalidQueue, match=said):
        limit()


async def test_queues_that_share_a_limit_say_the_same_of_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with m25.testing.open() as m:
        m.add_queue(a_queue(Running(), "a", limit=m25.Limit(2, name="gpu")))
        m.add_queue(a_queue(Running(), "own", limit=m25.Limit(3)))
        with pytest.raises(errors.InvalidQueue, match="3 may run at once, and 2"):
            m.add_queue(a_queue(Running(), "b", limit=m25.Limit(3, name="gpu")))
        with pytest.raises(errors.InvalidQueue, match="counts by a key"):
            m.add_queue(a_queue(Running(), "c", limit=m25.Limit(2, name="gpu", key="customer")))
        with pytest.raises(errors.UsageError, match="no worker has run"):
            await m.set_limit("gpu", 3)
        with pytest.raises(errors.UsageError, match="has no limit"):
            await m.set_limit(a_queue(Running(), "plain"), 3)
        with pytest.raises(errors.InvalidQueue, match="paused"):
            await m.set_limit("gpu", 0)


async def test_a_job_that_is_held_up_has_its_own_time_in_its_record(
    autojump_clock: trio.testing.MockClock,
) -> None:
    queue = a_queue(Running(), limit=m25.Limit(1, key="customer"), max_concurrency=10)
    async with workers(1, queue) as (m,):
        await m.enqueue(queue, Order("a"))
        held_up = await m.enqueue(queue, Order("a", 1))
        await trio.sleep(0.5)
        record = await m.get_job(queue, held_up.id)
        assert record.scheduled_at is None
        details = await m.job_details(held_up.id)
        assert details is not None
        assert details.job.due_at == held_up.created_at
        assert details.attempts[0].due_at == held_up.created_at


async def test_jobs_that_a_key_holds_up_go_on_where_a_new_program_has_no_key(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "m25")
    running = Running()
    store = m25.testing.MemoryStore()
    old = a_queue(running, limit=m25.Limit(1, key="customer"), max_concurrency=10)
    new = a_queue(running, limit=m25.Limit(3), max_concurrency=10)
    async with m25.testing.open(store) as m:
        m.add_queue(old)
        await m.start()
        await m.enqueue_many(old, [Order("a", number, takes=60) for number in range(9)])
        await trio.sleep(1)
    async with m25.testing.open(store) as m:
        m.add_queue(new)
        await m.start()
        with trio.fail_after(300):
            await m25.testing.drain(m)
    assert running.most["a"] == 3
    assert set(running.order) == set(range(9))
    (event,) = lines(caplog, "JobsLetGo")
    assert (event.m25_queue, event.m25_jobs) == ("orders", 8)


async def test_limits_are_listed_and_no_queue_that_has_none() -> None:
    async def nothing(_: dict[str, str]) -> None: ...

    def queue(name: str, **options: Any) -> m25.Queue[Any, Any, Any]:
        return m25.Queue(name, handler_function=nothing, **options)

    async with m25.testing.open() as m:
        for each in (
            queue("limited", limit=m25.Limit(2)),
            queue("rated", rate=m25.Rate(1)),
            queue("ordered", ordered_by="to"),
            queue("fair", fair_by="to"),
            queue("plain"),
        ):
            m.add_queue(each)
        await m.start()
        assert [(limit.name, limit.size) for limit in await m.limits()] == [
            ("limited", 2),
            ("rated", None),
        ]
        # What an operator has set is a limit, whatever the queue declares.
        await m.set_limit("ordered", 5)
        assert [limit.name for limit in await m.limits()] == ["limited", "ordered", "rated"]
