"""Outcomes under a limit are written together with the claim of what follows, on both stores."""

from __future__ import annotations

from collections import Counter

import trio
from _world import LEASE, PostgresWorld, WithVerbs, job, success, token
from test_store_limits import TIMEOUT, claimed, declare

from m25._store.protocol import ClaimedJob, Outcome, PassedOn, WriteResult
from support.waiting import PATIENCE


async def passed_on(
    world: WithVerbs,
    *outcomes: Outcome,
    queue: str = "q",
    limit: int = 10,
    ahead: int = 0,
    leaving: str | None = None,
) -> tuple[list[ClaimedJob], PassedOn]:
    mine = token()
    answer = await world.store.succeed_and_claim(
        outcomes,
        queue,
        limiter="l",
        token=mine,
        limit=limit,
        ahead=ahead,
        leaving=leaving,
        lease=LEASE,
    )
    return [ClaimedJob(row.id, mine) for row in answer.rows], answer


async def test_as_many_begin_as_end_each_by_its_place_among_those_that_are_due(
    world: WithVerbs,
) -> None:
    await declare(world, "q", size=3)
    ids = await world.put(*(job() for _ in range(6)), job(priority=-1))
    first, second, third = (await claimed(world))[0]
    begun, answer = await passed_on(world, success(first, '"a"'), success(second))
    assert [claim.id for claim in begun] == ids[2:4]
    assert answer.results == dict.fromkeys([first.id, second.id], WriteResult.SETTLED)
    assert (await world.row(first.id)).output == '"a"'
    assert [row.status for row in answer.rows] == ["executing", "executing"]
    assert not answer.has_turned
    assert (await claimed(world))[0] == []
    # They are held as by any claim.
    assert await world.heartbeat(begun[0]) == {begun[0].id}
    (only,), _ = await passed_on(world, success(third), success(begun[0]), limit=1)
    assert only.id == ids[4]
    assert [claim.id for claim in (await claimed(world))[0]] == [ids[5]]


async def test_what_has_ended_before_or_is_not_ours_makes_no_place(world: WithVerbs) -> None:
    await declare(world, "q", size=3)
    await world.put(*(job() for _ in range(6)))
    first, second, third = (await claimed(world))[0]
    (begun,), _ = await passed_on(world, success(first))
    strange = second._replace(token=token())
    async with world.locked(third.id):
        none, answer = await passed_on(world, success(first), success(strange), success(third))
    assert none == []
    assert answer.results == {
        first.id: WriteResult.REPEATED,
        second.id: WriteResult.FENCED,
        third.id: WriteResult.LOCKED,
    }
    assert (await world.row(begun.id)).status == "executing"


async def test_a_claim_whose_answer_is_lost_is_released_by_its_token(world: WithVerbs) -> None:
    await declare(world, "q", size=1)
    ids = await world.put(job(), job())
    (first,), _ = await claimed(world)
    (second,), _ = await passed_on(world, success(first))
    assert await world.store.release_claims("q", [second.token]) == [ids[1]]
    assert [claim.id for claim in (await claimed(world))[0]] == [ids[1]]


async def test_a_limit_that_was_made_smaller_is_come_down_to(world: WithVerbs) -> None:
    await declare(world, "q", size=4)
    await world.put(*(job() for _ in range(12)))
    claims, _ = await claimed(world)
    await world.store.set_limit("l", 2)
    for claim in claims[:2]:
        assert (await passed_on(world, success(claim)))[0] == []
    (begun,), _ = await passed_on(world, success(claims[2]))
    await world.store.pause("q", None, TIMEOUT)
    assert (await passed_on(world, success(begun)))[0] == []


async def test_who_waits_for_a_place_is_left_one_once(world: WithVerbs) -> None:
    await declare(world, "q", "r", size=2)
    await world.put(*(job() for _ in range(8)), job("r"), job("r"))
    first, second = (await claimed(world, limit=2))[0]
    assert (await claimed(world, "r"))[0] == []
    await world.pass_time(0.95)
    # Who asks again has the turn that it had.
    assert (await claimed(world, "r"))[0] == []
    await world.pass_time(0.5)
    none, answer = await passed_on(world, success(first))
    assert (none, answer.has_turned) == ([], True)
    (other,), _ = await claimed(world, "r", limit=1)
    # Nobody waits any more.
    (third,), answer = await passed_on(world, success(second))
    assert not answer.has_turned
    assert (await claimed(world, "q"))[0] == []
    await world.pass_time(1)
    none, answer = await passed_on(world, success(third), success(other), queue="r", limit=1)
    assert len(none) == 1
    assert answer.has_turned


async def test_a_turn_does_not_wait_for_whoever_claims_under_the_limit(
    database: PostgresWorld,
) -> None:
    await declare(database, "q", size=1)
    await database.put(*(job() for _ in range(4)))
    (first,), _ = await claimed(database)
    assert (await claimed(database))[0] == []
    await database.pass_time(1)
    async with database.pool.connection() as connection, connection.transaction():
        await connection.execute("select from m25.limiter for no key update")
        with trio.fail_after(PATIENCE):
            (second,), answer = await passed_on(database, success(first))
        assert not answer.has_turned
    assert (await passed_on(database, success(second)))[1].has_turned


