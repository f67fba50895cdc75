"""What a queue declares counts as the worker says it that was started last, on both stores."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import uuid4

import pytest
from _world import LEASE, WithVerbs, job, token

from m25._store.protocol import DeclaredQueue, LimitedClaim, NewJob, Worker

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
    await world.pass_time(1)
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
    await world.pass_time(1)
    await world.store.announce(stopped)
    await world.store.dismiss(stopped.id, MINUTES)
    await world.store.announce(old)
    assert await size_of(world) == 5
    await world.pass_time(1)
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
    await world.pass_time(1)
    await world.store.announce(new)
    await world.store.announce(old)
    assert await size_of(world) == 2
    # The queue that it alone runs is as it says.
    (state,) = [one for one in await world.store.operator.queues(9, MINUTES) if one.name == "q"]
    assert (state.limiter, state.limit) == ("l", 2)


# What is held up by a key that was declared before


def by_limit(key: str | None, *, size: int = 1) -> DeclaredQueue:
    path = None if key is None else [key]
    return DeclaredQueue("q", TIMEOUT, 1, None, "l", size, path)


def by_rate(key: str | None) -> DeclaredQueue:
    return DeclaredQueue(
        "q",
        TIMEOUT,
        limiter="l",
        rate_interval=timedelta(seconds=10),
        rate_burst=1,
        rate_path=None if key is None else [key],
        cost_path=["cost"] if key is None else None,
    )


NOTHING = DeclaredQueue("q", TIMEOUT)


async def start(world: WithVerbs, queue: DeclaredQueue) -> list[str]:
    return await world.store.announce(Worker(str(uuid4()), "1", [queue]))


async def claim(world: WithVerbs, queue: DeclaredQueue) -> list[str]:
    """The ids of the jobs that a worker claims whose queue is this."""
    mine = token()
    if queue.limiter is None:
        return [each.id for each in await world.claim()]
    if queue.rate_interval is not None:
        answer = await world.store.claim_by_rate(
            LimitedClaim("q", limiter="l", token=mine, limit=10, lease=LEASE, start=True)
        )
    else:
        from_key = None if queue.limit_path is None else ""
        answer = await world.store.claim_limited(
            LimitedClaim("q", limiter="l", token=mine, limit=10, lease=LEASE, start=True),
            from_key=from_key,
        )
    return [row.id for row in answer.rows]


async def let_go(world: WithVerbs, *, walk: int = 2) -> int:
    after, number, is_clean = None, 0, True
    while True:
        answer = await world.store.let_go("q", after=after, walk=walk, is_clean=is_clean)
        number += answer.number
        is_clean = is_clean and not answer.found
        after = answer.walked
        if after is None:
            return number


def of(customer: str, region: str = "eu") -> NewJob:
    return job(input=json.dumps({"customer": customer, "region": region}))


BEFORE = [by_limit("customer"), by_rate("customer")]
AFTER = [NOTHING, by_limit(None, size=9), by_rate(None), by_limit("region"), by_rate("region")]


@pytest.mark.parametrize("before", BEFORE, ids=["limit", "rate"])
@pytest.mark.parametrize(
    "after", AFTER, ids=["nothing", "limit of all", "cost", "limit of regions", "rate of regions"]
)
async def test_what_is_held_up_by_a_former_key_goes_on_by_what_is_declared_now(
    world: WithVerbs, before: DeclaredQueue, after: DeclaredQueue
) -> None:
    await start(world, before)
    ids = await world.put(*(of("ada") for _ in range(6)))
    given = await world.rows(ids)
    begun = set(await claim(world, before))
    assert 0 < len(begun) < 3
    assert await start(world, after) == ["q"]
    assert await let_go(world) == 6 - len(begun)
    # They have their times and places again.
    assert [row.scheduled_at for row in await world.rows(ids)] == [
        row.scheduled_at for row in given
    ]
    rest = [id for id in ids if id not in begun]
    found = []
    for _ in range(20):
        now = await claim(world, after)
        found += now
        if after.limit_path is not None or after.rate_path is not None:
            assert len(now) <= 2
        await world.pass_time(61)
        await world.sweep()
    assert [id for id in found if id in rest] == rest


async def test_a_limit_that_becomes_a_rate_of_the_same_key_finds_what_it_has_held_up(
    world: WithVerbs,
) -> None:
    await start(world, by_limit("customer"))
    ids = await world.put(*(of("ada") for _ in range(3)))
    assert await claim(world, by_limit("customer")) == ids[:1]
    assert await start(world, by_rate("customer")) == ["q"]
    await let_go(world)
    assert await claim(world, by_rate("customer")) == ids[1:]


@pytest.mark.parametrize("before", BEFORE, ids=["limit", "rate"])
@pytest.mark.parametrize("after", AFTER[3:], ids=["limit", "rate"])
async def test_no_more_of_a_key_begin_while_some_are_held_up_by_a_former_one(
    world: WithVerbs, before: DeclaredQueue, after: DeclaredQueue
) -> None:
    await start(world, before)
    await world.put(*(of(customer) for customer in "aaaabbbbcccc"))
    await claim(world, before)
    await start(world, after)
    for _ in range(3):
        await world.pass_time(10)
        assert len(await claim(world, after)) <= 2


async def test_it_is_looked_for_until_no_claim_can_hold_up_by_a_former_key_any_more(
    world: WithVerbs,
) -> None:
    old, new = Worker(str(uuid4()), "1", [by_limit("customer")]), by_limit("region")
    assert await world.store.announce(old) == []
    ids = await world.put(*(of("ada") for _ in range(3)))
    await claim(world, by_limit("customer"))
    await world.pass_time(1)
    assert await start(world, new) == ["q"]
    async with world.locked(ids[2]):
        assert await let_go(world) == 1
    # Whoever runs the queue is told, whatever it declares itself.
    assert await world.store.announce(old) == ["q"]
    await world.pass_time(61)
    assert await let_go(world) == 1
    assert await start(world, new) == ["q"]
    assert await let_go(world) == 0
    assert await start(world, new) == []


async def test_what_is_held_up_by_the_key_of_today_stays_so_however_much_it_is(
    world: WithVerbs,
) -> None:
    await start(world, by_limit("region"))
    await start(world, by_limit("customer"))
    ids = await world.put(*(of("ada") for _ in range(7)), of("bob"), of("bob"))
    await claim(world, by_limit("customer"))
    assert await let_go(world, walk=3) == 0
    # A claim that began before the key was changed may hold jobs up yet.
    assert await start(world, by_limit("customer")) == ["q"]
    held_up = [row.id for row in await world.rows(ids) if row.scheduled_at is not None]
    assert held_up == [*ids[1:7], ids[8]]
    await world.pass_time(61)
    assert await let_go(world, walk=3) == 0
    assert await start(world, by_limit("customer")) == []


async def test_a_worker_that_goes_on_with_a_key_that_is_no_more_holds_nothing_up(
    world: WithVerbs,
) -> None:
    await start(world, by_limit("customer"))
    await start(world, by_limit(None))
    (first, *rest) = await world.put(*(of("ada") for _ in range(3)))
    assert await claim(world, by_limit("customer")) == [first]
    assert [row.scheduled_at for row in await world.rows(rest)] == [None, None]
