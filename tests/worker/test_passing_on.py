"""A process whose job ends under a limit begins the next one in its place, unless others wait."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import Any, Literal

import pytest
import trio
import trio.testing

import m25
import m25.testing
from support.claims import claim_token
from support.failing import connection_lost


def a_queue(name: str, running: Counter[str], **options: Any) -> m25.Queue[float, None, Any]:
    @m25.queue(name, poll_interval=60, **options)
    async def work(takes: float) -> None:
        running["now"] += 1
        running["most"] = max(running["most"], running["now"])
        running[name] += 1
        running[claim_token()[:18]] += 1
        try:
            await trio.sleep(takes)
        finally:
            running["now"] -= 1

    return work


async def opened(
    stack: AsyncExitStack, store: m25.testing.MemoryStore, queue: m25.Queue[Any, Any, Any]
) -> m25.M25:
    """One process that runs a queue."""
    m = await stack.enter_async_context(m25.testing.open(store))
    m.add_queue(queue)
    await m.start()
    return m


async def test_the_write_of_an_outcome_claims_the_next_job(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls = Counter[str]()

    async def count(call: str, when: Literal["before", "after"]) -> None:
        calls[call] += when == "before"

    running = Counter[str]()
    queue = a_queue("q", running, limit=m25.Limit(2))
    async with AsyncExitStack() as stack:
        m = await opened(stack, m25.testing.MemoryStore(fault=count), queue)
        calls.clear()
        began = trio.current_time()
        await m.enqueue_many(queue, [0.1] * 100)
        await m25.testing.drain(m)
        assert trio.current_time() - began == pytest.approx(5, abs=0.5)
    assert running["most"] == 2
    assert calls["succeed_and_claim"] > 40
    # Now and then it looks whether there is more room, and meanwhile one may end.
    assert calls["claim"] + calls["settle"] < 30


async def test_a_queue_that_shares_a_limit_waits_for_a_second_or_two_however_much_the_other_has(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = Counter[str]()
    limit = m25.Limit(1, name="gpu")
    images = a_queue("images", running, limit=limit)
    films = a_queue("films", running, limit=limit)
    store = m25.testing.MemoryStore()
    async with AsyncExitStack() as stack:
        first = await opened(stack, store, images)
        second = await opened(stack, store, films)
        await first.enqueue_many(images, [0.1] * 600)
        await trio.sleep(1)
        record = await second.enqueue(films, 0.1)
        began = trio.current_time()
        await second.wait(films, record.id)
        assert trio.current_time() - began < 4
        await second.enqueue_many(films, [0.1] * 600)
        await trio.sleep(40)
        assert running["films"] > 40
        assert running["images"] > 40
        assert running["most"] == 1


async def test_outcomes_and_claims_whose_answers_are_lost_cost_no_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls = Counter[str]()

    async def fail(call: str, when: Literal["before", "after"]) -> None:
        calls[call + when] += 1
        if call == "succeed_and_claim" and calls[call + when] % 3 == 0:
            raise connection_lost(call)

    running = Counter[str]()
    queue = a_queue("q", running, limit=m25.Limit(2), allowed_losses=0)
    async with AsyncExitStack() as stack:
        m = await opened(stack, m25.testing.MemoryStore(fault=fail), queue)
        await m.enqueue_many(queue, [0.1] * 60)
        await m25.testing.drain(m)
        jobs = m25.testing.jobs(m, queue)
    assert {job.status for job in jobs} == {m25.JobStatus.SUCCEEDED}
    assert running["q"] == len(jobs) == 60
    assert running["most"] == 2
    assert calls["succeed_and_claimbefore"] > calls["succeed_and_claimafter"] > 5


async def test_what_was_claimed_for_a_process_that_stops_is_free_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    asked = trio.Event()

    async def delay(call: str, when: Literal["before", "after"]) -> None:
        if call == "succeed_and_claim" and when == "after":
            asked.set()
            await trio.sleep(0.5)

    running = Counter[str]()
    queue = a_queue("q", running, limit=m25.Limit(2))
    store = m25.testing.MemoryStore(fault=delay)
    async with m25.testing.open(store, shutdown_grace=60) as m:
        m.add_queue(queue)
        await m.start()
        await m.enqueue(queue, 0.1)
        long = await m.enqueue(queue, 10)
        await m.enqueue(queue, 0.1)
        await asked.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.stop)
            await trio.sleep(1)
            statuses = [job.status.value for job in m25.testing.jobs(m, queue)]
        assert statuses == ["succeeded", "executing", "pending"]
        assert (await m.get_job(queue, long.id)).status is m25.JobStatus.SUCCEEDED
