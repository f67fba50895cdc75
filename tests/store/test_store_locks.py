"""A stranger has a row locked, as an open `select … for update` in a database's console does: every
call does its work on the others, at once, and says which was locked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import trio
from _world import LEASE, PostgresWorld, WithVerbs, failure, job, position, success, token

from m25._store.protocol import ClaimedJob, Locked, Release, WriteResult, Written
from support.waiting import PATIENCE


@pytest.fixture(autouse=True)
async def patience() -> AsyncGenerator[None]:
    # Whatever waits for a lock here waits for ever.
    with trio.fail_after(PATIENCE):
        yield


async def test_a_locked_job_keeps_its_lease_from_being_renewed_and_no_others(
    world: WithVerbs,
) -> None:
    await world.put(*(job() for _ in range(10)))
    claims = await world.claim()
    stolen = ClaimedJob(claims[5].id, token())
    others = {claim.id for claim in claims[1:]}
    async with world.locked(claims[0].id):
        answer = await world.store.heartbeat(claims, LEASE, LEASE)
        assert answer == Written(others, {claims[0].id})
        answer = await world.store.heartbeat([claims[0], stolen], LEASE, LEASE)
        assert answer == Written(set(), {claims[0].id})
    assert (await world.row(claims[0].id)).latest_heartbeat_at is None
    assert await world.heartbeat(*claims) == {claim.id for claim in claims}


async def test_a_locked_job_is_not_settled_and_the_others_are(world: WithVerbs) -> None:
    await world.put(*(job() for _ in range(4)))
    locked, fenced, repeated, other = claims = await world.claim()
    await world.release(fenced)
    await world.settle(success(repeated))
    async with world.locked(locked.id, fenced.id, repeated.id):
        results = await world.store.settle([success(claim) for claim in claims], 3)
        assert results == {
            locked.id: WriteResult.LOCKED,
            fenced.id: WriteResult.FENCED,
            repeated.id: WriteResult.REPEATED,
            other.id: WriteResult.SETTLED,
        }
    assert await world.settle(success(locked, '"late"')) is WriteResult.SETTLED
    assert (await world.row(locked.id)).output == '"late"'


async def test_a_locked_job_that_fails_is_followed_by_one_attempt_once_it_can_be_written(
    world: WithVerbs,
) -> None:
    await world.put(job(max_attempts=2))
    claim = await world.claim_one()
    outcome = failure(claim)
    async with world.locked(claim.id):
        assert await world.settle(outcome) is WriteResult.LOCKED
        assert await world.settle(outcome) is WriteResult.LOCKED
        assert await world.count() == 1
    assert await world.settle(outcome) is WriteResult.RETRIED
    assert await world.count() == 2


async def test_a_locked_job_is_not_started_and_the_others_are(world: WithVerbs) -> None:
    await world.put(*(job() for _ in range(3)))
    locked, fenced, other = claims = await world.claim(start=False)
    await world.release(fenced)
    async with world.locked(locked.id, fenced.id):
        answers = {one.id: one for one in await world.store.start(claims, LEASE)}
        assert answers.keys() == {locked.id, other.id}
        assert answers[locked.id] == Locked(locked.id)
    assert [one.id for one in await world.start(locked)] == [locked.id]


async def test_a_locked_job_is_not_released_and_the_others_are(world: WithVerbs) -> None:
    await world.put(*(job() for _ in range(3)))
    locked, fenced, other = claims = await world.claim()
    await world.settle(success(fenced))
    async with world.locked(locked.id, fenced.id):
        assert await world.store.release([Release(*claim) for claim in claims], []) == Written(
            {other.id}, {locked.id}
        )
    assert await world.release(locked) == {locked.id}


async def test_of_a_claim_whose_answer_was_lost_all_is_confirmed_but_what_is_locked(
    world: WithVerbs,
) -> None:
    await world.put(*(job() for _ in range(5)))
    ours, locked, fenced, lost, locked_too = claims = await world.claim()
    await world.release(lost, locked_too)
    await world.settle(success(fenced))
    async with world.locked(locked.id, fenced.id, locked_too.id):
        answer = await world.store.confirm(claims, LEASE)
        assert answer == Written({ours.id, lost.id}, {locked.id, locked_too.id})
    assert (await world.store.confirm(claims, LEASE)).ids == {
        claim.id for claim in claims if claim is not fenced
    }


async def test_of_a_claim_whose_answer_was_lost_all_is_released_but_what_is_locked(
    world: WithVerbs,
) -> None:
    ids = await world.put(*(job() for _ in range(3)))
    claims = await world.claim()
    async with world.locked(ids[1]):
        released = await world.store.release_claims("q", [claims[0].token])
        assert sorted(released) == [ids[0], ids[2]]
    assert await world.status(ids[1]) == "executing"


@pytest.mark.parametrize("goes_on", [False, True])
async def test_a_locked_job_is_left_out_of_claims(world: WithVerbs, goes_on: bool) -> None:
    ids = await world.put(*(job() for _ in range(4)))
    after = []
    if goes_on:
        after = [position(await world.row((await world.claim_one()).id))]
    async with world.locked(ids[1]):
        found = [claim.id for claim in await world.claim(after=after)]
    assert found == [id for id in ids[goes_on:] if id != ids[1]]
    assert [claim.id for claim in await world.claim()] == [ids[1]]


async def test_a_locked_job_is_left_out_of_sweeps(world: WithVerbs) -> None:
    ids = await world.put(*(job() for _ in range(3)))
    await world.claim()
    await world.pass_time(LEASE.total_seconds() + 1)
    async with world.locked(ids[1]):
        assert sorted(one.id for one in await world.sweep()) == [ids[0], ids[2]]
    assert [one.id for one in await world.sweep()] == [ids[1]]


async def test_nobody_is_asked_about_locks_where_all_was_written(database: PostgresWorld) -> None:
    await database.put(*(job() for _ in range(3)))
    claims = await database.claim(start=False)
    asked: list[str] = []
    run = database.store._run_on_pool

    async def counted(pool, statement):  # type: ignore[no-untyped-def]
        asked.append(statement.name)
        return await run(pool, statement)

    database.store._run_on_pool = counted  # type: ignore[method-assign]
    await database.start(*claims)
    await database.heartbeat(*claims)
    await database.store.confirm(claims, LEASE)
    await database.settle(success(claims[0]))
    await database.release(*claims[1:])
    assert asked == ["start", "heartbeat", "confirm", "succeed", "release"]
