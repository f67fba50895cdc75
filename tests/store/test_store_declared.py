"""What a queue declares counts as the worker says it that was started last, on both stores."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from _world import WithVerbs

from m25._store.protocol import DeclaredQueue, Worker

TIMEOUT = timedelta(minutes=5)
MINUTES = timedelta(minutes=2)


def worker(
    *,
    size: int | None = 2,
    limiter: str | None = "l",
    path: list[str] | None = None,
    names: tuple[str, ...] = ("q",),
    timeout: timedelta = TIMEOUT,
) -> Worker:
    queues = [DeclaredQueue(name, timeout, 1, None, limiter, size, path) for name in names]
    return Worker(str(uuid4()), "1", queues)


async def size_of(world: WithVerbs) -> int | None:
    (state,) = [one for one in await world.store.operator.limits(9) if one.name == "l"]
    return state.size


async def test_an_older_worker_does_not_take_back_what_a_newer_one_has_declared(
    world: WithVerbs,
) -> None:
    old, new = worker(size=5), worker(size=2, timeout=2 * TIMEOUT)
    await world.store.announce(old)
    await world.store.announce(new)
    # Workers say every half a minute that they are there.
    await world.store.announce(old)
    assert await size_of(world) == 2
    (state,) = await world.store.operator.queues(9, MINUTES)
    assert state.default_job_timeout == "600.000000"
    await world.store.announce(new)
    assert await size_of(world) == 2


async def test_once_the_newer_worker_has_ended_or_is_gone_the_older_one_is_right_again(
    world: WithVerbs,
) -> None:
    old, stopped, killed = worker(size=5), worker(size=2), worker(size=1)
    await world.store.announce(old)
    await world.store.announce(stopped)
    await world.store.dismiss(stopped.id, MINUTES)
    await world.store.announce(old)
    assert await size_of(world) == 5
    await world.store.announce(killed)
    await world.store.announce(old)
    assert await size_of(world) == 1
    await world.pass_time(121)
    await world.store.announce(old)
    assert await size_of(world) == 5


async def test_a_shared_limit_is_as_large_as_who_was_started_last_says_whichever_queue_it_runs(
    world: WithVerbs,
) -> None:
    old, new = worker(size=5, names=("q",)), worker(size=2, names=("r",))
    await world.store.announce(old)
    await world.store.announce(new)
    await world.store.announce(old)
    assert await size_of(world) == 2
    # The queue that it alone runs is as it says.
    (state,) = [one for one in await world.store.operator.queues(9, MINUTES) if one.name == "q"]
    assert (state.limiter, state.limit) == ("l", 2)
