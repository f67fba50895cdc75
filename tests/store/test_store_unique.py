"""Jobs of which a queue has one of a key at a time, on both stores."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import trio
from _world import LEASE, PostgresWorld, WithVerbs, failure, job, success, token

from m25._store.failures import StatementFailed
from m25._store.protocol import (
    AnyJob,
    ClaimedJob,
    Enqueued,
    Exists,
    Held,
    NewJob,
    Twin,
    UniqueAnswer,
    UniqueJob,
    WriteResult,
)
from m25._unique import Holding, Then
from support.waiting import eventually

HOUR = timedelta(hours=1)


def unique(
    new: NewJob | None = None,
    then: Then = "refuse",
    holding: Holding = "live",
    *,
    key: str = "k",
    within: timedelta | None = None,
) -> UniqueJob:
    return UniqueJob(job() if new is None else new, key, holding, within, then)


async def put(world: WithVerbs, *jobs: UniqueJob) -> list[UniqueAnswer]:
    return await world.store.enqueue_unique(jobs, [])


async def put_one(
    world: WithVerbs,
    then: Then = "refuse",
    holding: Holding = "live",
    *,
    value: object = None,
    within: timedelta | None = None,
) -> tuple[str, UniqueAnswer]:
    """Put a job of the key "k"; return its id, and what became of it."""
    new = job(input=json.dumps(value))
    (answer,) = await put(world, unique(new, then, holding, within=within))
    return new.id, answer


@pytest.mark.parametrize("holding", ["pending", "live", "ever", "within"])
async def test_a_key_is_held_for_as_long_as_its_job_says(
    world: WithVerbs, holding: Holding
) -> None:
    within = HOUR if holding == "within" else None

    async def is_held() -> bool:
        _, answer = await put_one(world, "return", holding, within=within)
        if isinstance(answer, Enqueued):
            # It has taken the key: what is asked is asked of the first.
            return False
        assert isinstance(answer, Twin)
        assert (answer.row.id, answer.is_changed) == (first, False)
        return True

    first, answer = await put_one(world, holding=holding, within=within)
    assert isinstance(answer, Enqueued)
    assert await is_held()
    (claim,) = await world.claim()
    if holding == "pending":
        assert not await is_held()
        return
    assert await is_held()
    assert await world.settle(success(claim)) is WriteResult.SETTLED
    assert await is_held() == (holding != "live")


async def test_a_key_is_free_once_its_time_is_up(world: WithVerbs) -> None:
    await put_one(world, holding="within", within=HOUR)
    await world.pass_time(3_599)
    _, answer = await put_one(world, "refuse", "within", within=HOUR)
    assert isinstance(answer, Held)
    await world.pass_time(2)
    _, answer = await put_one(world, "return", "within", within=HOUR)
    assert isinstance(answer, Enqueued)
    _, answer = await put_one(world, "refuse", "within", within=HOUR)
    assert isinstance(answer, Held)


async def test_a_key_that_is_held_while_pending_is_not_taken_again_by_a_release_or_a_retry(
    world: WithVerbs,
) -> None:
    new = job(max_attempts=2)
    await put(world, unique(new, holding="pending"))
    (claim,) = await world.claim()
    await world.release(claim)
    assert await world.status(new.id) == "pending"
    second, answer = await put_one(world, holding="pending")
    assert isinstance(answer, Enqueued)
    claims = {each.id: each for each in await world.claim()}
    assert await world.settle(failure(claims[new.id])) is WriteResult.RETRIED
    _, answer = await put_one(world, holding="pending")
    assert isinstance(answer, Enqueued), "the second has begun, and the first only waits again"
    assert second in claims


async def test_a_key_that_is_held_while_live_is_held_by_all_attempts(world: WithVerbs) -> None:
    await put(world, unique(job(max_attempts=2)))
    (claim,) = await world.claim()
    assert await world.settle(failure(claim)) is WriteResult.RETRIED
    _, answer = await put_one(world)
    assert answer == Held(claim.id, "pending")
    (claim,) = await world.claim()
    assert await world.settle(failure(claim)) is WriteResult.SETTLED
    _, answer = await put_one(world)
    assert isinstance(answer, Enqueued)


async def test_keys_of_different_queues_and_other_keys_have_nothing_to_do_with_each_other(
    world: WithVerbs,
) -> None:
    answers = await put(
        world,
        unique(),
        unique(job("other")),
        unique(key="other"),
        unique(),
        unique(job(), "return"),
    )
    assert [type(answer) for answer in answers] == [Enqueued, Enqueued, Enqueued, Held, Twin]


@pytest.mark.parametrize("then", ["replace", "debounce", "rerun_after"])
async def test_a_job_that_has_not_begun_is_replaced_in_its_place(
    world: WithVerbs, then: Then
) -> None:
    now = await world.now()
    first = job(input="1", scheduled_at=now + HOUR)
    later = job(
        input="2",
        scheduled_at=now + 2 * HOUR,
        timeout=2 * HOUR,
        max_attempts=3,
        retry_delay=HOUR,
        priority=4,
        meta='{"a": 1}',
    )
    await put(world, unique(first))
    (answer,) = await put(world, unique(later, then))
    row = await world.row(first.id)
    assert answer == Twin(row, is_changed=True)
    assert (row.input, row.max_attempts, row.priority) == ("2", 3, 4)
    assert (row.timeout, row.retry_delay) == ("7200.000000", "3600.000000")
    assert row.meta == '{"a": 1}'
    hours = 2 if then == "debounce" else 1
    assert row.scheduled_at is not None
    assert float(row.scheduled_at) == (now + hours * HOUR).timestamp()
    assert await world.count() == 1


@pytest.mark.parametrize("then", ["replace", "debounce"])
async def test_a_job_that_has_begun_keeps_its_input(world: WithVerbs, then: Then) -> None:
    await put_one(world, value=1)
    (claim,) = await world.claim()
    _, answer = await put_one(world, then, value=2)
    assert answer == Held(claim.id, "executing")
    await world.release(claim)
    _, answer = await put_one(world, then, value=2)
    assert answer == Held(claim.id, "pending")
    assert (await world.row(claim.id)).input == "1"


async def test_a_job_that_runs_is_followed_by_one_more_with_the_latest_input(
    world: WithVerbs,
) -> None:
    await put(world, unique(job(max_attempts=2)))
    (claim,) = await world.claim()
    rerun, answer = await put_one(world, "rerun_after", value=1)
    assert isinstance(answer, Enqueued)
    assert answer.follows == claim.id
    for value in (2, 3):
        _, answer = await put_one(world, "rerun_after", value=value)
        assert isinstance(answer, Twin)
        assert (answer.row.id, answer.row.input) == (rerun, str(value))
    assert await world.claim() == []
    assert await world.store.survey(["q"]) == {}
    # Not after an attempt: after the last.
    assert await world.settle(failure(claim)) is WriteResult.RETRIED
    (retry,) = await world.claim()
    assert retry.id != rerun
    assert await world.settle(success(retry)) is WriteResult.SETTLED
    (again,) = await world.claim()
    assert again.id == rerun
    assert (await world.row(rerun)).follows == claim.id
    # And that one is followed in the same way.
    third, answer = await put_one(world, "rerun_after", value=4)
    assert isinstance(answer, Enqueued)
    assert answer.follows == rerun
    assert await world.settle(success(again)) is WriteResult.SETTLED
    assert [each.id for each in await world.claim()] == [third]


async def test_a_job_that_waits_for_its_next_attempt_is_followed_too(world: WithVerbs) -> None:
    await put_one(world, value=1)
    (claim,) = await world.claim()
    await world.release(claim)
    rerun, answer = await put_one(world, "rerun_after", value=2)
    assert isinstance(answer, Enqueued)
    assert answer.follows == claim.id
    (again,) = await world.claim()
    assert again.id == claim.id, "what was released goes first"
    # However it ends.
    await world.pass_time(LEASE.total_seconds() + 1)
    await world.sweep(allowed_losses=0)
    (last,) = await world.claim()
    assert last.id == rerun


async def test_a_job_that_is_followed_and_cancelled_lets_the_other_run(world: WithVerbs) -> None:
    first, _ = await put_one(world)
    (claim,) = await world.claim()
    rerun, _ = await put_one(world, "rerun_after")
    await world.release(claim)
    assert await world.store.cancel(first, "q") is not None
    assert [each.id for each in await world.claim()] == [rerun]


async def test_a_repeat_of_an_enqueue_changes_nothing_whoever_has_the_key_by_then(
    world: WithVerbs,
) -> None:
    first = unique(job(input="1"), "replace")
    await put(world, first)
    (again,) = await put(world, first)
    assert isinstance(again, Exists)
    (claim,) = await world.claim()
    assert await world.settle(success(claim)) is WriteResult.SETTLED
    second, _ = await put_one(world, value=2)
    (again,) = await put(world, first)
    assert isinstance(again, Exists)
    assert (await world.row(second)).input == "2"


async def test_jobs_with_and_without_keys_go_together_or_not_at_all(world: WithVerbs) -> None:
    held, _ = await put_one(world, "replace", value=0)
    jobs: list[AnyJob] = [job(), unique(job(input="1"), "replace"), unique(key="new")]

    async def batches(*, fails: bool) -> AsyncIterator[list[AnyJob]]:
        yield jobs
        if fails:
            raise ZeroDivisionError

    answers: list[UniqueAnswer] = []
    with pytest.raises(ZeroDivisionError):
        await world.store.enqueue_all(batches(fails=True), [], lambda _, __: None)
    assert await world.count() == 1
    assert (await world.row(held)).input == "0"
    await world.store.enqueue_all(batches(fails=False), [], lambda _, found: answers.extend(found))
    assert [type(answer) for answer in answers] == [Enqueued, Twin, Enqueued]
    assert (await world.row(held)).input == "1"
    assert await world.count() == 3


async def test_a_claim_that_was_undone_is_not_confirmed_where_the_input_may_be_another(
    world: WithVerbs,
) -> None:
    # As after a server that went down at the commit of the claim.
    first, _ = await put_one(world, value=1)
    (plain,) = await world.put(job())
    claims = [ClaimedJob(first, mine := token()), ClaimedJob(plain, mine)]
    written = await world.store.confirm(claims, LEASE)
    assert (written.ids, written.locked) == ({plain}, set())


async def test_a_key_that_an_open_transaction_has_is_waited_for(database: PostgresWorld) -> None:
    new = unique()
    async with database.pool.connection() as connection:
        async with connection.transaction():
            await database.store.enqueue_unique([new], [], connection)
            with pytest.raises(StatementFailed) as caught:
                await database.store.enqueue_unique(
                    [unique()], [], lock_wait=timedelta(milliseconds=10)
                )
            assert caught.value.waits_for_lock
            async with trio.open_nursery() as nursery:
                answers: list[UniqueAnswer] = []

                async def wait() -> None:
                    answers.extend(await put(database, unique()))

                nursery.start_soon(wait)
                await eventually(database.waits_for_a_lock)
                assert not answers
                await connection.execute("rollback and chain")
    assert [type(answer) for answer in answers] == [Enqueued]


@pytest.mark.parametrize("is_released", [False, True])
async def test_what_is_replaced_while_it_is_claimed_is_looked_at_again(
    database: PostgresWorld, is_released: bool
) -> None:
    first, _ = await put_one(database, value=1)
    answers: list[UniqueAnswer] = []
    async with database.pool.connection() as connection, trio.open_nursery() as nursery:
        async with connection.transaction():
            # As a claim does that is about to commit, or a release after it.
            await connection.execute(
                "update m25.job set has_begun = true, started_at = %(at)s, reserved_at = %(at)s"
                " where id = %(id)s",
                {"id": first, "at": None if is_released else datetime.now(UTC)},
            )

            async def replace() -> None:
                _, answer = await put_one(database, "rerun_after", value=2)
                answers.append(answer)

            nursery.start_soon(replace)
            await eventually(database.waits_for_a_lock)
            assert not answers
    (answer,) = answers
    assert isinstance(answer, Enqueued)
    assert answer.follows == first


async def test_a_deleted_job_holds_no_key_but_for_one_that_is_held_for_ever(
    database: PostgresWorld,
) -> None:
    await put(
        database,
        unique(),
        unique(key="pending", holding="pending"),
        unique(key="ever", holding="ever"),
        unique(key="an hour", holding="within", within=HOUR),
    )
    await database.execute("delete from m25.job")
    left = await database.execute("select key from m25.held_key order by key")
    assert left == [("an hour",), ("ever",)]
    answers = await put(database, *(unique(job(), "return", key=key) for key in ("k", "ever")))
    assert [type(answer) for answer in answers] == [Enqueued, Held]


async def test_a_rerun_whose_twin_was_deleted_is_run(database: PostgresWorld) -> None:
    first, _ = await put_one(database)
    await database.claim()
    rerun, _ = await put_one(database, "rerun_after")
    await database.execute("delete from m25.job where id = %(id)s", id=first)
    assert [each.id for each in await database.claim()] == [rerun]
