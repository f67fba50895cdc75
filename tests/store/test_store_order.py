"""Jobs of one key are claimed one after another, in the order in which they were enqueued."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import uuid4

import attrs
import pytest
from _world import (
    LEASE,
    PostgresWorld,
    WithVerbs,
    failure,
    job,
    make_id,
    success,
    token,
)

import m25
from m25._store.lanes import key_of
from m25._store.operator import NewAttempt, Refusal
from m25._store.protocol import (
    Change,
    ClaimedInOrder,
    ClaimedJob,
    DeclaredQueue,
    LimitedClaim,
    NewChild,
    NewJob,
    Release,
    UniqueJob,
    Walked,
    Worker,
)

TIMEOUT = timedelta(minutes=5)
PATH = ("customer",)


async def declare(
    world: WithVerbs,
    *,
    holds: bool = True,
    size: int | None = None,
    every: timedelta | None = None,
) -> None:
    queue = DeclaredQueue(
        "q",
        TIMEOUT,
        limiter="q",
        limit_size=size,
        rate_interval=every,
        rate_burst=None if every is None else 1,
        order_path=PATH,
        holds_failed=holds,
    )
    await world.store.announce(Worker(str(uuid4()), "1", [queue]))


def of(customer: object, *, placed: bool = True, **options: object) -> NewJob:
    """A job of a customer's, as a program puts it that knows the queue; or as any other does."""
    new = job(input=json.dumps({"customer": customer}))._replace(**options)
    return new._replace(order_key=key_of(new.input, PATH)) if placed else new


@attrs.define
class Claimer:
    """Claims from where its latest claim ended, as a worker does."""

    world: WithVerbs
    from_key: str = ""
    after: Walked | None = None

    async def answer(self, limit: int = 10) -> tuple[list[ClaimedJob], ClaimedInOrder]:
        mine = token()
        answer = await self.world.store.claim_in_order(
            LimitedClaim("q", limiter="q", token=mine, limit=limit, lease=LEASE, start=True),
            from_key=self.from_key,
            after=self.after,
        )
        self.from_key, self.after = answer.next_key or "", answer.walked
        return [ClaimedJob(row.id, mine) for row in answer.rows], answer

    async def claim(self, limit: int = 10) -> list[ClaimedJob]:
        return (await self.answer(limit))[0]

    async def ids(self, limit: int = 10) -> list[str]:
        return [claim.id for claim in await self.claim(limit)]


async def test_of_a_key_one_job_runs_and_then_the_next_and_other_keys_run_at_once(
    world: WithVerbs,
) -> None:
    await declare(world)
    first, second, third = await world.put(of("ada"), of("ada"), of("ada"))
    (other,) = await world.put(of("bob"))
    claimer = Claimer(world)
    one, of_bob = await claimer.claim()
    assert (one.id, of_bob.id) == (first, other)
    assert await claimer.ids() == []
    await world.settle(success(one))
    (two,) = await claimer.claim()
    assert two.id == second
    await world.settle(success(two))
    assert await claimer.ids() == [third]


async def test_within_a_key_neither_priority_nor_time_comes_before_the_order(
    world: WithVerbs,
) -> None:
    await declare(world)
    soon = await world.now() + timedelta(minutes=1)
    later = of("ada", scheduled_at=soon)
    await world.put(later, of("ada", priority=-9), of("bob"), of("cyd", priority=-1))
    claimer = Claimer(world)
    claims, answer = await claimer.answer()
    assert [key_of(row.input, PATH) for row in answer.rows] == ["cyd", "bob"]
    # It says when the first of those is due that others wait behind.
    assert answer.has_waiting
    assert answer.next_in == pytest.approx(60, abs=10)
    await world.pass_time(61)
    assert await claimer.ids() == [later.id]
    for claim in claims:
        await world.settle(success(claim))


async def test_the_order_of_a_batch_is_that_in_which_it_was_given(world: WithVerbs) -> None:
    await declare(world)
    known = sorted((make_id() for _ in range(4)), reverse=True)
    jobs = [of("ada", id=id, unique_key=id) for id in known]
    await world.put(*jobs)
    put = [UniqueJob(of("ada"), key, "live", None, "refuse") for key in "zya"]
    await world.store.enqueue_unique(put, [])
    (alone,) = await world.put(of("ada"))
    began: list[str] = []
    for _ in range(8):
        (claim,) = await Claimer(world).claim()
        began.append(claim.id)
        await world.settle(success(claim))
    assert began == [*known, *(each.job.id for each in put), alone]


