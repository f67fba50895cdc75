"""Jobs that jobs have started: they are inserted under a claim, and end with what is above them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
import trio
from _world import LEASE, PostgresWorld, WithVerbs, failure, job, make_id, success, token

from m25._store.protocol import (
    ClaimedJob,
    Descendants,
    Enqueued,
    Exists,
    Held,
    Locked,
    NewChild,
    Refused,
    Release,
    WriteResult,
)
from support.waiting import PATIENCE


def child(
    parent: ClaimedJob, of: str | None = None, nursery: str | None = None, **options: Any
) -> NewChild:
    return NewChild(job(**options)._replace(parent_id=of or parent.id), parent, nursery)


async def start(world: WithVerbs, *children: NewChild) -> list[str]:
    answers = await world.store.start_children(children, [])
    assert all(isinstance(answer, Enqueued) for answer in answers), answers
    return [each.job.id for each in children]


async def parent(world: WithVerbs, **options: Any) -> ClaimedJob:
    await world.put(job("top", **options))
    (claim,) = await world.claim("top")
    return claim


async def statuses(world: WithVerbs, *ids: str) -> list[str]:
    return [row.status for row in await world.rows(ids)]


@pytest.fixture(autouse=True)
async def patience() -> AsyncGenerator[None]:
    # A cancel that is repeated for ever, or waits for a lock.
    with trio.fail_after(PATIENCE):
        yield


# Inserting


async def test_a_child_knows_its_parent_which_is_known_as_one(world: WithVerbs) -> None:
    top = await parent(world, max_attempts=2)
    assert not (await world.row(top.id)).has_children
    (id,) = await start(world, child(top, max_attempts=2))
    assert (await world.row(id)).parent_id == top.id
    assert (await world.row(top.id)).has_children
    # So are the next attempts of both.
    (below,) = await world.claim()
    await world.settle(failure(below))
    again = await world.successor(id)
    assert again is not None
    assert again.parent_id == top.id
    await world.settle(failure(top))
    (row,) = await world.store.claim("top", token=make_id(), limit=1, lease=LEASE, start=True)
    assert row.has_children


async def test_a_child_that_is_started_again_is_there(world: WithVerbs) -> None:
    top = await parent(world)
    first, second = child(top), child(top)
    await start(world, first)
    exists, inserted = await world.store.start_children([first, second], [])
    assert exists == Exists(await world.row(first.job.id))
    assert isinstance(inserted, Enqueued)
    await world.put(job(unique_key="k"))
    (held,) = await world.store.start_children([child(top, unique_key="k")], [])
    assert isinstance(held, Held)


async def test_children_of_many_parents_are_inserted_at_once(world: WithVerbs) -> None:
    first, second, fenced, asked = [await parent(world) for _ in range(4)]
    await world.release(fenced)
    await world.store.request_cancel(asked.id, "top")
    new = [child(each) for each in (first, second, first, fenced, asked)]
    answers = await world.store.start_children(new, [])
    is_inserted = [isinstance(answer, Enqueued) for answer in answers]
    assert is_inserted == [True, True, True, False, False]
    assert answers[3:] == [Refused(), Refused()]


async def test_who_lost_its_claim_starts_nothing_although_the_job_is_executing(
    world: WithVerbs,
) -> None:
    lost = await parent(world)
    await world.release(lost)
    (top,) = await world.claim("top")
    assert await world.store.start_children([child(lost)], []) == [Refused()]
    await start(world, child(top))


async def test_a_job_that_has_ended_starts_nothing(world: WithVerbs) -> None:
    top = await parent(world)
    await world.settle(success(top))
    assert await world.store.start_children([child(top)], []) == [Refused()]


async def test_a_parent_that_is_locked_keeps_no_other_waiting(world: WithVerbs) -> None:
    first, second = await parent(world), await parent(world)
    new = [child(first), child(second)]
    async with world.locked(first.id):
        locked, inserted = await world.store.start_children(new, [])
    assert locked == Locked(first.id)
    assert isinstance(inserted, Enqueued)
    await start(world, new[0])


# Ends

END: dict[str, Callable[[WithVerbs, ClaimedJob], Awaitable[object]]] = {
    "settle": lambda world, top: world.settle(success(top)._replace(children_of=top.id)),
    "release": lambda world, top: world.store.release(
        [Release(*top, cancel_reason="expired", children_of=top.id)], []
    ),
    "cancel": lambda world, top: cancel_pending(world, top),
    "sweep": lambda world, top: lose(world, top),
}


async def cancel_pending(world: WithVerbs, top: ClaimedJob) -> None:
    await world.release(top)
    assert await world.store.cancel(top.id, "top") is None
    await world.store.cancel(top.id, "top", with_children=True)


async def sweep(world: WithVerbs, allowed_losses: int) -> None:
    await world.pass_time(2 * LEASE.total_seconds())
    await world.sweep("top", allowed_losses=allowed_losses)


async def lose(world: WithVerbs, top: ClaimedJob) -> None:
    await world.set_times(top.id, {"lease_expires_at": -1})
    await world.sweep("top", allowed_losses=0)


async def tree(world: WithVerbs, top: ClaimedJob) -> list[ClaimedJob]:
    """Three floors, two on each but the highest; all that are not pending are executing."""
    claims: list[ClaimedJob] = []
    parents = [top]
    for floor in ("one", "two"):
        for each in parents:
            await start(world, *(child(each, queue_name=floor) for _ in range(2)))
        parents = [ClaimedJob(claim.id, claim.token) for claim in await world.claim(floor, limit=3)]
        claims += parents
    return claims


@pytest.mark.parametrize("how", END)
async def test_the_end_of_a_job_reaches_all_that_is_below_it(world: WithVerbs, how: str) -> None:
    top = await parent(world)
    executing = await tree(world, top)
    other = await parent(world)
    (stays,) = await start(world, child(other, queue_name="two"))
    # What has started others and ended is no end of the way down.
    await world.settle(success(executing[0]))
    below = {row.id: row.status for row in await all_below(world, top)}
    await END[how](world, top)
    for row in await all_below(world, top):
        if below[row.id] == "pending":
            assert row.status == "cancelled", row
        elif below[row.id] == "executing":
            assert row.cancel_requested_at is not None, row
        assert (row.status in ("pending", "executing")) <= (row.cancel_requested_at is not None)
    assert await world.status(stays) == "pending"
    assert (await world.row(top.id)).status not in ("pending", "executing")


async def all_below(world: WithVerbs, top: ClaimedJob) -> list[Any]:
    ids = [top.id]
    found: list[Any] = []
    if isinstance(world, PostgresWorld):
        rows = await world.execute("select id::text from m25.job where parent_id is not null")
        rows_below = list(await world.rows([id for (id,) in rows]))
    else:
        rows_below = [row for row in world.store.rows() if row.parent_id is not None]  # type: ignore[attr-defined]
    while ids:
        level = [row for row in rows_below if row.parent_id in ids]
        found += level
        ids = [row.id for row in level]
    return found


async def test_an_attempt_that_another_follows_keeps_its_children(world: WithVerbs) -> None:
    top = await parent(world, max_attempts=2)
    (id,) = await start(world, child(top))
    result = await world.settle(failure(top)._replace(children_of=top.id))
    assert result is WriteResult.RETRIED
    assert await world.status(id) == "pending"
    (again,) = await world.claim("top")
    await sweep(world, allowed_losses=3)
    assert (await world.row(again.id)).failure_reason == "heartbeat_timeout"
    assert await world.status(id) == "pending"
    (again,) = await world.claim("top")
    # A stop releases it.
    await world.store.release([Release(*again, children_of=top.id)], [])
    assert await world.status(id) == "pending"


@pytest.mark.parametrize("how", ["settle", "release", "sweep"])
async def test_a_job_does_not_end_while_a_row_below_it_is_locked(
    world: WithVerbs, how: str
) -> None:
    top, other = await parent(world), await parent(world)
    (id,) = await start(world, child(top))
    await start(world, child(other))
    async with world.locked(id):
        await END[how](world, top)
        if how == "settle":
            results = await world.store.settle(
                [success(each)._replace(children_of=each.id) for each in (top, other)], 3
            )
            assert results == {top.id: WriteResult.LOCKED, other.id: WriteResult.SETTLED}
        assert await statuses(world, top.id, id) == ["executing", "pending"]
    await END[how](world, top)
    assert await world.status(id) == "cancelled"


async def test_a_part_of_a_tree_can_be_cancelled(world: WithVerbs) -> None:
    top = await parent(world)
    first, second = await start(world, child(top, max_attempts=2), child(top))
    claims = {claim.id: claim for claim in await world.claim()}
    await start(world, child(claims[first], queue_name="two"))
    # Of a job the latest attempt is meant, whichever that is.
    await world.settle(failure(claims[first]))
    reached = (await world.store.cancel_descendants([], [first], by="ada", reason="no")).reached
    assert len(reached) == 2
    again = await world.successor(first)
    assert again is not None
    assert (again.status, again.cancelled_by, again.cancel_reason) == ("cancelled", "ada", "no")
    assert await statuses(world, second, top.id) == ["executing", "executing"]
    assert await world.store.cancel_descendants([], [first]) == Descendants()


async def test_who_has_lost_its_job_cancels_nothing_of_what_it_had_started(
    world: WithVerbs,
) -> None:
    top = await parent(world, max_attempts=2)
    running, waiting = await start(world, child(top), child(top))
    claims = await world.claim(limit=1)
    assert [claim.id for claim in claims] == [running]
    lost = top._replace(token=token())
    assert await world.store.cancel_descendants([], [running, waiting], holder=lost) == (
        Descendants()
    )
    async with world.locked(top.id):
        # Whether it is its own still is seen once that lock is gone.
        done = await world.store.cancel_descendants([], [running, waiting], holder=top)
        assert done == Descendants(is_unfinished=True)
    assert await statuses(world, running, waiting) == ["executing", "pending"]
    assert (await world.row(running)).cancel_requested_at is None
    done = await world.store.cancel_descendants([], [running, waiting], holder=top)
    assert ({one.id for one in done.reached}, done.is_unfinished) == ({running, waiting}, False)
    await world.settle(failure(top)._replace(children_of=top.id))
    assert await world.store.cancel_descendants([], [running], holder=top) == Descendants()


async def test_of_a_nursery_the_jobs_that_live_are_found_whichever_attempt_they_are_at(
    world: WithVerbs,
) -> None:
    top = await parent(world)
    assert await world.store.live_children(top.id, "#0") == set()
    retried, succeeded, running, waiting, _ = await start(
        world,
        child(top, nursery="#0", max_attempts=2),
        child(top, nursery="#0"),
        child(top, nursery="#0"),
        child(top, nursery="#0", queue_name="two"),
        child(top, nursery="=other"),
    )
    claims = {claim.id: claim for claim in await world.claim(limit=3)}
    await start(world, child(claims[running], nursery="#0"))
    await world.settle(failure(claims[retried]))
    await world.settle(success(claims[succeeded]))
    assert await world.store.live_children(top.id, "#0") == {retried, running, waiting}
    await world.store.cancel_descendants([], [retried, waiting])
    assert await world.store.live_children(top.id, "#0") == {running}


async def test_what_a_cancel_has_asked_for_is_not_tried_again(world: WithVerbs) -> None:
    top = await parent(world)
    (id,) = await start(world, child(top, max_attempts=5))
    (claim,) = await world.claim()
    await world.store.cancel_descendants([top.id])
    assert await world.settle(failure(claim)) is WriteResult.SETTLED
    assert await world.successor(id) is None


async def test_a_job_that_became_a_parent_is_not_swept_as_another(world: WithVerbs) -> None:
    top = await parent(world)
    await world.pass_time(2 * LEASE.total_seconds())
    from m25._store.protocol import SweptQueue

    queues = [SweptQueue("top", 0, LEASE)]
    suspects = await world.store.find_suspects(queues, 10)
    (id,) = await start(world, child(top))
    assert await world.store.sweep(queues, suspects) == []
    await sweep(world, allowed_losses=0)
    assert await world.status(id) == "cancelled"


async def test_a_lost_claim_of_a_parent_that_is_to_be_cancelled_is_left_to_the_sweep(
    world: WithVerbs,
) -> None:
    top = await parent(world)
    (id,) = await start(world, child(top))
    await world.store.request_cancel(top.id, "top")
    assert await world.store.release_claims("top", [top.token]) == []
    await sweep(world, allowed_losses=3)
    assert await statuses(world, top.id, id) == ["cancelled", "cancelled"]


# Meetings


async def test_children_that_come_while_a_tree_is_cancelled_are_cancelled_or_refused(
    database: PostgresWorld,
) -> None:
    """Parents start jobs as fast as they can, and are cancelled from above meanwhile."""
    top = await parent(database)
    await start(database, *(child(top, queue_name="one", max_attempts=3) for _ in range(20)))
    starting = await database.claim("one", limit=20)
    are_many = trio.Event()
    number_of_all = 0

    async def go_on(parent: ClaimedJob) -> None:
        nonlocal number_of_all
        first_id = parent.id
        for number in itertools.count():
            await trio.lowlevel.checkpoint()
            (answer,) = await database.store.start_children([child(parent, first_id)], [])
            number_of_all += 1
            if number_of_all == 3 * len(starting):
                are_many.set()
            if number == 3 and parent in starting[:5]:
                # The next attempt comes while the cancel goes down.
                await database.settle(failure(parent)._replace(children_of=first_id))
                mine = token()
                for row in await database.store.claim(
                    "one", token=mine, limit=1, lease=LEASE, start=True
                ):
                    parent = ClaimedJob(row.id, mine)
                    first_id = row.original_attempt_id or row.id
            if isinstance(answer, Refused):
                return

    async with trio.open_nursery() as nursery:
        for each in starting:
            nursery.start_soon(go_on, each)
        await are_many.wait()
        await database.store.request_cancel(top.id, "top")
        while (await database.store.cancel_descendants([top.id])).is_unfinished:
            pass
    left = await database.execute(
        "select count(*) from m25.job where finished_at is null and cancelled_at is null"
        " and cancel_requested_at is null"
    )
    assert left == [(0,)]