async def test_places_that_are_passed_on_at_once_are_never_one_too_many(
    database: PostgresWorld,
) -> None:
    await declare(database, "q", size=3)
    await database.put(*(job() for _ in range(150)))
    most = Counter[int]()

    async def work() -> None:
        claims: list[ClaimedJob] = []
        for turn in range(14):
            if not claims or turn % 5 == 0:
                claims += (await claimed(database, limit=2))[0]
            ((running,),) = await database.execute(
                "select count(*) from m25.job where status = 'executing'"
            )
            most[running] += 1
            if claims:
                claims, _ = await passed_on(database, *map(success, claims))
        for claim in claims:
            await database.settle(success(claim))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(work)
    assert max(most) == 3


# Several jobs for one place


def shared(answer: PassedOn) -> set[str]:
    """The place that all jobs of an answer have; `None` where each is alone."""
    assert {*answer.places} == {row.id for row in answer.rows}
    return set(answer.places.values())


async def test_jobs_are_claimed_behind_those_that_run_and_all_of_one_place_count_as_one(
    world: WithVerbs,
) -> None:
    await declare(world, "q", size=2)
    ids = await world.put(*(job() for _ in range(12)))
    first, second = (await claimed(world))[0]
    begun, answer = await passed_on(world, success(first), success(second), ahead=2)
    # The first of each place, then those that wait.
    assert [claim.id for claim in begun] == ids[2:8]
    places = [answer.places[claim.id] for claim in begun]
    assert len({*places}) == 2
    assert places[:2] == places[2:4] == places[4:]
    assert [row.status for row in answer.rows] == ["executing"] * 6
    (limit,) = await world.store.operator.limits(99)
    assert (limit.running, limit.waiting) == (2, 8)
    assert (await claimed(world))[0] == []
    # One has ended, and two are there: one is claimed.
    (behind,), answer = await passed_on(world, success(begun[0]), ahead=2)
    assert shared(answer) == {places[0]}
    assert not answer.has_room
    # Whatever else ends there leaves no room before the last has.
    for claim in (begun[2], begun[4]):
        await world.settle(success(claim))
        assert (await claimed(world))[0] == []
    (last,), answer = await passed_on(world, success(behind))
    assert answer.places == {}
    await world.settle(success(last))
    (other,), _ = await claimed(world)
    for claim in (begun[1], begun[3]):
        await world.settle(success(claim))
    none, answer = await passed_on(world, success(begun[5]), limit=0)
    assert none == []
    assert answer.has_room
    assert len((await claimed(world))[0]) == 1
    assert (await world.row(other.id)).status == "executing"


async def test_what_could_run_elsewhere_is_claimed_behind_nothing(world: WithVerbs) -> None:
    await declare(world, "q", size=3)
    await world.put(*(job() for _ in range(8)))
    first, _ = (await claimed(world, limit=2))[0]
    (begun,), answer = await passed_on(world, success(first), ahead=5)
    assert answer.places == {}
    await claimed(world)
    behind, answer = await passed_on(world, success(begun), ahead=1)
    assert len(behind) == 2
    await world.store.set_limit("l", 2)
    # Beyond a smaller limit nothing is claimed, not even where others wait.
    assert (await passed_on(world, success(behind[0]), ahead=5))[0] == []
    assert (await passed_on(world, success(behind[1]), ahead=5))[0] == []


async def test_what_is_released_from_a_place_has_one_of_its_own_when_it_is_claimed_again(
    world: WithVerbs,
) -> None:
    await declare(world, "q", size=1)
    ids = await world.put(*(job() for _ in range(6)))
    (first,), _ = await claimed(world)
    begun, _ = await passed_on(world, success(first), ahead=2)
    await world.release(begun[0])
    assert (await claimed(world))[0] == []
    await world.store.set_limit("l", 2)
    (again,), _ = await claimed(world)
    assert again.id == ids[1]
    assert (await claimed(world))[0] == []
    await world.settle(success(again))
    assert len((await claimed(world))[0]) == 1
    await world.settle(success(begun[1]))
    assert (await claimed(world))[0] == []
    await world.settle(success(begun[2]))
    assert len((await claimed(world))[0]) == 1


async def test_a_place_that_others_wait_for_is_left_once_its_jobs_have_run(
    world: WithVerbs,
) -> None:
    await declare(world, "q", "r", size=1)
    await world.put(*(job() for _ in range(8)), job("r"))
    (first,), _ = await claimed(world)
    begun, answer = await passed_on(world, success(first), ahead=1)
    (place,) = shared(answer)
    assert (await claimed(world, "r"))[0] == []
    await world.pass_time(1)
    none, answer = await passed_on(world, success(begun[0]), ahead=1)
    assert (none, answer.has_turned, answer.leaving) == ([], False, place)
    assert (await claimed(world, "r"))[0] == []
    none, answer = await passed_on(world, success(begun[1]), ahead=1, leaving=place)
    assert (none, answer.has_turned, answer.leaving) == ([], True, None)
    assert len((await claimed(world, "r"))[0]) == 1