async def test_who_waits_waits_over_retries_releases_and_lost_attempts(world: WithVerbs) -> None:
    await declare(world)
    first = of("ada", max_attempts=9, retry_delay=timedelta(seconds=30))
    _, second = await world.put(first, of("ada"))
    claimer = Claimer(world)
    (claim,) = await claimer.claim()
    await world.release(claim)
    (claim,) = await claimer.claim()
    assert claim.id == first.id
    await world.store.release([Release(*claim, delay="20")], [])
    assert await claimer.ids() == []
    await world.pass_time(21)
    (claim,) = await claimer.claim()
    await world.settle(failure(claim))
    assert await claimer.ids() == []
    await world.pass_time(31)
    (claim,) = await claimer.claim()
    assert (await world.row(claim.id)).original_attempt_id == first.id
    await world.pass_time(LEASE.total_seconds() + 1)
    (swept,) = await world.sweep()
    assert swept.has_next_attempt
    (claim,) = await claimer.claim()
    assert (await world.row(claim.id)).original_attempt_id == first.id
    await world.settle(success(claim))
    assert await claimer.ids() == [second]


async def test_what_is_cancelled_or_deleted_or_has_succeeded_lets_the_next_go(
    world: WithVerbs,
) -> None:
    await declare(world)
    first, second, third = await world.put(of("ada"), of("ada"), of("ada"))
    claimer = Claimer(world)
    assert await world.store.cancel(first, "q")
    (claim,) = await claimer.claim()
    assert claim.id == second
    # Its cancel was asked for, and it fails: that is no failure that holds anything.
    assert await world.store.request_cancel(second, "q")
    await world.settle(failure(claim))
    assert await claimer.ids() == [third]


@pytest.mark.parametrize("lost", [False, True])
async def test_what_has_failed_for_good_holds_what_is_behind_until_it_is_retried(
    world: WithVerbs, lost: bool
) -> None:
    await declare(world)
    _, second = await world.put(of("ada"), of("ada"))
    claimer = Claimer(world)
    (claim,) = await claimer.claim()
    first = claim.id
    if lost:
        await world.pass_time(LEASE.total_seconds() + 1)
        await world.sweep(allowed_losses=0)
    else:
        await world.settle(failure(claim))
    # Another key goes on; and what is put into this one from now on waits, too.
    _, other = await world.put(of("ada"), of("bob"))
    assert await claimer.ids() == [other]
    for result in (failure, success):
        again = make_id()
        await world.store.operator.retry([NewAttempt(first, again)])
        (claim,) = await claimer.claim()
        assert claim.id == again
        await world.settle(result(claim))
    assert await claimer.ids() == [second]


async def test_once_the_failed_job_is_deleted_its_key_goes_on(world: WithVerbs) -> None:
    await declare(world)
    first, second = await world.put(of("ada"), of("ada"))
    claimer = Claimer(world)
    await world.settle(failure(*await claimer.claim()))
    # What nobody has looked at yet is not deleted for its age.
    await world.pass_time(100)
    second_ago = timedelta(seconds=1)
    keep = m25.Keep(failed=second_ago, succeeded=second_ago, cancelled=second_ago)
    pruned = await world.store.prune("q", keep, after=None, walk=99)
    assert (pruned.jobs, await claimer.ids()) == (0, [])
    await world.store.operator.delete([first])
    assert await claimer.ids() == [second]


async def test_of_a_queue_whose_failed_jobs_are_passed_the_next_goes_on(world: WithVerbs) -> None:
    await declare(world, holds=False)
    first, second, third = await world.put(of("ada"), of("ada"), of("ada"))
    claimer = Claimer(world)
    await world.settle(failure(*await claimer.claim()))
    (claim,) = await claimer.claim()
    assert claim.id == second
    # What is retried has its old place, and waits while another of its key runs.
    await world.store.operator.retry([NewAttempt(first, again := make_id())])
    assert await claimer.ids() == []
    await world.settle(success(claim))
    (claim,) = await claimer.claim()
    assert claim.id == again
    await world.settle(success(claim))
    assert await claimer.ids() == [third]


