"""Taking work from owners that are gone, on both stores."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from _world import LEASE, RESERVED_TIMEOUT, PostgresWorld, WithVerbs, job, success

from m25._store.protocol import JobRow, Swept, SweptQueue, WriteResult
from support.waiting import PATIENCE

LEASE_OVER = LEASE.total_seconds() + 1


async def test_an_executing_job_whose_lease_is_over_fails_and_is_followed_by_the_next(
    world: WithVerbs,
) -> None:
    (id,) = await world.put(job(retry_delay=timedelta(minutes=3), unique_key="k"))
    await world.claim_one()
    await world.pass_time(LEASE_OVER)
    assert await world.sweep() == [Swept("q", id, "heartbeat_timeout", True, 1, 1)]
    row, following = await world.row(id), await world.successor(id)
    assert (row.status, row.failure_reason) == ("failed", "heartbeat_timeout")
    assert (row.attempt, row.losses) == (1, 1)
    assert row.finished_at is not None
    assert following is not None
    assert (following.status, following.attempt, following.losses) == ("pending", 2, 1)
    assert (following.original_attempt_id, following.previous_attempt_id) == (id, id)
    assert following.unique_key == "k"
    assert following.scheduled_at is not None
    # It was not the job's fault: the next does not wait for the retry delay.
    assert following.scheduled_at == row.finished_at


@pytest.mark.parametrize(("count", "second", "third"), [(3, 1.0, 5.0), (40, 1.0, 1.5)])
async def test_jobs_that_are_lost_together_again_go_on_one_after_the_other(
    world: WithVerbs, count: int, second: float, third: float
) -> None:
    """One of them may kill its worker, and would take the others with it until all have failed."""
    ids = await world.put(*(job() for _ in range(count)))
    steps: list[float] = []
    for _ in range(3):
        assert len(await world.claim(limit=count)) == count
        await world.pass_time(LEASE_OVER)
        assert len(await world.sweep(limit=count)) == count
        waits = sorted([run_in(await latest_of(world, id)) for id in ids])
        assert waits == [number * waits[1] for number in range(count)]
        steps.append(waits[1])
        await world.pass_time(61)
    assert steps == [0, second, third]


def run_in(row: JobRow) -> float:
    """How long an attempt waits from its beginning, in seconds."""
    assert row.scheduled_at is not None
    return round(float(row.scheduled_at) - float(row.created_at), 3)


async def latest_of(world: WithVerbs, id: str) -> JobRow:
    """The latest attempt of a job, by the id of its first."""
    row = await world.row(id)
    while (following := await world.successor(row.id)) is not None:
        row = following
    return row


async def test_one_that_is_lost_again_beside_others_that_are_not_goes_on_at_once(
    world: WithVerbs,
) -> None:
    (again,) = await world.put(job())
    await world.claim_one()
    await world.pass_time(LEASE_OVER)
    await world.sweep()
    others = await world.put(job(), job())
    await world.claim()
    await world.pass_time(LEASE_OVER)
    assert len(await world.sweep()) == 3
    for id in (again, *others):
        latest = await latest_of(world, id)
        assert (latest.status, run_in(latest)) == ("pending", 0)


async def test_a_heartbeat_that_comes_after_the_look_saves_its_job(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    await world.pass_time(LEASE_OVER)
    queues = [SweptQueue("q", 3, RESERVED_TIMEOUT)]
    suspects = await world.store.find_suspects(queues, 10)
    assert [(each.id, each.is_expired) for each in suspects] == [(claim.id, True)]
    await world.heartbeat(claim)
    assert await world.store.sweep(queues, suspects) == []
    assert await world.status(claim.id) == "executing"


async def test_an_executing_job_of_the_originals_fails_once_its_deadline_is_over(
    world: WithVerbs,
) -> None:
    timeout = timedelta(hours=1)
    once, twice = await world.put(job(timeout=timeout), job(timeout=timeout, max_attempts=2))
    await world.claim()
    await world.disown(once)
    await world.disown(twice)
    await world.pass_time(LEASE_OVER)
    assert await world.sweep() == []
    await world.pass_time(timeout.total_seconds())
    assert sorted(await world.sweep()) == [
        Swept("q", once, "job_timeout", False, 1, 1),
        Swept("q", twice, "job_timeout", True, 1, 2),
    ]
    assert [row.losses for row in await world.rows([once, twice])] == [0, 0]
    assert await world.successor(once) is None
    following = await world.successor(twice)
    assert following is not None
    assert (following.attempt, following.losses) == (2, 0)


async def test_a_reserved_job_whose_lease_is_over_is_pending_again(world: WithVerbs) -> None:
    (id,) = await world.put(job())
    await world.claim_one(start=False)
    await world.pass_time(LEASE_OVER)
    assert await world.sweep() == [Swept("q", id, None, False, 1, 1)]
    row = await world.row(id)
    assert (row.status, row.attempt, row.losses, row.reserved_at) == ("pending", 1, 0, None)
    assert [claim.id for claim in await world.claim()] == [id]


async def test_a_reserved_job_of_the_originals_is_pending_again_after_the_reserved_timeout(
    world: WithVerbs,
) -> None:
    (id,) = await world.put(job())
    await world.claim_one(start=False)
    await world.disown(id)
    await world.pass_time(LEASE_OVER)
    assert await world.sweep() == []
    await world.pass_time(RESERVED_TIMEOUT.total_seconds())
    assert await world.sweep() == [Swept("q", id, None, False, 1, 1)]
    assert await world.status(id) == "pending"


async def test_what_is_pending_or_has_ended_is_never_swept(world: WithVerbs) -> None:
    await world.put(*(job() for _ in range(3)))
    await world.settle(success(await world.claim_one()))
    await world.release(await world.claim_one())
    (cancelled,) = await world.put(job())
    await world.store.cancel(cancelled, "q")
    await world.pass_time(1_000_000)
    assert await world.sweep() == []


async def test_what_has_ended_takes_no_room_in_a_sweep(world: WithVerbs) -> None:
    await world.put(*(job() for _ in range(30)))
    for claim in await world.claim():
        await world.settle(success(claim))
    (dead,) = await world.put(job())
    await world.claim()
    await world.pass_time(LEASE_OVER)
    assert [one.id for one in await world.sweep(limit=1)] == [dead]


async def test_only_the_queues_asked_for_are_swept_each_by_its_own_options(
    world: WithVerbs,
) -> None:
    await world.put(job("a"), job("b"), job("c"))
    for name in "abc":
        await world.claim(name)
    await world.pass_time(LEASE_OVER)
    assert [one.queue_name for one in await world.sweep("a", allowed_losses=0)] == ["a"]
    assert await world.claim("a") == []
    swept = await world.sweep("a", "b")
    assert [(one.queue_name, one.has_next_attempt) for one in swept] == [("b", True)]
    assert await world.sweep() == []


async def test_a_sweep_takes_no_more_than_it_may(world: WithVerbs) -> None:
    ids = await world.put(*(job() for _ in range(7)))
    await world.claim()
    await world.pass_time(LEASE_OVER)
    sweeps = [await world.sweep(limit=3) for _ in range(3)]
    assert [len(swept) for swept in sweeps] == [3, 3, 1]
    assert sorted(one.id for swept in sweeps for one in swept) == ids
    assert await world.sweep() == []


async def test_a_job_that_kills_its_process_cannot_do_so_for_ever(world: WithVerbs) -> None:
    await world.put(job())
    lost = 0
    while await world.claim():
        lost += 1
        await world.pass_time(LEASE_OVER)
        (swept,) = await world.sweep(allowed_losses=3)
        assert swept.has_next_attempt == (lost <= 3)
    assert lost == 4


async def test_who_comes_back_after_a_sweep_keeps_nothing(world: WithVerbs) -> None:
    (id,) = await world.put(job())
    zombie = await world.claim_one()
    await world.pass_time(LEASE_OVER)
    await world.sweep()
    row = await world.row(id)
    assert await world.settle(success(zombie)) is WriteResult.FENCED
    assert await world.heartbeat(zombie) == set()
    assert await world.row(id) == row
    (again,) = await world.claim()
    assert await world.settle(success(again)) is WriteResult.SETTLED


async def test_who_settles_after_its_lease_is_over_and_before_a_sweep_is_in_time(
    world: WithVerbs,
) -> None:
    await world.put(job())
    claim = await world.claim_one()
    await world.pass_time(LEASE_OVER)
    assert await world.settle(success(claim)) is WriteResult.SETTLED
    assert await world.sweep() == []


async def test_sweepers_do_not_take_the_same_job_twice(world: WithVerbs) -> None:
    ids = await world.put(*(job() for _ in range(60)))
    await world.claim()
    await world.pass_time(LEASE_OVER)
    swept: list[Swept] = []

    async def sweeper() -> None:
        while some := await world.sweep(limit=7):
            swept.extend(some)

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(sweeper)
    swept += await world.sweep()
    assert sorted(one.id for one in swept) == ids
    assert await world.count() == 2 * len(ids)


async def test_a_row_that_its_owner_is_writing_is_left_alone(database: PostgresWorld) -> None:
    await database.put(job())
    claim = await database.claim_one()
    await database.pass_time(LEASE_OVER)
    async with database.pool.connection() as connection, connection.transaction():
        await connection.execute(
            "update m25.job set lease_expires_at = now() + interval '1 hour' where id = %s",
            [claim.id],
        )
        with trio.fail_after(PATIENCE):
            assert await database.sweep() == []
    assert await database.sweep() == []
    assert await database.status(claim.id) == "executing"
