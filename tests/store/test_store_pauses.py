"""Queues that are paused give no job, on both stores."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from _world import WithVerbs, job, position

from m25._store.protocol import DeclaredQueue, QueueChanged, Worker
from support.hearing import hearing

TIMEOUT = timedelta(minutes=7)
MINUTES = timedelta(minutes=2)


async def test_a_paused_queue_gives_no_job_and_others_do(world: WithVerbs) -> None:
    first, second = await world.put(job("q"), job("q"))
    await world.put(job("other"))
    (running,) = await world.claim("q", limit=1)
    await world.store.pause("q", "maintenance", TIMEOUT)
    assert await world.claim("q") == []
    assert await world.claim("q", after=[position(await world.row(running.id))]) == []
    assert len(await world.claim("other")) == 1
    # What runs goes on, and what comes waits.
    assert await world.heartbeat(running) == {first}
    await world.put(job("q"))
    assert await world.store.resume("q")
    assert [claim.id for claim in await world.claim("q", limit=1)] == [second]


async def test_a_pause_outlasts_workers_and_is_counted_from_when_it_began(world: WithVerbs) -> None:
    await world.store.pause("q", "maintenance", TIMEOUT)
    (queue,) = await world.store.operator.queues(99, MINUTES)
    assert (queue.name, queue.default_max_attempts) == ("q", None)
    assert float(queue.default_job_timeout or 0) == TIMEOUT.total_seconds()
    assert (queue.pause_reason, queue.paused_at is None) == ("maintenance", False)
    await world.store.announce(Worker(str(uuid4()), "1", [DeclaredQueue("q", timedelta(hours=1))]))
    await world.store.pause("q", None, TIMEOUT)
    (again,) = await world.store.operator.queues(99, MINUTES)
    assert (again.paused_at, again.pause_reason) == (queue.paused_at, None)
    assert float(again.default_job_timeout or 0) == 3_600
    assert await world.store.resume("q")
    assert not await world.store.resume("q")
    assert not await world.store.resume("unheard of")
    (resumed,) = await world.store.operator.queues(99, MINUTES)
    assert resumed.paused_at is None


async def test_a_survey_tells_of_pauses_with_jobs_and_without(world: WithVerbs) -> None:
    await world.put(job("due"), job("free"))
    await world.store.pause("due", "maintenance", TIMEOUT)
    await world.store.pause("empty", None, TIMEOUT)
    await world.store.pause("unasked", None, TIMEOUT)
    due = await world.store.survey(["due", "empty", "free"])
    assert {name: each.seconds for name, each in due.items()} == {
        "due": 0,
        "empty": 86_400,
        "free": 0,
    }
    pauses = {name: each.pause for name, each in due.items()}
    assert pauses["free"] is None
    assert pauses["due"] is not None
    assert pauses["due"].reason == "maintenance"
    assert pauses["empty"] is not None


@pytest.mark.parametrize("resumes", [False, True])
async def test_workers_are_told_that_their_queue_has_changed(
    world: WithVerbs, resumes: bool
) -> None:
    if resumes:
        await world.store.pause("q", None, TIMEOUT)
    async with hearing(world.store.listen, ["q"]) as told:
        assert await anext(told) is None
        await world.store.pause("other", None, TIMEOUT)
        if resumes:
            await world.store.resume("q")
        else:
            await world.store.pause("q", None, TIMEOUT)
        assert await anext(told) == QueueChanged("q")
