"""Queues that are fair between keys, as their workers run them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing


@attrs.frozen
class Order:
    customer: str
    takes: float = 0.02


@attrs.define
class Ends:
    """When handlers have ended, by whose job it was."""

    times: dict[str, list[float]] = attrs.Factory(dict[str, list[float]])
    #: Set once ten of bob's have.
    ten: trio.Event = attrs.field(factory=trio.Event)

    def queue(self, **options: Any) -> m25.Queue[Order, None, Any]:
        @m25.queue("orders", fair_by="customer", poll_interval=60, **options)
        async def orders(order: Order) -> None:
            await trio.sleep(order.takes)
            self.times.setdefault(order.customer, []).append(trio.current_time())
            if len(self.times.get("bob", [])) == 10:
                self.ten.set()

        return orders


async def time_of_ten(others: int, *, max_concurrency: int) -> float:
    """How long ten jobs of one customer take, put after so many of another."""
    ends = Ends()
    queue = ends.queue(max_concurrency=max_concurrency)
    async with m25.testing.open() as m:
        m.add_queue(queue)
        await m.start()
        await m.enqueue_many(queue, [Order("ada")] * others)
        # Workers are busy, and have been.
        await trio.sleep(1)
        put_at = trio.current_time()
        await m.enqueue_many(queue, [Order("bob")] * 10)
        await ends.ten.wait()
        assert others == 0 or len(ends.times["ada"]) < others
        return ends.times["bob"][-1] - put_at


@pytest.mark.parametrize("max_concurrency", [1, 10])
async def test_ten_jobs_behind_thousands_of_another_take_less_than_twice_the_time_of_an_empty_queue(
    autojump_clock: trio.testing.MockClock, max_concurrency: int
) -> None:
    alone = await time_of_ten(0, max_concurrency=max_concurrency)
    behind = await time_of_ten(60 * max_concurrency, max_concurrency=max_concurrency)
    assert behind < 2 * alone + 0.01


async def test_a_customer_with_many_jobs_is_not_starved_by_ever_new_ones(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ends = Ends()
    queue = ends.queue(max_concurrency=1)
    async with m25.testing.open() as m:
        m.add_queue(queue)
        await m.start()
        await m.enqueue_many(queue, [Order("ada", 0.1)] * 50)
        await trio.sleep(2)
        had = len(ends.times["ada"])
        for number in range(120):
            await m.enqueue(queue, Order(f"{number}", 0.1))
            await trio.sleep(0.1)
        assert len(ends.times["ada"]) - had > 2


async def test_weights_say_how_much_each_has(autojump_clock: trio.testing.MockClock) -> None:
    ends = Ends()

    @m25.queue("orders", fair_by=m25.Fair("customer", weights={"ada": 3}), max_concurrency=4)
    async def orders(order: Order) -> None:
        await trio.sleep(order.takes)
        ends.times.setdefault(order.customer, []).append(trio.current_time())

    async with m25.testing.open() as m:
        m.add_queue(orders)
        await m.start()
        for customer in ("ada", "bob"):
            await m.enqueue_many(orders, [Order(customer, 1)] * 100)
        await trio.sleep(20.5)
        counts = {customer: len(times) for customer, times in ends.times.items()}
        assert 50 <= counts["ada"] <= 65
        assert sum(counts.values()) == 80


async def test_all_jobs_of_many_keys_end_however_they_were_put(
    autojump_clock: trio.testing.MockClock,
) -> None:
    tried: set[str] = set()

    @m25.queue(
        "orders", fair_by="customer", poll_interval=600, retry=m25.Retry(max_attempts=3, delay=5)
    )
    async def orders(order: Order) -> None:
        if order.customer not in tried:
            tried.add(order.customer)
            if order.takes:
                raise m25.Snooze(order.takes)
            raise OSError

    async with m25.testing.open() as m:
        m.add_queue(orders)
        await m.start()
        began = trio.current_time()
        put = await m.enqueue_many(orders, [Order(f"{n}", n % 2 * 20) for n in range(150)])
        soon = datetime.now(UTC) - timedelta(seconds=1)
        later = await m.enqueue(orders, m25.Job(Order("later", 0), scheduled_at=soon))
        for id in (*put.ids, later.id):
            await m.wait(orders, id)
        assert trio.current_time() - began < 60
        statuses = {job.status for job in m25.testing.jobs(m, orders)}
        assert statuses == {m25.JobStatus.SUCCEEDED, m25.JobStatus.FAILED}


def test_a_queue_has_either_fairness_or_a_limit_for_each_key() -> None:
    with pytest.raises(m25.errors.InvalidQueue, match="fair_by"):

        @m25.queue("orders", fair_by="customer", limit=m25.Limit(1, key="customer"))
        async def orders(order: Order) -> None: ...


@pytest.mark.parametrize("fair_by", [3, "", "a..b", "x" * 201])
def test_what_is_no_key_is_refused_where_it_is_declared(fair_by: Any) -> None:
    with pytest.raises(m25.errors.InvalidQueue, match="fair_by"):
        m25.declare("orders", input=Order, output=None, fair_by=fair_by)


@pytest.mark.parametrize("weights", [3, {"a": 0}, {"a": float("inf")}, {"a": True}, {1: 1}])
def test_what_is_no_weight_is_refused_where_it_is_declared(weights: Any) -> None:
    with pytest.raises(m25.errors.InvalidQueue, match=r"fair_by|weight"):
        m25.Fair("customer", weights=weights)


def test_a_declared_queue_says_by_what_it_is_fair() -> None:
    declared = m25.declare("orders", input=Order, output=None, fair_by="customer")

    @m25.queue(declared)
    async def orders(order: Order) -> None: ...

    assert orders.fair_by == declared.fair_by == m25.Fair("customer")
    with pytest.raises(m25.errors.InvalidQueue, match="fair_by cannot be given here"):
        m25.queue(declared, fair_by="customer")
