"""Rates with a clock for each key, and with costs, in whatever process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal
from uuid import uuid4

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import errors
from m25._ids import IdSource
from m25._store.protocol import ClaimedJob, LimitedClaim, NewJob, Outcome
from support.cpu import told_to_wait


@attrs.frozen
class Order:
    customer: str
    number: int = 0
    pages: int = 1


make_id = IdSource()


def new_job(queue_name: str, given: str) -> NewJob:
    minute = timedelta(minutes=1)
    return NewJob(make_id(), queue_name, None, given, minute, 1, minute, None, 0, None)


def success(claim: ClaimedJob) -> Outcome:
    return Outcome(*claim, None, "null", None, None, None, None, None)


@attrs.define
class Begun:
    """When the jobs of each customer began, from the first of all on."""

    times: defaultdict[str, list[float]] = attrs.field(factory=lambda: defaultdict(list))
    numbers: list[int] = attrs.field(factory=list[int])
    since: float = attrs.field(factory=trio.current_time)

    def note(self, order: Order) -> None:
        self.times[order.customer].append(trio.current_time() - self.since)
        self.numbers.append(order.number)

    def of(self, customer: str) -> Sequence[int]:
        return [round(at) for at in self.times[customer]]


def a_queue(begun: Begun, name: str = "orders", **options: Any) -> m25.Queue[Order, None, Any]:
    options.setdefault("poll_interval", 60)

    @m25.queue(name, **options)
    async def orders(order: Order) -> None:
        begun.note(order)

    return orders


async def test_each_key_begins_by_its_own_clock_and_keeps_no_slot_while_it_waits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    begun = Begun()
    rate = m25.Rate(1, per=10, key="customer")
    queue = a_queue(begun, rate=rate, max_concurrency=1)
    async with m25.testing.open() as m:
        m.add_queue(queue)
        await m.start()
        await m.enqueue_many(queue, [Order("a", number) for number in range(5)])
        await m.enqueue_many(queue, [Order("b")] * 3)
        await m25.testing.drain(m)
        # One of the burst, and each at its exact time.
        assert begun.of("a") == [0, 0, 10, 20, 30]
        assert begun.of("b") == [0, 0, 10]
        await trio.sleep(1_000)
        await m.enqueue(queue, Order("a"))
        await m25.testing.drain(m)


async def test_many_processes_begin_no_more_of_a_key_than_its_rate(
    autojump_clock: trio.testing.MockClock,
) -> None:
    begun = Begun()
    queue = a_queue(begun, rate=m25.Rate(5, key="customer"), max_concurrency=3)
    store = m25.testing.MemoryStore()
    async with (
        m25.testing.open(store) as m,
        m25.testing.open(store) as second,
        m25.testing.open(store) as third,
    ):
        for each in (m, second, third):
            each.add_queue(queue)
            await each.start()
        for number in range(40):
            await m.enqueue_many(queue, [Order(customer, number) for customer in "abc"])
        await m25.testing.drain(m)
    for times in begun.times.values():
        assert len(times) == 40
        # The store's clock is one of microseconds.
        assert max(sum(at <= each < at + 0.999 for each in times) for at in times) == 6
        assert times[-1] == pytest.approx(38 / 5, abs=0.1)


async def test_what_a_process_has_held_up_that_is_gone_begins_in_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    begun = Begun()
    queue = a_queue(begun, rate=m25.Rate(1, per=30, key="customer"), poll_interval=2)
    store = m25.testing.MemoryStore()
    async with m25.testing.open(store) as m:
        m.add_queue(queue)
        await m.start()
        await trio.sleep(1)
        # Another process claims these, of which it ends two, and is gone.
        given = '{"customer": "a", "number": 0, "pages": 1}'
        await store.enqueue([new_job(queue.name, given) for _ in range(3)], [])
        token, lease = str(uuid4()), timedelta(seconds=60)
        claimed = await store.claim_by_rate(
            LimitedClaim(
                queue.name, limiter=queue.name, token=token, limit=10, lease=lease, start=True
            )
        )
        ended = [success(ClaimedJob(row.id, token)) for row in claimed.rows]
        assert len(await store.settle(ended, 3)) == 2
        await m25.testing.drain(m)
    assert begun.times["a"] == [pytest.approx(31, abs=3)]


async def test_jobs_are_counted_by_what_they_cost_and_not_overtaken(
    autojump_clock: trio.testing.MockClock,
) -> None:
    begun = Begun()
    rate = m25.Rate(10, per=10, burst=4, cost="pages")
    queue = a_queue(begun, rate=rate, max_concurrency=1)
    async with m25.testing.open() as m:
        m.add_queue(queue)
        await m.start()
        pages = [5, 3, 20, 1, 1]
        jobs = [Order("a", number, pages=cost) for number, cost in enumerate(pages)]
        await m.enqueue_many(queue, jobs)
        await m25.testing.drain(m)
    assert begun.numbers == [0, 1, 2, 3, 4]
    # The third one costs more than can be saved up: those after it pay for the rest.
    assert begun.of("a") == [0, 3, 8, 24, 25]


@pytest.mark.parametrize("key", [None, "customer"])
async def test_a_handler_that_was_told_to_wait_keeps_all_others_of_its_key_waiting(
    autojump_clock: trio.testing.MockClock, key: str | None
) -> None:
    begun = Begun()
    rate = m25.Rate(1, key=key)

    @m25.queue("calls", rate=rate, max_concurrency=1, retry=m25.Retry(max_attempts=3, delay=1))
    async def calls(order: Order) -> None:
        begun.note(order)
        if order.number == 1 and m25.current_job().attempt == 1:
            raise m25.RetryAfter(60, whole_rate=True) from OSError("429")
        if order.number == 7:
            raise m25.RetryAfter(5)

    async with m25.testing.open() as m:
        m.add_queue(calls)
        await m.start()
        await m.enqueue_many(calls, [Order("a", number) for number in (0, 1, 2)])
        await m.enqueue(calls, Order("b"))
        await m25.testing.drain(m, scheduled=True)
    first, second, *later = begun.of("a")
    assert (first, second) == (0, 0)
    assert min(later) == 60
    assert len(later) == 2
    assert begun.of("b") == ([0] if key else [max(begun.of("b"))])
    assert key or begun.of("b")[0] > 60


async def test_a_delay_for_a_whole_rate_is_kept_where_no_attempt_follows(
    autojump_clock: trio.testing.MockClock,
) -> None:
    begun = Begun()

    @m25.queue("calls", rate=m25.Rate(100), max_concurrency=1)
    async def calls(order: Order) -> None:
        begun.note(order)
        raise m25.RetryAfter(timedelta(minutes=1), whole_rate=order.number == 1)

    async with m25.testing.open() as m:
        m.add_queue(calls)
        await m.start()
        await m.enqueue_many(calls, [Order("a", number) for number in (0, 1, 2)])
        await m25.testing.drain(m)
    assert begun.of("a") == [0, 0, 60]


async def test_a_handler_in_a_process_keeps_all_others_waiting() -> None:
    async with m25.testing.open() as m:
        m.add_queue(told_to_wait)
        await m.start()
        await m.enqueue_many(told_to_wait, range(2))
        await m25.testing.drain(m)
        first, second = m25.testing.jobs(m, told_to_wait)
    assert first.started_at is not None
    assert second.started_at is not None
    assert (second.started_at - first.started_at).total_seconds() >= 0.5


@pytest.mark.parametrize("key", [None, "customer"])
async def test_code_that_is_no_job_takes_turns_of_a_rate_with_the_jobs(
    autojump_clock: trio.testing.MockClock, key: str | None
) -> None:
    begun = Begun()
    queue = a_queue(begun, rate=m25.Rate(1, per=10, name="api", key=key))
    whose = "a" if key else None
    async with m25.testing.open() as m:
        m.add_queue(queue)
        await m.start()
        await trio.sleep(1)
        took: list[int] = []

        async def take() -> None:
            since = trio.current_time()
            await m.limiter("api").take(key=whose)
            took.append(round(trio.current_time() - since))

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(take)
        assert took == [0, 0, 10, 20]
        begun.since = trio.current_time()
        await m.enqueue_many(queue, [Order("a"), Order("a")])
        await m.limiter(queue).take(key=whose, cost=2)
        await m25.testing.drain(m)
        # Whoever asks has the turns before what has not begun.
        assert begun.of("a") == [30, 40]
        # A turn whose wait is cancelled is spent.
        with trio.move_on_after(1) as scope:
            await m.limiter("api").take(key=whose)
        assert scope.cancelled_caught
        since = trio.current_time()
        await m.limiter("api").take(key=whose)
        assert round(trio.current_time() - since) == 19


async def test_a_turn_that_cannot_be_had_says_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    begun = Begun()
    by_key = a_queue(begun, "keyed", rate=m25.Rate(1, key="customer"))
    plain = a_queue(begun, "plain", rate=m25.Rate(1))
    async with m25.testing.open() as m:
        with pytest.raises(errors.UsageError, match="no worker has run a queue with the rate"):
            await m.limiter("keyed").take()
        m.add_queue(by_key)
        m.add_queue(plain)
        await m.start()
        await trio.sleep(1)
        with pytest.raises(errors.UsageError, match="'keyed' goes by a key: give one"):
            await m.limiter(by_key).take()
        with pytest.raises(errors.UsageError, match="'plain' goes by no key: give none"):
            await m.limiter(plain).take(key="a")
        with pytest.raises(errors.UsageError, match="has neither a limit nor a rate"):
            m.limiter(a_queue(begun, "none"))
        for cost in (0, True, 1_000_001, 1.5):
            with pytest.raises(ValueError, match="cost must be"):
                await m.limiter("plain").take(cost=cost)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="key"):
            await m.limiter("plain").take(key="")
    with pytest.raises(errors.ClientClosed):
        m.limiter("plain")


async def test_a_queue_that_waits_for_its_rate_asks_the_database_at_the_time_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    claims = 0

    async def count(call: str, when: Literal["before", "after"]) -> None:
        nonlocal claims
        claims += call == "claim" and when == "before"

    begun = Begun()
    queue = a_queue(begun, rate=m25.Rate(1, per=600, key="customer"), poll_interval=60)
    async with m25.testing.open(m25.testing.MemoryStore(fault=count)) as m:
        m.add_queue(queue)
        await m.start()
        await m.enqueue_many(queue, [Order("a")] * 3)
        await trio.sleep(5)
        claims = 0
        await trio.sleep(500)
        assert claims < 12
        await m25.testing.drain(m)
        assert begun.of("a") == [0, 0, 600]


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (lambda: m25.Rate(1, key="a..b"), "the key of a rate must be names with dots"),
        (lambda: m25.Rate(1, cost=""), "the cost of a rate"),
        (lambda: m25.Rate(1, cost=len), "not a function"),  # type: ignore[arg-type]
        (
            lambda: a_queue(Begun(), rate=m25.Rate(1, key="a"), limit=m25.Limit(1, key="a")),
            "leave out the key of the limit",
        ),
        (lambda: a_queue(Begun(), rate=m25.Rate(1, cost="a"), fair_by="a"), "fair_by"),
    ],
)
async def test_what_is_no_rate_is_refused(rate: Any, said: str) -> None:
    with pytest.raises(errors.InvalidQueue, match=said):
        rate()
