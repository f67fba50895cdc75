"""Places of limits that are held outside of jobs, on both stores: they count with the jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import trio
from _world import LEASE, PostgresWorld, WithVerbs, failure, job, success, token

from m25._store.protocol import (
    AskedPlace,
    ClaimedJob,
    DeclaredQueue,
    LimitedClaim,
    TakenPlaces,
    Worker,
)
from support.waiting import PATIENCE

TIMEOUT = timedelta(minutes=5)


async def declare(
    world: WithVerbs, *names: str, size: int = 2, path: list[str] | None = None
) -> None:
    queues = [DeclaredQueue(name, TIMEOUT, 1, None, "l", size, path) for name in names]
    await world.store.announce(Worker(str(uuid4()), "1", queues))


def ask(number: int, key: str | None = None) -> list[AskedPlace]:
    return [AskedPlace(token(), key, LEASE) for _ in range(number)]


async def take(world: WithVerbs, asked: list[AskedPlace]) -> TakenPlaces:
    taken = await world.store.take_places("l", asked)
    assert taken is not None
    return taken


async def held(world: WithVerbs, number: int, key: str | None = None) -> list[str]:
    """Take as many as can be had of these, and return their ids."""
    return list((await take(world, ask(number, key))).ids)


async def claimed(
    world: WithVerbs, limit: int = 10, *, queue: str = "q", from_key: str | None = None
) -> list[ClaimedJob]:
    mine = token()
    answer = await world.store.claim_limited(
        LimitedClaim(queue, limiter="l", token=mine, limit=limit, lease=LEASE, start=True),
        from_key=from_key,
    )
    return [ClaimedJob(row.id, mine) for row in answer.rows]


async def test_places_and_jobs_are_counted_together(world: WithVerbs) -> None:
    await declare(world, "q", size=3)
    await world.put(*(job() for _ in range(5)))
    (first,) = await claimed(world, 1)
    places = ask(3)
    assert (await take(world, places)).ids == {place.id for place in places[:2]}
    assert await claimed(world) == []
    assert await held(world, 1) == []
    await world.settle(success(first))
    assert len(await claimed(world)) == 1
    assert await world.store.release_places("l", [places[0].id])
    assert len(await held(world, 2)) == 1
    # It was given back before.
    assert not await world.store.release_places("l", [places[0].id])


async def test_what_ends_beside_places_is_followed_by_no_more_than_the_limit(
    world: WithVerbs,
) -> None:
    await declare(world, "q", size=2)
    await world.put(*(job() for _ in range(5)))
    (first,) = await claimed(world, 1)
    assert len(await held(world, 2)) == 1
    mine = token()
    passed = await world.store.succeed_and_claim(
        [success(first)],
        "q",
        limiter="l",
        token=mine,
        limit=5,
        ahead=0,
        leaving=None,
        lease=LEASE,
    )
    assert len(passed.rows) == 1
    assert await claimed(world) == []
    await world.store.set_limit("l", 1)
    passed = await world.store.succeed_and_claim(
        [success(ClaimedJob(passed.rows[0].id, mine))],
        "q",
        limiter="l",
        token=token(),
        limit=5,
        ahead=0,
        leaving=None,
        lease=LEASE,
    )
    assert passed.rows == []


async def test_by_a_key_each_has_its_own_places_whatever_the_text(world: WithVerbs) -> None:
    await declare(world, "q", size=1, path=["customer"])
    texts = ["ada", "", 'a "b", {c}\\ NULL', "é" * 300]
    for text in texts:
        await world.put(job(input=json.dumps({"customer": text})))
    await world.put(job(input="null"))
    for text in texts:
        assert len(await held(world, 2, text)) == 1, text
    # Nothing is a key like the empty text, and of long ones the beginning counts.
    assert await claimed(world, from_key="") == []
    assert await held(world, 1, "é" * 200) == []


async def test_a_key_that_is_given_where_there_is_none_or_missing_is_told(world: WithVerbs) -> None:
    assert await world.store.take_places("l", ask(1)) is None
    await world.store.declare_limit("l", 5, ["customer"])
    assert await take(world, ask(1)) == TakenPlaces(True, True, False, frozenset())
    assert len(await held(world, 1, "ada")) == 1
    await world.store.declare_limit("l", 5, None)
    assert await take(world, ask(1, "ada")) == TakenPlaces(True, False, False, frozenset())
    # What workers say of the key of their jobs is what counts.
    await declare(world, "q", path=["customer"])
    assert len(await held(world, 1, "ada")) == 1
    await world.store.declare_limit("l", None, None)
    assert not (await take(world, ask(1, "ada"))).has_limit


async def test_a_place_that_is_asked_for_again_is_held_still(world: WithVerbs) -> None:
    await world.store.declare_limit("l", 1, None)
    places = ask(2)
    assert (await take(world, places)).ids == {places[0].id}
    await world.pass_time(50)
    assert (await take(world, places)).ids == {places[0].id}
    await world.pass_time(50)
    # It has its lease from then on.
    assert not any(each.is_expired for each in await world.store.find_lost_holders(9))


async def test_who_does_not_renew_its_lease_loses_its_place(world: WithVerbs) -> None:
    await world.store.declare_limit("l", 2, None)
    first, second = await held(world, 2)
    await world.pass_time(40)
    assert (await world.store.renew_places([first])).ids == {first}
    (seen,) = await world.store.find_lost_holders(9)
    assert (seen.id, seen.is_expired, seen.length) == (second, False, 60)
    await world.pass_time(25)
    (lost,) = await world.store.find_lost_holders(9)
    assert (lost.limiter, lost.id, lost.is_expired) == ("l", second, True)
    # A lease that was renewed since it was seen is another one.
    assert await world.store.sweep_holders([seen._replace(lease_expires_at="1")]) == []
    assert await world.store.sweep_holders([lost]) == [lost]
    assert await world.store.sweep_holders([lost]) == []
    renewed = await world.store.renew_places([first, second])
    assert (renewed.ids, renewed.locked) == ({first}, frozenset())
    assert len(await held(world, 2)) == 1


async def test_who_waits_for_a_second_is_left_a_place_by_jobs(world: WithVerbs) -> None:
    await declare(world, "q", size=1)
    await world.put(*(job() for _ in range(9)))
    (running,) = await claimed(world)
    place = ask(1)
    assert (await take(world, place)).ids == frozenset()
    # At first the next job is no later than it.
    await world.settle(failure(running))
    (running,) = await claimed(world)
    await world.pass_time(0.9)
    assert (await take(world, place)).ids == frozenset()
    await world.pass_time(0.2)
    await world.settle(failure(running))
    assert await claimed(world) == []
    assert (await take(world, place)).ids == {place[0].id}
    await world.store.release_places("l", [place[0].id])
    (running,) = await claimed(world)
    # Where a job succeeds, too, none follows in its place.
    assert (await take(world, place)).ids == frozenset()
    await world.pass_time(1.1)
    passed = await world.store.succeed_and_claim(
        [success(running)],
        "q",
        limiter="l",
        token=token(),
        limit=5,
        ahead=3,
        leaving=None,
        lease=LEASE,
    )
    assert passed.rows == []
    assert (await take(world, place)).ids == {place[0].id}


async def test_no_place_is_left_to_who_asks_no_more(world: WithVerbs) -> None:
    await declare(world, "q", size=1)
    await world.put(job())
    (place,) = await held(world, 1)
    assert await held(world, 1) == []
    await world.pass_time(2.5)
    await world.store.release_places("l", [place])
    assert await claimed(world) == []
    await world.pass_time(0.6)
    assert len(await claimed(world)) == 1


async def test_jobs_that_wait_for_a_second_are_left_a_place_in_turns(world: WithVerbs) -> None:
    await declare(world, "q", size=1)
    await world.put(*(job() for _ in range(9)))
    (place,) = await held(world, 1)
    waiting = ask(2)
    assert (await take(world, waiting)).ids == frozenset()
    assert await claimed(world) == []
    await world.pass_time(1.1)
    assert (await take(world, waiting)).ids == frozenset()
    await world.store.release_places("l", [place])
    # Both have waited for a second: it is the jobs' turn, and a claim is not kept from it.
    taken = await take(world, waiting)
    assert (taken.has_turned, taken.ids) == (True, frozenset())
    (running,) = await claimed(world)
    assert not (await take(world, waiting)).has_turned
    await world.pass_time(1.1)
    await world.settle(failure(running))
    # Then it is that of those who hold places again.
    assert await claimed(world) == []
    (place,) = (await take(world, waiting)).ids
    other = [each for each in waiting if each.id != place]
    assert (await take(world, other)).ids == frozenset()
    await world.pass_time(1.1)
    assert (await take(world, other)).ids == frozenset()
    await world.store.release_places("l", [place])
    # And so on, also where a claim is first to come.
    assert len(await claimed(world)) == 1


async def test_jobs_of_a_key_have_a_turn_too(world: WithVerbs) -> None:
    await declare(world, "q", size=1, path=["customer"])
    await world.put(job(input='{"customer": "ada"}'))
    (place,) = await held(world, 1, "ada")
    assert await claimed(world, from_key="") == []
    await world.pass_time(1.1)
    await world.store.release_places("l", [place])
    assert (await take(world, ask(1, "ada"))).has_turned
    assert len(await claimed(world, from_key="")) == 1


async def test_who_waits_in_two_processes_does_not_forget_the_other(world: WithVerbs) -> None:
    await declare(world, "q", size=1)
    await world.put(*(job() for _ in range(3)))
    (running,) = await claimed(world)
    one, other = ask(1), ask(1)
    for place in (one, other, one):
        assert (await take(world, place)).ids == frozenset()
        await world.pass_time(0.6)
    await world.settle(failure(running))
    assert await claimed(world) == []
    assert len((await take(world, other)).ids) == 1
    await world.store.release_places("l", [other[0].id])
    # By now it is the jobs' turn, and what they leave is the other's.
    assert (await take(world, one)).has_turned
    assert (await take(world, one)).ids == {one[0].id}


async def test_limits_are_listed_with_what_is_held(world: WithVerbs) -> None:
    await declare(world, "q", size=2, path=["customer"])
    await world.put(job(input='{"customer": "ada"}'), job(input='{"customer": "bob"}'))
    await claimed(world, from_key="")
    await held(world, 1, "ada")
    await held(world, 2, "cyd")
    await world.store.declare_limit("other", 7, ["id"])
    limits = {each.name: each for each in await world.store.operator.limits(99)}
    mine = limits["l"]
    assert (mine.running, mine.held, mine.waiting) == (2, 3, 0)
    assert (mine.full_keys, list(mine.named_keys)) == (2, ["ada", "cyd"])
    other = limits["other"]
    assert (list(other.queues), other.key, other.size) == ([], "id", 7)
    assert (other.running, other.held, other.waiting) == (0, 0, 0)


async def test_who_waits_hears_of_room(world: WithVerbs) -> None:
    await declare(world, "q", size=1)
    await world.put(job(), job())
    said = Told()
    async with (
        world.store.listen("q", said.hear("work")),
        world.store.listen_for_room(said.hear("room")),
    ):
        await said.until(("work", None), ("room", None))
        (place,) = await held(world, 1)
        await world.store.release_places("l", [place])
        await said.until(("work", "q"), ("room", "l"))
        # A claim that leaves it a place says so.
        (running,) = await claimed(world, 1)
        assert await held(world, 1) == []
        await world.pass_time(1.1)
        await world.settle(success(running))
        assert await claimed(world) == []
        await said.until(("room", "l"))
        await world.store.set_limit("l", 3)
        await said.until(("room", "l"))


class Told:
    """What listeners are told, in whatever order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, object]] = []
        self._changed = trio.Event()

    def hear(self, what: str) -> Callable[[object], None]:
        def heard(said: object) -> None:
            self.all.append((what, said))
            self._changed.set()

        return heard

    async def until(self, *wanted: tuple[str, object]) -> None:
        """Wait until all of this is told, and forget what was told by then."""
        with trio.fail_after(PATIENCE):
            while not set(wanted) <= set(self.all):
                self._changed = trio.Event()
                await self._changed.wait()
        self.all.clear()


async def test_a_row_that_is_locked_is_not_taken_for_lost(database: PostgresWorld) -> None:
    await database.store.declare_limit("l", 2, None)
    first, second = await held(database, 2)
    async with database.pool.connection() as connection, connection.transaction():
        await connection.execute("select from m25.limit_holder where id = %s for update", [first])
        renewed = await database.store.renew_places([first, second])
        assert (renewed.ids, renewed.locked) == ({second}, {first})


async def test_however_many_ask_at_once_no_more_hold_places_than_the_limit(
    database: PostgresWorld,
) -> None:
    await database.store.declare_limit("l", 5, None)
    found: list[str] = []

    async def ask_for_two() -> None:
        found.extend(await held(database, 2))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask_for_two)
    assert len(found) == 5
