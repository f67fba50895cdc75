"""Whoever looks after the jobs finds, counts, retries and deletes them, on both stores."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import trio
from _world import LEASE, PostgresWorld, WithVerbs, failure, job, make_id, success, token

from m25 import pg
from m25._store.failures import StatementFailed
from m25._store.operator import Answer, FoundJob, JobFilter, NewAttempt, Operator, Refusal
from m25._store.postgres import PostgresStore, prepare_connection
from m25._store.protocol import (
    ClaimedJob,
    DeclaredQueue,
    Enqueued,
    LimitedClaim,
    NewChild,
    NewStep,
    UniqueJob,
    Worker,
)
from support.waiting import eventually

MINUTES = timedelta(minutes=2)
ALL = JobFilter()


async def find(
    world: WithVerbs, wanted: JobFilter = ALL, *, limit: int = 100, walk: int = 3
) -> list[FoundJob]:
    """All that is found, however many parts the walk has."""
    jobs: list[FoundJob] = []
    after: str | None = None
    while True:
        found = await world.store.operator.find(wanted, after=after, limit=limit, walk=walk)
        jobs += found.jobs
        if (after := found.look.after) is None:
            return jobs


async def count(world: WithVerbs, wanted: JobFilter = ALL, walk: int = 3) -> dict[str, int]:
    counts: dict[str, int] = {}
    after: str | None = None
    while True:
        counted = await world.store.operator.count(wanted, after=after, walk=walk)
        for status, number in counted.counts.items():
            counts[status] = counts.get(status, 0) + number
        if (after := counted.look.after) is None:
            return counts


async def retry(world: WithVerbs, *ids: str) -> list[Answer]:
    return await world.store.operator.retry([NewAttempt(id, make_id()) for id in ids])


async def refusal_of(world: WithVerbs, id: str) -> Refusal | None:
    """Why a job is not retried, if it is not."""
    (answer,) = await retry(world, id)
    return answer.refusal


async def end(world: WithVerbs, *, fails: bool = True, **options: object) -> str:
    """A job that has ended."""
    (id,) = await world.put(job(**options))  # type: ignore[arg-type]
    (claim,) = [each for each in await world.claim() if each.id == id]
    await world.settle(failure(claim) if fails else success(claim))
    return id


async def test_jobs_are_found_by_what_they_are_the_latest_first(world: WithVerbs) -> None:
    done = await end(world, fails=False)
    broken = await end(world, input='{"customer": 7, "tags": ["a", "b"]}')
    cancelled, later, pending = await world.put(
        job("other"),
        job(scheduled_at=await world.now() + timedelta(hours=1), input='{"customer": "7"}'),
        job(input='{"customer": 8}', priority=3, unique_key="k"),
    )
    await world.store.cancel(cancelled, "other", reason="no longer wanted")
    running = await world.claim_one()
    assert running.id == pending
    everything = [pending, later, cancelled, broken, done]
    assert [each.id for each in await find(world)] == everything
    assert [each.id for each in await find(world, limit=2)] == everything
    for wanted, ids in (
        (JobFilter("q"), [pending, later, broken, done]),
        (JobFilter("nothing"), []),
        (JobFilter(statuses=["failed"]), [broken]),
        (JobFilter("other", ["failed"]), []),
        (JobFilter(statuses=["failed", "succeeded"]), [broken, done]),
        (JobFilter(statuses=["pending", "executing"]), [pending, later]),
        (JobFilter("q", ["executing"]), [pending]),
        (JobFilter("q", ["pending", "cancelled"]), [later]),
        (JobFilter(where='{"customer": 7}'), [broken]),
        (JobFilter(where='{"customer": "7"}'), [later]),
        (JobFilter(where='{"tags": ["b"]}'), [broken]),
        (JobFilter(where='{"tags": "b"}'), []),
        (JobFilter(since=await world.now() + timedelta(minutes=1)), []),
        (JobFilter(since=await world.now() - timedelta(minutes=1)), everything),
        (JobFilter(ended_before=await world.now() - timedelta(minutes=1)), []),
        (
            JobFilter(ended_before=await world.now() + timedelta(minutes=1)),
            [cancelled, broken, done],
        ),
    ):
        found = await find(world, wanted)
        assert [each.id for each in found] == ids, wanted
        # In small parts rows are read, in one that is much larger than what is pending, ids alone.
        for walk in (3, 40):
            counted = await count(world, wanted, walk)
            assert counted == Counter(each.status for each in found), (wanted, walk)
    assert await count(world) == {
        "succeeded": 1,
        "failed": 1,
        "cancelled": 1,
        "pending": 1,
        "executing": 1,
    }
    by_id = {each.id: each for each in await find(world)}
    assert by_id[broken].error == "ValueError: no"
    assert json.loads(by_id[broken].input) == {"customer": 7, "tags": ["a", "b"]}
    assert by_id[cancelled].error == "no longer wanted"
    assert (by_id[pending].priority, by_id[pending].unique_key) == (3, "k")
    assert float(by_id[later].run_at) > float(by_id[later].created_at)
    assert (by_id[done].ended_at, by_id[later].ended_at) == (by_id[done].ended_at, None)
    assert not by_id[pending].is_to_cancel
    await world.store.request_cancel(pending, "q")
    assert (await find(world, JobFilter("q", ["executing"])))[0].is_to_cancel


async def test_a_job_of_several_attempts_is_found_once_as_the_latest(world: WithVerbs) -> None:
    await world.put(job(max_attempts=2))
    (first,) = await world.claim()
    await world.settle(failure(first))
    (found,) = await find(world)
    assert (found.job_id, found.status, found.attempt) == (first.id, "pending", 2)
    assert await find(world, JobFilter(statuses=["failed"])) == []
    (second,) = await world.claim()
    await world.settle(failure(second))
    (found,) = await find(world, JobFilter(statuses=["failed"]))
    assert (found.id, found.job_id) == (second.id, first.id)
    for wanted in (ALL, JobFilter("q"), JobFilter(statuses=["failed"])):
        assert await count(world, wanted) == {"failed": 1}
    assert await count(world, JobFilter(statuses=["succeeded"])) == {}


async def test_a_part_of_a_walk_says_where_it_has_come_to(world: WithVerbs) -> None:
    ids = [await end(world) for _ in range(5)]
    for statuses in (None, ["failed"]):
        wanted = JobFilter("other", statuses)
        found = await world.store.operator.find(wanted, after=None, limit=9, walk=2)
        assert found.jobs == []
        assert found.look.after == ids[3]
        assert found.look.until == (await world.row(ids[3])).created_at
        counted = await world.store.operator.count(wanted, after=ids[3], walk=3)
        assert counted.look.after == ids[0]
        counted = await world.store.operator.count(wanted, after=ids[3], walk=4)
        assert (counted.counts, counted.look.after) == ({}, None)


async def test_queues_are_listed_with_what_is_on_them(world: WithVerbs) -> None:
    failed = await end(world)
    await end(world, fails=False)
    _, waiting = await world.put(job(), job())
    await world.claim_one()
    await world.put(
        job(priority=1), job(scheduled_at=await world.now() + timedelta(hours=1)), job("unheard of")
    )
    first = float((await world.row(waiting)).created_at)
    await world.store.announce(
        Worker(
            make_id(), "1", [DeclaredQueue("q", timedelta(hours=1), 3, limiter="l", limit_size=4)]
        )
    )
    await world.store.announce(Worker(make_id(), "1", [DeclaredQueue("idle", timedelta(hours=1))]))
    await world.store.pause("idle", "night", timedelta(hours=1))
    idle, q, unheard = await world.store.operator.queues(99, MINUTES)
    assert (q.name, q.due, q.scheduled, q.waiting, q.running, q.failed) == ("q", 2, 1, 0, 1, 1)
    assert (q.workers, q.limiter, q.limit, q.default_max_attempts) == (1, "l", 4, 3)
    assert float(q.due_since or 0) == first
    assert (idle.due, idle.due_since, idle.pause_reason) == (0, None, "night")
    assert (unheard.name, unheard.due, unheard.workers) == ("unheard of", 1, 0)
    assert unheard.default_job_timeout is None
    # Each number is counted no further than is asked.
    (_, q, _) = await world.store.operator.queues(1, MINUTES)
    assert q.due + q.scheduled == 1
    assert await refusal_of(world, failed) is None
    (_, q, _) = await world.store.operator.queues(99, MINUTES)
    assert (q.due, q.failed) == (3, 0)


async def test_limits_are_listed_with_what_runs_and_waits_under_them(world: WithVerbs) -> None:
    hour = timedelta(hours=1)
    second = timedelta(seconds=1)
    await world.store.announce(
        Worker(
            make_id(),
            "1",
            [
                DeclaredQueue("q", hour, limiter="each", limit_size=1, limit_path=["to", "id"]),
                DeclaredQueue("b", hour, limiter="gpu", limit_size=3),
                DeclaredQueue("a", hour, limiter="gpu", limit_size=3),
                DeclaredQueue("paced", hour, limiter="paced", rate_interval=second, rate_burst=2),
                DeclaredQueue(
                    "slow",
                    hour,
                    limiter="slow",
                    rate_interval=second,
                    rate_burst=1,
                    rate_path=["to"],
                ),
                DeclaredQueue("free", hour),
            ],
        )
    )
    of_ada, of_bob = '{"to": {"id": "ada"}}', '{"to": {"id": "bob"}}'
    later = await world.now() + hour
    await world.put(
        *(job(input=text) for text in (of_ada, of_ada, of_ada, of_bob)),
        job(scheduled_at=later),
        *(job(name) for name in ("a", "b", "b", "b", "paced", "free")),
    )
    asked = partial(LimitedClaim, lease=LEASE, start=True)
    of_keys = asked("q", limiter="each", token=token(), limit=9)
    await world.store.claim_limited(of_keys, from_key="")
    await world.store.claim_limited(asked("b", limiter="gpu", token=token(), limit=2))
    await world.store.set_limit("gpu", 2)
    each, gpu, paced, slow = await world.store.operator.limits(99)
    assert (each.name, each.queues, each.key) == ("each", ["q"], "to.id")
    # Of three of a key one runs, and two are held up.
    assert (each.size, each.running, each.waiting) == (1, 2, 2)
    assert (each.full_keys, each.named_keys) == (2, ["ada", "bob"])
    assert (gpu.queues, gpu.key, gpu.size, gpu.is_set) == (["a", "b"], None, 2, True)
    assert (gpu.running, gpu.waiting, gpu.full_keys, gpu.named_keys) == (2, 2, 0, [])
    assert (gpu.interval, gpu.burst) == (None, None)
    assert (paced.size, paced.burst, paced.waiting) == (None, 2, 1)
    assert float(paced.interval or 0) == 1
    assert not each.is_set
    assert (slow.key, slow.rate_key, slow.next_start_at) == (None, "to", None)
    of_rate = asked("paced", limiter="paced", token=token(), limit=1)
    (started,) = (await world.store.claim_limited(of_rate)).rows
    (_, _, paced, _) = await world.store.operator.limits(99)
    assert (paced.running, paced.waiting) == (1, 0)
    assert paced.next_start_at is not None
    # A burst of two was saved up, of which one is left.
    assert float(paced.next_start_at) < float((await world.row(started.id)).started_at or 0)
    # What waits is counted no further than is asked, of each queue.
    (_, gpu, *_) = await world.store.operator.limits(1)
    assert gpu.waiting == 2


async def test_a_retry_is_one_more_attempt_that_is_due_at_once(world: WithVerbs) -> None:
    expired = await world.now() + timedelta(minutes=1)
    new = job(max_attempts=1, retry_delay=timedelta(hours=1), input="7")._replace(
        expires_at=expired
    )
    await world.put(new)
    claim = await world.claim_one()
    step = NewStep(claim.id, claim.token, claim.id, "step", "s", "0", output="1")
    await world.store.keep_steps([step])
    await world.settle(failure(claim))
    await world.pass_time(120)
    (answer,) = await retry(world, new.id)
    assert (answer.id, answer.refusal) == (new.id, None)
    assert answer.other_id is not None
    following = await world.row(answer.other_id)
    assert (following.attempt, following.max_attempts, following.input) == (2, 2, "7")
    assert (following.original_attempt_id, following.previous_attempt_id) == (new.id, new.id)
    assert following.expires_at is None
    # What the job has done once it has done.
    assert len((await world.store.find_steps([new.id]))[new.id]) == 1
    second = await world.claim_one()
    assert second.id == answer.other_id
    assert await refusal_of(world, new.id) is Refusal.LIVE
    await world.settle(failure(second))
    assert await world.successor(second.id) is None
    # By the id of any of its attempts, and by several at once it is one.
    answers = await retry(world, new.id, second.id)
    assert {answer.refusal for answer in answers} == {None}
    assert len({answer.other_id for answer in answers}) == 1
    (third,) = await world.claim()
    await world.settle(success(third))
    assert await refusal_of(world, new.id) is Refusal.SUCCEEDED


async def test_what_was_cancelled_is_retried_and_what_is_unknown_is_not(world: WithVerbs) -> None:
    (id,) = await world.put(job())
    await world.store.cancel(id, "q")
    known, unknown = await retry(world, id, make_id())
    assert (known.refusal, unknown.refusal) == (None, Refusal.UNKNOWN)
    assert [claim.id for claim in await world.claim()] == [known.other_id]


async def test_a_job_whose_unique_key_is_taken_meanwhile_is_not_retried(world: WithVerbs) -> None:
    id = await end(world, unique_key="k")
    (holder,) = await world.put(job(unique_key="k"))
    assert await retry(world, id) == [Answer(id, Refusal.KEY_HELD, holder)]
    await world.store.cancel(holder, "q")
    assert await refusal_of(world, id) is None


async def test_a_job_whose_key_of_a_queue_another_has_taken_is_not_retried(
    world: WithVerbs,
) -> None:
    first, second = job(), job()
    for new in (first, second):
        (answer,) = await world.store.enqueue_unique(
            [UniqueJob(new, "k", "live", None, "refuse")], []
        )
        assert isinstance(answer, Enqueued)
        await world.settle(failure(await world.claim_one()))
    assert await refusal_of(world, first.id) is Refusal.KEY_HELD
    assert await refusal_of(world, second.id) is None
    # It holds the key again.
    (answer,) = await world.store.enqueue_unique(
        [UniqueJob(job(), "k", "live", None, "refuse")], []
    )
    assert not isinstance(answer, Enqueued)


async def family(world: WithVerbs) -> tuple[ClaimedJob, ClaimedJob]:
    """A job that runs, and one that it has started, which runs too."""
    await world.put(job())
    parent = await world.claim_one()
    child = job()._replace(parent_id=parent.id)
    await world.store.start_children([NewChild(child, parent)], [])
    return parent, await world.claim_one()


async def test_what_another_job_has_started_is_retried_and_deleted_with_it(
    world: WithVerbs,
) -> None:
    parent, child = await family(world)
    (below,) = await world.store.operator.find_below(parent.id, 10)
    assert (below.id, below.status, below.parent_id) == (child.id, "executing", parent.id)
    assert await world.store.operator.find_below(child.id, 10) == []
    await world.settle(failure(child))
    assert await refusal_of(world, child.id) is Refusal.CHILD
    assert await world.store.operator.delete([child.id]) == [Answer(child.id, Refusal.CHILD)]
    assert await world.store.operator.delete([parent.id, child.id]) == [
        Answer(parent.id, Refusal.LIVE),
        Answer(child.id, Refusal.CHILD),
    ]
    await world.settle(failure(parent)._replace(children_of=parent.id))
    async with world.locked(child.id):
        assert await world.store.operator.delete([parent.id]) == [Answer(parent.id, Refusal.LOCKED)]
    assert await world.store.operator.delete([parent.id]) == [Answer(parent.id, None)]
    assert await world.count() == 0


async def test_what_has_ended_is_deleted_with_all_its_attempts(world: WithVerbs) -> None:
    (id,) = await world.put(job(max_attempts=2))
    claim = await world.claim_one()
    step = NewStep(claim.id, claim.token, claim.id, "step", "s", "0", output="1")
    await world.store.keep_steps([step])
    await world.settle(failure(claim))
    unknown = make_id()
    assert await world.store.operator.delete([id, unknown]) == [
        Answer(id, Refusal.LIVE),
        Answer(unknown, Refusal.UNKNOWN),
    ]
    second = await world.claim_one()
    await world.settle(success(second))
    assert await world.store.operator.delete([second.id]) == [Answer(second.id, None)]
    assert await world.count() == 0
    assert await world.store.find_steps([id]) == {}


async def test_a_job_that_somebody_has_locked_is_not_retried_yet(world: WithVerbs) -> None:
    id = await end(world)
    async with world.locked(id):
        assert await refusal_of(world, id) is Refusal.LOCKED
    assert await refusal_of(world, id) is None


async def test_a_key_that_is_just_being_taken_is_waited_for(database: PostgresWorld) -> None:
    id = await end(database, unique_key="k")
    holder = job(unique_key="k")
    async with database.pool.connection() as connection:
        async with connection.transaction():
            await database.store.enqueue([holder], [], connection)
            with pytest.raises(StatementFailed) as failed:
                await database.store.operator.retry(
                    [NewAttempt(id, make_id())], lock_wait=timedelta(milliseconds=1)
                )
            assert failed.value.waits_for_lock
    assert await retry(database, id) == [Answer(id, Refusal.KEY_HELD, holder.id)]


@asynccontextmanager
async def slow_operator(database: PostgresWorld) -> AsyncGenerator[Operator]:
    """One whose statements begin, and then wait for who has the lock 25, before they read a job."""
    role = f"slow_{make_id()[-12:]}"
    await database.execute(
        """
        create function public.wait() returns boolean language plpgsql as
            'begin perform pg_advisory_xact_lock_shared(25); return true; end';
        alter table m25.job enable row level security;
        create policy slow on m25.job using (public.wait());
        """
    )
    await database.execute(f"create role {role}")  # type: ignore[arg-type]
    try:
        await database.execute(f"grant usage on schema m25 to {role}")  # type: ignore[arg-type]
        await database.execute(f"grant all on all tables in schema m25 to {role}")  # type: ignore[arg-type]

        async def prepare(connection: pg.AsyncConnection[Any]) -> None:
            await prepare_connection(connection)
            await connection.execute(f"set role {role}".encode())

        async with pg.Pool(
            database.pool.conninfo, max_size=1, kwargs={"autocommit": True}, configure=prepare
        ) as pool:
            store = PostgresStore(pool, "m25")
            await store.check_version()
            yield store.operator
    finally:
        await database.execute(f"drop owned by {role}")  # type: ignore[arg-type]
        await database.execute(f"drop role {role}")  # type: ignore[arg-type]


@pytest.mark.parametrize("call", ["retry", "delete"])
async def test_a_retry_that_is_committed_while_another_call_looks_is_noticed_by_it(
    database: PostgresWorld, call: str
) -> None:
    id = await end(database)
    answers: list[Answer] = []

    async def ask(operator: Operator) -> None:
        if call == "retry":
            answers.extend(await operator.retry([NewAttempt(id, make_id())]))
        else:
            answers.extend(await operator.delete([id]))

    async with slow_operator(database) as slow, trio.open_nursery() as nursery:
        async with database.pool.connection() as connection, connection.transaction():
            await connection.execute("select pg_advisory_xact_lock(25)")
            nursery.start_soon(ask, slow)
            await eventually(database.waits_for_a_lock)
            assert await refusal_of(database, id) is None
    assert answers == [Answer(id, Refusal.LOCKED)]
    assert await database.count() == 2
