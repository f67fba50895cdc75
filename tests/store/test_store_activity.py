"""Which workers are there, and what has ended lately, on both stores."""

from __future__ import annotations

from datetime import timedelta

import pytest
from _world import WithVerbs, failure, job, make_id, success

from m25._store.protocol import DeclaredQueue, Worker

MINUTE = timedelta(minutes=1)


async def test_workers_are_told_of_until_they_have_said_goodbye_or_nothing_for_long(
    world: WithVerbs,
) -> None:
    queues = [DeclaredQueue(name, timedelta(hours=1)) for name in ("b", "a")]
    first, gone, last = (make_id() for _ in range(3))
    for id in (first, gone, last, first):
        await world.store.announce(Worker(id, "1.0", queues))
    await world.store.dismiss(gone, timedelta(hours=1))
    workers = await world.store.operator.workers(MINUTE)
    assert [worker.id for worker in workers] == [first, last]
    assert {(worker.version, *worker.queues) for worker in workers} == {("1.0", "b", "a")}
    assert 0 <= workers[0].silent_for < 60
    assert float(workers[0].started_at) <= float(workers[1].started_at)
    assert await world.store.operator.workers(timedelta(0)) == []


async def test_what_has_ended_lately_is_counted_with_how_long_it_waited_and_ran(
    world: WithVerbs,
) -> None:
    await world.put(job("q"), job("q"), job("q"), job("other"))
    (long_ago,) = await world.claim("q", limit=1)
    await world.settle(success(long_ago))
    await world.pass_time(100)
    first, second = await world.claim("q")
    await world.pass_time(10)
    await world.settle(success(first))
    await world.settle(failure(second))
    (rate,) = await world.store.operator.rates(MINUTE, 100)
    assert (rate.queue_name, rate.ended, rate.failed) == ("q", 2, 1)
    assert rate.waited == pytest.approx(100, abs=5)
    assert rate.ran == pytest.approx(10, abs=5)
    # Of the two youngest, one is pending.
    (rate,) = await world.store.operator.rates(MINUTE, 2)
    assert rate.ended == 1
    assert await world.store.operator.rates(MINUTE, 1) == []
