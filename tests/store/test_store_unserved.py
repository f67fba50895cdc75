"""Which queues nobody serves, on both stores."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from _world import PostgresWorld, WithVerbs, job

from m25._store.protocol import DeclaredQueue, Worker

WAITING, SILENCE = timedelta(seconds=30), timedelta(minutes=2)


def _queues(*names: str) -> list[DeclaredQueue]:
    return [DeclaredQueue(name, WAITING) for name in names]


async def unserved(world: WithVerbs) -> list[tuple[str, int]]:
    found = await world.store.find_unserved(WAITING, SILENCE)
    return [(each.name, each.workers) for each in found]


async def test_a_queue_is_unserved_once_its_jobs_wait_and_no_live_worker_names_it(
    world: WithVerbs,
) -> None:
    now = await world.now()
    await world.put(job("served"), job("b"), job("b"), job("b", priority=-2), job("running"))
    await world.put(job("running"), job("later", scheduled_at=now + timedelta(hours=1)))
    await world.put(job("a", priority=-1, scheduled_at=now + timedelta(hours=1)), job("a"))
    await world.claim("running", limit=1)
    await world.store.announce(Worker(str(uuid4()), "1", _queues("x", "served")))
    other = Worker(str(uuid4()), "1", _queues("b"))
    await world.store.announce(other)
    assert await unserved(world) == []
    await world.pass_time(40)
    assert await unserved(world) == [("a", 2)]
    (found,) = await world.store.find_unserved(WAITING, SILENCE)
    assert found.seconds == pytest.approx(40, abs=5)
    await world.store.dismiss(other.id, timedelta(minutes=10))
    assert await unserved(world) == [("a", 1), ("b", 1)]


async def test_a_worker_of_which_nothing_was_heard_serves_nothing(database: PostgresWorld) -> None:
    await database.put(job("served"))
    await database.pass_time(40)
    await database.store.announce(Worker(str(uuid4()), "1", _queues("served")))
    assert await unserved(database) == []
    await database.execute("update m25.worker set latest_heartbeat_at = now() - interval '3 min'")
    assert await unserved(database) == [("served", 0)]