async def test_a_child_that_fails_holds_nothing(world: WithVerbs) -> None:
    await declare(world)
    (parent_id,) = await world.put(job("parents"))
    (parent,) = await world.claim("parents")
    child = of("ada", parent_id=parent_id)
    await world.store.start_children([NewChild(child, parent, "n")], [])
    (second,) = await world.put(of("ada"))
    claimer = Claimer(world)
    (claim,) = await claimer.claim()
    assert claim.id == child.id
    await world.settle(failure(claim))
    assert await claimer.ids() == [second]


async def test_a_job_that_was_put_without_a_place_is_given_one(world: WithVerbs) -> None:
    await declare(world)
    await world.put(*(of("ada") for _ in range(210)))
    values = ["bob", 1.50, True, None, ["x"], {"a": 1}, "é" * 300]
    put = await world.put(*(of(value, placed=False) for value in values))
    # Of its key there is one already.
    (last,) = await world.put(of("bob", placed=False))
    claimer = Claimer(world)
    # The first looks at two hundred jobs, and the second at the rest.
    assert (await claimer.answer(1))[1].walked is not None
    _, answer = await claimer.answer(1)
    assert (answer.walked, answer.has_more) == (None, True)
    claims = await claimer.claim(20)
    assert {claim.id for claim in claims} == set(put)
    rows = [await world.row(id) for id in put]
    assert [row.order_key for row in rows] == [key_of(of(value).input, PATH) for value in values]
    await world.settle(success(next(claim for claim in claims if claim.id == put[0])))
    assert await claimer.ids() == [last]


async def test_each_of_many_keys_has_its_turn(world: WithVerbs) -> None:
    await declare(world)
    names = [f"{n:03}" for n in range(230)]
    in_a_minute = await world.now() + timedelta(minutes=1)
    # All that are due first are of keys that wait.
    await world.put(*(of("000", scheduled_at=in_a_minute) for _ in range(1)))
    await world.put(*(of("000", priority=-1) for _ in range(200)))
    await world.put(*(of(name) for name in names[1:]))
    claimer = Claimer(world)
    found = [len(await claimer.claim(50)) for _ in range(6)]
    assert sum(found) == 229
    assert max(found) <= 50


async def test_an_ordered_queue_keeps_to_its_limit_and_its_rate(world: WithVerbs) -> None:
    await declare(world, size=2)
    await world.put(*(of(name) for name in "abcdef"))
    claimer = Claimer(world)
    assert len(await claimer.claim()) == 2
    claims, answer = await claimer.answer()
    assert (claims, answer.is_full) == ([], True)
    await declare(world, every=timedelta(seconds=10))
    await world.pass_time(9)
    claims, answer = await claimer.answer()
    # With the burst.
    assert len(claims) == 2
    assert answer.is_full
    assert answer.room_in == pytest.approx(10, abs=1)


async def test_a_claim_leaves_what_others_have_locked_and_a_paused_queue(world: WithVerbs) -> None:
    await declare(world)
    first, _, third, last = await world.put(
        of("ada"), of("ada"), of("bob"), of("cyd", placed=False)
    )
    claimer = Claimer(world)
    async with world.locked(first, last):
        # Nothing of ada's: the first is still to come.
        assert await claimer.ids() == [third]
    await world.store.pause("q", None, TIMEOUT)
    assert await claimer.ids() == []
    await world.store.resume("q")
    found = await claimer.ids() + await claimer.ids()
    assert sorted(found) == sorted([first, last])


async def test_a_job_that_is_replaced_or_put_off_has_the_key_and_the_place_of_its_new_input(
    world: WithVerbs,
) -> None:
    await declare(world)
    twin = of("ada")
    await world.store.enqueue_unique([UniqueJob(twin, "k", "pending", None, "replace")], [])
    (of_ada,) = await world.put(of("ada"))
    (of_bob,) = await world.put(of("bob"))
    again = UniqueJob(of("bob"), "k", "pending", None, "replace")
    await world.store.enqueue_unique([again], [])
    claimer = Claimer(world)
    claims = await claimer.claim()
    assert {claim.id for claim in claims} == {of_ada, of_bob}
    for claim in claims:
        await world.settle(success(claim))
    assert await claimer.ids() == [twin.id]


async def test_a_change_of_time_or_priority_changes_no_place(world: WithVerbs) -> None:
    await declare(world)
    first, second = await world.put(of("ada"), of("ada"))
    await world.store.change(second, "q", Change(False, None, -5))
    assert await Claimer(world).ids() == [first]


