"""Messages to jobs, and jobs that are set aside, on both stores."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import trio
from _world import LEASE, PostgresWorld, WithVerbs, failure, job, success, token

from m25._store import message_steps
from m25._store.failures import RowRefused
from m25._store.protocol import (
    FOREVER,
    ClaimedJob,
    Fenced,
    Kept,
    Locked,
    NewMessage,
    NewReceive,
    NoMessage,
    Release,
    Sent,
    SetAside,
    StepRow,
)
from m25._store.statements import load_statements
from support.waiting import eventually


def wait(
    claim: ClaimedJob,
    name: str = "answer",
    key: str = "0",
    *,
    job_id: str = "",
    timeout: float | None = None,
) -> NewReceive:
    within = None if timeout is None else timedelta(seconds=timeout)
    return NewReceive(*claim, job_id or claim.id, name, key, within)


def received(value: str, name: str = "answer", key: str = "0") -> StepRow:
    return StepRow("receive", name, key, None, None, None, value)


async def receive(world: WithVerbs, wanted: NewReceive) -> Any:
    (answer,) = await world.store.receive([wanted])
    return answer


async def send(world: WithVerbs, id: str, value: str, *, key: str = "", **others: Any) -> Sent:
    name = others.pop("name", "answer")
    return await world.store.send(NewMessage(id, key or value, name, value), "q", **others)


async def set_aside(
    world: WithVerbs,
    claim: ClaimedJob,
    awaits: str | None = "answer",
    messages: int = 0,
    until: str = FOREVER,
) -> None:
    aside = SetAside(until, awaits, messages)
    written = await world.store.release([Release(*claim, set_aside=aside)], [])
    assert written.ids == {claim.id}


async def executing(world: WithVerbs, **options: Any) -> ClaimedJob:
    await world.put(job(**options))
    return await world.claim_one()


async def test_messages_are_received_in_order_each_once(world: WithVerbs) -> None:
    claim = await executing(world)
    for value in ("1", "2"):
        assert await send(world, claim.id, value) is Sent.SENT
    await send(world, claim.id, "3", name="other")
    assert await receive(world, wait(claim)) == Kept(received("1"), is_new=True)
    # Asked again, as after a lost answer, the first wait has its own message still.
    assert await receive(world, wait(claim)) == Kept(received("1"), is_new=False)
    assert await receive(world, wait(claim, key="1")) == Kept(received("2", key="1"), is_new=True)
    assert await receive(world, wait(claim, key="2")) == NoMessage(None, 3)
    other = wait(claim, "other")
    assert await receive(world, other) == Kept(received("3", "other"), is_new=True)
    found = await world.store.find_steps([claim.id])
    assert len(found[claim.id]) == 3


async def test_what_was_received_is_there_for_every_later_attempt(world: WithVerbs) -> None:
    claim = await executing(world, max_attempts=2)
    await send(world, claim.id, "null")
    await receive(world, wait(claim))
    await world.settle(failure(claim))
    again = await world.claim_one()
    await send(world, again.id, "2")
    assert await receive(world, wait(again, job_id=claim.id)) == Kept(received("null"), False)
    # What was sent to an earlier attempt is counted by the next ones, too.
    answer = await receive(world, wait(again, "other", job_id=claim.id))
    assert answer == NoMessage(None, 2)


async def test_several_jobs_receive_in_one_statement(world: WithVerbs) -> None:
    await world.put(*(job() for _ in range(3)))
    one, two, three = await world.claim()
    await send(world, one.id, "1")
    stranger = ClaimedJob(three.id, token())
    answers = await world.store.receive([wait(two), wait(stranger), wait(one)])
    assert answers == [NoMessage(None, 0), Fenced(three.id), Kept(received("1"), is_new=True)]


async def test_who_lost_its_claim_receives_nothing(world: WithVerbs) -> None:
    claim = await executing(world)
    await world.pass_time(LEASE.total_seconds() + 1)
    await world.sweep()
    again = await world.claim_one()
    await send(world, again.id, "1")
    assert await receive(world, wait(claim)) == Fenced(claim.id)
    kept = Kept(received("1"), is_new=True)
    assert await receive(world, wait(again, job_id=claim.id)) == kept


async def test_a_locked_row_is_waited_for_by_its_own_job_alone(world: WithVerbs) -> None:
    await world.put(job(), job())
    one, two = await world.claim()
    await send(world, one.id, "1")
    async with world.locked(one.id):
        answers = await world.store.receive([wait(one), wait(two)])
        assert answers == [Locked(one.id), NoMessage(None, 0)]
    assert await receive(world, wait(one)) == Kept(received("1"), is_new=True)


async def test_what_comes_after_a_timeout_is_not_received_by_that_wait(world: WithVerbs) -> None:
    claim = await executing(world)
    first = await receive(world, wait(claim, timeout=60))
    assert first.step.seconds_left == pytest.approx(60, abs=5)
    # It is counted from when it was first asked.
    second = await receive(world, wait(claim, timeout=600))
    assert second.step.until == first.step.until
    await _end(world, claim, first.step.until)
    await send(world, claim.id, "1")
    late = await receive(world, wait(claim, timeout=60))
    assert late.step.seconds_left <= 0
    assert await receive(world, wait(claim, key="1")) == Kept(received("1", key="1"), is_new=True)


async def _end(world: WithVerbs, claim: ClaimedJob, until: str) -> None:
    """Let the time pass until which a job waits."""
    if isinstance(world, PostgresWorld):
        await world.execute("update m25.step set until = now() - interval '1 millisecond'")
    else:
        await world.pass_time(60)


async def test_what_came_in_time_is_received_however_late_the_job_looks(world: WithVerbs) -> None:
    claim = await executing(world)
    await receive(world, wait(claim, timeout=60))
    await send(world, claim.id, "1")
    await world.pass_time(50)
    answer = await receive(world, wait(claim, timeout=60))
    assert answer.step.output == "1"
    assert answer.is_new


async def test_a_message_wakes_the_job_that_is_set_aside_for_it(world: WithVerbs) -> None:
    claim = await executing(world)
    await set_aside(world, claim)
    row = await world.row(claim.id)
    assert row.status == "pending"
    assert row.scheduled_at == FOREVER
    assert await world.claim() == []
    assert await send(world, claim.id, "1", name="other") is Sent.SENT
    assert await world.claim() == []
    assert await send(world, claim.id, "2") is Sent.WOKEN
    again = await world.claim_one()
    assert (again.id, (await world.row(again.id)).attempt) == (claim.id, 1)
    # It runs: there is nobody to be woken.
    assert await send(world, claim.id, "3") is Sent.SENT


async def test_a_message_that_comes_before_its_job_is_set_aside_is_not_slept_through(
    world: WithVerbs,
) -> None:
    claim = await executing(world)
    answer = await receive(world, wait(claim))
    assert answer == NoMessage(None, 0)
    await send(world, claim.id, "1")
    await set_aside(world, claim, messages=answer.messages)
    again = await world.claim_one()
    assert await receive(world, wait(again)) == Kept(received("1"), is_new=True)
    await set_aside(world, again, messages=1)
    assert await world.claim() == []


async def test_a_job_sleeps_until_a_time_whatever_is_sent_to_it(world: WithVerbs) -> None:
    claim = await executing(world)
    until = f"{float((await world.row(claim.id)).started_at or 0) + 90:.6f}"
    await send(world, claim.id, "1")
    await set_aside(world, claim, None, until=until)
    assert await send(world, claim.id, "2") is Sent.SENT
    assert await world.claim() == []
    await world.pass_time(91)
    assert (await world.claim_one()).id == claim.id


async def test_a_message_that_is_sent_again_is_sent_once(world: WithVerbs) -> None:
    claim = await executing(world)
    await set_aside(world, claim)
    assert await send(world, claim.id, "1", key="k") is Sent.WOKEN
    assert await send(world, claim.id, "1", key="k") is Sent.REPEATED
    again = await world.claim_one()
    await receive(world, wait(again))
    assert await receive(world, wait(again, key="1")) == NoMessage(None, 1)
    await world.settle(success(again))
    # Its sender may have lost the answer, and the message may have ended the job.
    assert await send(world, claim.id, "1", key="k") is Sent.REPEATED


async def test_nothing_is_sent_to_a_job_that_has_ended_or_is_not_there(world: WithVerbs) -> None:
    claim = await executing(world)
    assert await world.store.send(NewMessage(claim.id, "k", "answer", "1"), "r") is Sent.NOT_LIVE
    await world.settle(success(claim))
    assert await send(world, claim.id, "1") is Sent.NOT_LIVE
    assert await send(world, token(), "1") is Sent.NOT_LIVE
    (pending,) = await world.put(job())
    await world.store.cancel(pending, "q")
    assert await send(world, pending, "1") is Sent.NOT_LIVE


async def test_what_cannot_be_kept_is_refused_and_nothing_is_sent(world: WithVerbs) -> None:
    claim = await executing(world)
    with pytest.raises(RowRefused):
        await send(world, claim.id, '"\\u0000"')
    assert await receive(world, wait(claim)) == NoMessage(None, 0)


async def test_a_cancel_reaches_a_job_that_is_set_aside(world: WithVerbs) -> None:
    claim = await executing(world)
    await set_aside(world, claim)
    row = await world.store.cancel(claim.id, "q")
    assert row is not None
    assert row.status == "cancelled"


async def test_a_job_that_was_asked_to_be_cancelled_is_not_set_aside(world: WithVerbs) -> None:
    claim = await executing(world)
    await world.store.request_cancel(claim.id, "q")
    aside = SetAside(FOREVER, "answer", 0)
    written = await world.store.release([Release(*claim, set_aside=aside)], [])
    assert written.to_cancel == {claim.id}
    assert await world.status(claim.id) == "cancelled"


# What only a database does


async def look_held_up(
    world: PostgresWorld, claim: ClaimedJob, meanwhile: Callable[[], Awaitable[object]]
) -> tuple[Any, ...]:
    """Look for a message; once the look has its snapshot, and no lock yet, something happens."""
    statement = load_statements("m25")["receive"].replace(
        b"with wanted as (",
        b"with held_up as materialized (select pg_advisory_xact_lock(25)), wanted as (",
        1,
    )
    statement = statement.replace(
        b"where job.id = any(%(id)s::uuid[])\n        and job.status = 'executing'",
        b"where job.id = any(%(id)s::uuid[]) and (select count(*) from held_up) = 1"
        b" and job.status = 'executing'",
        1,
    )
    assert statement.count(b"held_up") == 2
    found: list[tuple[Any, ...]] = []

    async def look() -> None:
        async with world.pool.connection() as connection:
            parameters = next(message_steps.receive([wait(claim)])).parameters
            cursor = await connection.execute(statement, parameters)
            found.extend(await cursor.fetchall())

    async with world.pool.connection() as other:
        await other.execute("select pg_advisory_lock(25)")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await eventually(world.waits_for_a_lock)
            await meanwhile()
            await other.execute("select pg_advisory_unlock(25)")
    (row,) = found
    return row


async def test_a_message_between_a_looks_snapshot_and_its_lock_is_not_slept_through(
    database: PostgresWorld,
) -> None:
    """The look sees the messages of its snapshot, and locks the row as it is later."""
    claim = await executing(database)
    row = await look_held_up(database, claim, lambda: send(database, claim.id, "1"))
    assert _answer(claim, row) == NoMessage(None, 0)
    await set_aside(database, claim, messages=0)
    assert (await database.claim_one()).id == claim.id


async def test_what_a_lost_call_has_received_is_looked_at_again(database: PostgresWorld) -> None:
    """It goes on in the server, and its repeat has a snapshot in which the message is still new."""
    claim = await executing(database)
    await send(database, claim.id, "1")
    row = await look_held_up(database, claim, lambda: receive(database, wait(claim)))
    assert _answer(claim, row) == Locked(claim.id)
    assert await receive(database, wait(claim)) == Kept(received("1"), is_new=False)


def _answer(claim: ClaimedJob, row: tuple[Any, ...]) -> Any:
    """The answer of the call whose statement has returned this row."""
    steps = message_steps.receive([wait(claim)])
    next(steps)
    try:
        steps.send([row])
    except StopIteration as done:
        (answer,) = done.value
        return answer
    raise AssertionError("another statement follows")


async def test_messages_go_with_the_last_row_of_their_job(database: PostgresWorld) -> None:
    claim = await executing(database)
    await send(database, claim.id, "1")
    await database.execute("delete from m25.job")
    assert await database.execute("select * from m25.message") == []
