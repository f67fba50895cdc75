"""What a store keeps of what handlers have done once."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import trio
from _world import (
    LEASE,
    RESERVED_TIMEOUT,
    MemoryWorld,
    PostgresWorld,
    WithVerbs,
    failure,
    job,
    success,
    token,
)

from m25 import pg
from m25._store.failures import RowRefused, StatementFailed
from m25._store.protocol import (
    ClaimedJob,
    Fenced,
    Kept,
    Locked,
    NewStep,
    StepRow,
    SweptQueue,
    WriteResult,
)
from m25._store.steps import session_name
from support.waiting import eventually


def step(
    claim: ClaimedJob, name: str = "charge", key: str = "0", *, job_id: str = "", **others: Any
) -> NewStep:
    return NewStep(*claim, job_id or claim.id, "step", name, key, **{"output": "1", **others})


def new(step: NewStep) -> Kept:
    """The answer for a step that is kept now, and has no time."""
    row = StepRow(step.kind, step.name, step.key, step.fingerprint, None, None, step.output)
    return Kept(row, is_new=True)


async def test_what_is_kept_is_there_for_every_later_attempt(world: WithVerbs) -> None:
    await world.put(job(max_attempts=2))
    claim = await world.claim_one()
    charged = step(claim, fingerprint="f", output='{"paid": 3}')
    sent = step(claim, "send", "to ada")
    assert await world.store.keep_steps([charged, sent]) == [new(charged), new(sent)]
    await world.settle(failure(claim))
    again = await world.claim_one()
    assert again.id != claim.id
    found = await world.store.find_steps([claim.id, again.id])
    assert found == {claim.id: [new(charged).step, new(sent).step]}
    # The same step of the next attempt is there already, whatever it is given.
    other = step(again, job_id=claim.id, fingerprint="g", output="2")
    assert await world.store.keep_steps([other]) == [Kept(new(charged).step, is_new=False)]


async def test_a_repeat_after_a_lost_answer_keeps_nothing_twice(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    first, second = step(claim, output="1"), step(claim, key="1", output="2")
    await world.store.keep_steps([first])
    answers = await world.store.keep_steps([first, second])
    assert answers == [Kept(new(first).step, is_new=False), new(second)]


@pytest.mark.parametrize("end", ["released", "failed", "succeeded", "swept", "cancelled"])
async def test_who_lost_his_claim_keeps_nothing(world: WithVerbs, end: str) -> None:
    await world.put(job(max_attempts=2))
    claim = await world.claim_one()
    kept = step(claim)
    await world.store.keep_steps([kept])
    if end == "released":
        await world.release(claim)
        await world.claim_one()
    elif end == "swept":
        await world.pass_time(LEASE.total_seconds() + 1)
        await world.sweep()
    elif end == "cancelled":
        await world.store.request_cancel(claim.id, "q")
        await world.release(claim)
    else:
        await world.settle(success(claim) if end == "succeeded" else failure(claim))
    late = [kept, step(claim, "send")]
    assert await world.store.keep_steps(late) == [Fenced(claim.id), Fenced(claim.id)]
    assert await world.store.find_steps([claim.id]) == {claim.id: [new(kept).step]}


async def test_a_stolen_token_keeps_nothing_beside_the_true_one(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    stolen = ClaimedJob(claim.id, token())
    true, false = step(claim), step(stolen, "send")
    assert await world.store.keep_steps([true, false]) == [new(true), Fenced(claim.id)]
    reserved = await _reserved(world)
    assert await world.store.keep_steps([step(reserved)]) == [Fenced(reserved.id)]


async def _reserved(world: WithVerbs) -> ClaimedJob:
    await world.put(job())
    return await world.claim_one(start=False)


async def test_a_locked_attempt_keeps_its_own_steps_alone_waiting(world: WithVerbs) -> None:
    await world.put(job(), job())
    locked, other = await world.claim()
    there = step(locked, "there")
    await world.store.keep_steps([there])
    steps = [there, step(locked), step(other)]
    async with world.locked(locked.id):
        assert await world.store.keep_steps(steps) == [
            Kept(new(there).step, is_new=False),
            Locked(locked.id),
            new(steps[2]),
        ]
    assert await world.store.keep_steps([steps[1]]) == [new(steps[1])]


async def test_a_time_is_the_stores_and_stays_where_it_was(world: WithVerbs) -> None:
    await world.put(job(), job())
    short, long = await world.claim()
    nap = step(short, output=None, until_in=timedelta(hours=1))
    ever = step(long, output=None, until_in=timedelta.max)
    began = (await world.now()).timestamp()
    first, second = await world.store.keep_steps([nap, ever])
    assert isinstance(first, Kept)
    assert isinstance(second, Kept)
    assert first.step.seconds_left == 3600
    assert first.step.until is not None
    assert 3600 <= float(first.step.until) - began < 3660
    assert second.step.seconds_left == 31_557_600_000
    later = nap._replace(until_in=timedelta(hours=2))
    (again,) = await world.store.keep_steps([later])
    assert isinstance(again, Kept)
    assert (again.is_new, again.step.until) == (False, first.step.until)
    (read,) = (await world.store.find_steps([short.id]))[short.id]
    assert read.until == first.step.until
    assert read.seconds_left is not None
    assert read.seconds_left <= 3600


async def test_a_value_that_the_store_does_not_take_is_refused(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    with pytest.raises(RowRefused):
        await world.store.keep_steps([step(claim), step(claim, "bad", output='"\\u0000"')])
    assert await world.store.find_steps([claim.id]) == {}


class Connection:
    """A test's own, for the store in memory: nothing is written on it."""

    def transaction(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()


def with_connection(world: WithVerbs) -> WithVerbs:
    """A database has its own; in memory, the test gives one."""
    if isinstance(world, MemoryWorld):
        world.store._connection = Connection()
    return world


async def test_steps_of_a_transaction_are_kept_at_its_commit(world: WithVerbs) -> None:
    store = with_connection(world).store
    await world.put(job())
    claim = await world.claim_one()
    async with store.transaction(claim) as transaction:
        assert await transaction.keep_step(step(claim)) == new(step(claim))
        # Nobody can end the attempt meanwhile: its row is locked.
        assert await store.keep_steps([step(claim)]) == [Locked(claim.id)]
    assert await store.find_steps([claim.id]) == {}
    async with store.transaction(claim) as transaction:
        await transaction.keep_step(step(claim))
        await transaction.commit()
    assert await store.find_steps([claim.id]) == {claim.id: [new(step(claim)).step]}
    async with store.transaction(claim) as transaction:
        again = await transaction.keep_step(step(claim, output="2"))
        assert again == Kept(new(step(claim)).step, is_new=False)
        stolen = ClaimedJob(claim.id, token())
        assert await transaction.keep_step(step(stolen, "send")) == Fenced(claim.id)


async def test_a_success_of_a_transaction_is_written_at_its_commit(world: WithVerbs) -> None:
    store = with_connection(world).store
    await world.put(job())
    claim = await world.claim_one()
    stolen = ClaimedJob(claim.id, token())
    async with store.transaction(stolen) as transaction:
        assert await transaction.settle(success(stolen), 3) is WriteResult.FENCED
    async with store.transaction(claim) as transaction:
        assert await transaction.settle(success(claim), 3) is WriteResult.SETTLED
        assert await world.settle(failure(claim)) is WriteResult.LOCKED
    assert await world.status(claim.id) == "executing"
    async with store.transaction(claim) as transaction:
        await transaction.settle(success(claim, '"done"'), 3)
        await transaction.commit()
    row = await world.row(claim.id)
    assert (row.status, row.output) == ("succeeded", '"done"')
    assert await world.settle(failure(claim)) is WriteResult.REPEATED


async def test_who_stands_still_in_a_transaction_is_ended_and_holds_no_lock(
    database: PostgresWorld,
) -> None:
    await database.put(job())
    claim = await database.claim_one()
    with pytest.raises(StatementFailed):
        async with database.store.transaction(claim) as transaction:
            await transaction.settle(success(claim), 3)
            queues = [SweptQueue("q", 3, RESERVED_TIMEOUT, margin=2 * LEASE)]
            (suspect,) = await database.store.find_suspects(queues, 1)
            others = suspect._replace(lease_expires_at="0.000000")
            assert await database.store.end_transactions([others]) == {}
            assert await database.store.end_transactions([suspect]) == {claim.id: True}
            await transaction.commit()
    assert await database.status(claim.id) == "executing"


async def test_a_commit_that_takes_long_is_left_to_end(database: PostgresWorld, dsn: str) -> None:
    await database.put(job())
    claim = await database.claim_one()
    queues = [SweptQueue("q", 3, RESERVED_TIMEOUT, margin=2 * LEASE)]
    async with (
        await pg.AsyncConnection.connect(dsn, autocommit=True) as committing,
        trio.open_nursery() as nursery,
    ):
        await committing.execute(f"set application_name to '{session_name(claim)}'".encode())
        # What a commit looks like to others while the server waits for a standby.
        slow = partial(committing.execute, "/* m25.commit */ select pg_sleep(60)")
        nursery.start_soon(slow)
        pid = committing.info.backend_pid

        async def is_running() -> bool:
            (row,) = await database.execute(
                "select query from pg_stat_activity where pid = %(pid)s", pid=pid
            )
            return "pg_sleep(60)" in row[0]

        await eventually(is_running)
        (suspect,) = await database.store.find_suspects(queues, 1)
        assert await database.store.end_transactions([suspect]) == {}
        nursery.cancel_scope.cancel()


async def test_steps_go_with_the_last_row_of_their_job(database: PostgresWorld) -> None:
    await database.put(job(max_attempts=2))
    claim = await database.claim_one()
    await database.store.keep_steps([step(claim, output=json.dumps("x" * 10))])
    await database.settle(failure(claim))
    again = await database.claim_one()
    await database.execute("delete from m25.job where id = %(id)s", id=claim.id)
    assert await database.store.find_steps([claim.id])
    await database.execute("delete from m25.job where id = %(id)s", id=again.id)
    assert await database.store.find_steps([claim.id]) == {}