async def test_of_two_transactions_the_one_that_is_committed_late_is_waited_for_once_it_is_seen(
    database: PostgresWorld,
) -> None:
    await declare(database)
    claimer = Claimer(database)
    late = of("ada")
    async with database.pool.connection() as connection, connection.transaction():
        await database.store.enqueue([late], [], connection)
        (soon, last) = await database.put(of("ada"), of("ada"))
        (claim,) = await claimer.claim()
        assert claim.id == soon
    # Never two of a key at once; and then by their numbers.
    assert await claimer.ids() == []
    await database.settle(success(claim))
    (claim,) = await claimer.claim()
    assert claim.id == late.id
    await database.settle(success(claim))
    assert await claimer.ids() == [last]


async def test_a_claim_costs_as_much_however_many_wait_behind_one(database: PostgresWorld) -> None:
    await declare(database)
    await database.execute(
        "insert into m25.job (id, queue_name, input, timeout, attempt, order_key, order_number)"
        " select gen_random_uuid(), 'q', '{\"customer\": \"ada\"}', '5 min', 1, 'ada', n"
        " from generate_series(1, 5000) as n"
    )
    await database.put(of("bob"))
    await database.execute("vacuum analyze m25.job")
    claimer = Claimer(database)
    await claimer.claim(1)
    before = await read(database)
    assert len(await claimer.claim(2)) == 1
    assert await read(database) - before < 1000


async def read(world: PostgresWorld) -> int:
    """How many rows of the job table were read by all so far."""
    await world.execute("select pg_stat_force_next_flush()")
    ((number,),) = await world.execute(
        "select seq_tup_read + idx_tup_fetch from pg_stat_user_tables where relname = 'job'"
    )
    return int(number)


# Skipped


async def test_what_is_behind_a_job_that_is_skipped_goes_on_and_a_retry_of_it_comes_first(
    world: WithVerbs,
) -> None:
    await declare(world)
    first, second, third = await world.put(of("ada"), of("ada"), of("ada"))
    (other,) = await world.put(of("bob"))
    claimer, operator = Claimer(world), world.store.operator
    for claim in await claimer.claim():
        await world.settle(failure(claim))
    assert await claimer.ids() == []
    assert (await operator.holds_others(first), await operator.holds_others(second)) == (
        True,
        False,
    )
    (answer,) = await operator.skip([first])
    assert answer.refusal is None
    assert not await operator.holds_others(first)
    (two,) = await claimer.claim()
    assert two.id == second
    await world.settle(success(two))
    row = await world.row(first)
    assert row.status == "failed"
    (answer,) = await operator.retry([NewAttempt(first, make_id())])
    assert answer.other_id is not None
    assert await claimer.ids() == [answer.other_id]
    refusals = [each.refusal for each in await operator.skip([first, other, third, make_id()])]
    assert refusals == [Refusal.HOLDS_NONE, None, Refusal.HOLDS_NONE, Refusal.UNKNOWN]


async def test_a_job_is_skipped_by_the_id_of_any_of_its_attempts(world: WithVerbs) -> None:
    await declare(world)
    first, second = await world.put(of("ada", max_attempts=2), of("ada"))
    claimer = Claimer(world)
    (claim,) = await claimer.claim()
    await world.settle(failure(claim))
    (again,) = await claimer.claim()
    await world.settle(failure(again))
    (answer,) = await world.store.operator.skip([again.id])
    assert (again.id == first, answer.refusal) == (False, None)
    assert await claimer.ids() == [second]


async def test_where_the_order_was_taken_away_no_key_stands_still_and_nothing_is_kept_for_it(
    world: WithVerbs,
) -> None:
    await declare(world)
    first, second = await world.put(of("ada"), of("ada"))
    (claim,) = await Claimer(world).claim()
    await world.settle(failure(claim))
    await world.pass_time(3_600)
    keep = m25.Keep(failed=60)
    assert (await world.store.prune("q", keep, after=None, walk=9)).jobs == 0
    await world.store.announce(Worker(str(uuid4()), "1", [DeclaredQueue("q", TIMEOUT)]))
    assert not await world.store.operator.holds_others(first)
    assert [each.id for each in await world.claim()] == [second]
    # Where the order comes back, the key stands still again.
    await declare(world)
    assert await world.store.operator.holds_others(first)
    await world.store.announce(Worker(str(uuid4()), "1", [DeclaredQueue("q", TIMEOUT)]))
    assert (await world.store.prune("q", keep, after=None, walk=9)).jobs == 1
