"""Jobs that ended long ago are deleted, with all that belongs to them, on both stores."""

from __future__ import annotations

from datetime import timedelta

from _world import PostgresWorld, WithVerbs, failure, job, make_id, success

from m25 import Keep
from m25._store.protocol import DeclaredQueue, NewChild, NewStep, Worker, WriteResult

MINUTE = timedelta(minutes=1)
KEEP = Keep(succeeded=MINUTE, failed=10 * MINUTE, cancelled=5 * MINUTE)


async def prune(world: WithVerbs, keep: Keep = KEEP) -> tuple[int, int]:
    """Prune the queue; return how many jobs went, and how many rows."""
    jobs = attempts = 0
    after: str | None = None
    while True:
        pruned = await world.store.prune("q", keep, after=after, walk=2)
        jobs += pruned.jobs
        attempts += pruned.attempts
        if (after := pruned.after) is None:
            return jobs, attempts


async def test_a_job_is_kept_for_its_time_from_its_end_on(world: WithVerbs) -> None:
    done, failed, cancelled, live, waiting = await world.put(
        *(job(max_attempts=1) for _ in "12345")
    )
    await world.store.cancel(cancelled, "q")
    claims = {claim.id: claim for claim in await world.claim(limit=3)}
    await world.settle(success(claims[done]))
    await world.settle(failure(claims[failed]))
    (elsewhere,) = await world.put(job("other"))
    await world.store.cancel(elsewhere, "other")
    left = [done, failed, cancelled, live, waiting, elsewhere]
    for minutes, gone in ((0.5, None), (1, done), (4, cancelled), (5, failed), (9_999, None)):
        await world.pass_time(minutes * 60)
        pruned = await prune(world)
        if gone is not None:
            left.remove(gone)
        assert pruned == ((0, 0) if gone is None else (1, 1))
        assert sorted(await world.store.get([done, failed, cancelled, live, waiting])) == sorted(
            id for id in left if id != elsewhere
        )
    assert await world.count() == 3


async def test_what_is_not_said_is_kept_for_ever(world: WithVerbs) -> None:
    (id,) = await world.put(job())
    await world.store.cancel(id, "q")
    await world.pass_time(1e7)
    assert await prune(world, Keep(succeeded=MINUTE, failed=MINUTE)) == (0, 0)


async def test_all_attempts_of_a_job_go_with_the_last(world: WithVerbs) -> None:
    await world.put(job(max_attempts=3))
    for number in range(3):
        (claim,) = await world.claim()
        assert await prune(world) == (0, 0)
        result = success(claim) if number == 2 else failure(claim)
        await world.settle(result)
        await world.pass_time(3_600 if number < 2 else 61)
    assert await world.count() == 3
    pruned = await prune(world)
    assert pruned == (1, 3)
    assert await world.count() == 0


async def test_what_a_job_has_started_is_kept_with_it(world: WithVerbs) -> None:
    await world.put(job())
    (parent,) = await world.claim()
    child = job()._replace(parent_id=parent.id)
    await world.store.start_children([NewChild(child, parent)], [])
    (claim,) = await world.claim()
    grandchild = job("other")._replace(parent_id=child.id)
    await world.store.start_children([NewChild(grandchild, claim)], [])
    (below,) = await world.claim("other")
    step = NewStep(below.id, below.token, below.id, "step", "s", "0", output="1")
    await world.store.keep_steps([step])
    await world.settle(success(below))
    await world.settle(success(claim)._replace(children_of=child.id))
    await world.pass_time(3_600)
    assert await prune(world) == (0, 0), "the one at the top is still running"
    await world.settle(success(parent)._replace(children_of=parent.id))
    assert await prune(world) == (0, 0)
    await world.pass_time(61)
    pruned = await prune(world)
    assert pruned == (1, 3)
    assert await world.count() == 0
    assert await world.store.find_steps([below.id]) == {}


async def test_a_tree_of_which_a_row_is_live_is_kept(database: PostgresWorld) -> None:
    # No call brings this about but one that an operator makes by hand.
    await database.put(job())
    (parent,) = await database.claim()
    child = job()._replace(parent_id=parent.id)
    await database.store.start_children([NewChild(child, parent)], [])
    await database.execute(
        "update m25.job set finished_at = now() where parent_id is null",
    )
    await database.execute("update m25.job set started_at = now(), reserved_at = now()")
    await database.execute("update m25.job set finished_at = finished_at - interval '1 day'")
    assert await prune(database) == (0, 0)
    await database.execute("update m25.job set finished_at = now() where parent_id is not null")
    assert await prune(database) == (1, 2)


async def test_a_tree_of_which_somebody_has_locked_a_row_is_left_as_a_whole(
    world: WithVerbs,
) -> None:
    first, second = await world.put(job(max_attempts=2), job())
    claims = {claim.id: claim for claim in await world.claim()}
    retry = make_id()
    await world.settle(failure(claims[first], next_attempt_id=retry))
    await world.settle(success(claims[second]))
    (claim,) = await world.claim()
    assert await world.settle(success(claim)) is WriteResult.SETTLED
    await world.pass_time(3_600)
    async with world.locked(retry):
        pruned = await prune(world)
        assert pruned == (1, 1)
    assert sorted(await world.store.get([first, second, retry])) == sorted([first, retry])
    assert await prune(world) == (1, 2)


async def test_a_step_looks_at_some_rows_and_says_where_the_next_goes_on(
    world: WithVerbs,
) -> None:
    await world.put(*(job() for _ in range(5)))
    for claim in await world.claim():
        await world.settle(success(claim))
    await world.pass_time(3_600)
    first = await world.store.prune("q", KEEP, after=None, walk=2)
    assert (first.jobs, await world.count()) == (2, 3)
    second = await world.store.prune("q", KEEP, after=first.after, walk=2)
    assert (second.jobs, await world.count()) == (2, 1)
    # What lies before is not looked at again.
    again = await world.store.prune("q", KEEP, after=second.after, walk=2)
    assert (again.jobs, await world.count()) == (1, 0)


async def test_one_of_several_has_the_turn(world: WithVerbs) -> None:
    queue = DeclaredQueue("q", MINUTE)
    await world.store.announce(Worker(make_id(), "1", [queue]))
    took = [await world.store.take_pruning("q", 60 * MINUTE) for _ in range(3)]
    assert took == [True, False, False]
    await world.pass_time(3_599)
    assert await world.store.take_pruning("q", 60 * MINUTE) is False
    await world.pass_time(2)
    assert await world.store.take_pruning("q", 60 * MINUTE) is True
