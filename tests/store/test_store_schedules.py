"""Schedules and the claims of their ticks, on both stores."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import trio
from _world import PostgresWorld, WithVerbs, failure, job, success

from m25._store.failures import RowRefused
from m25._store.protocol import NewJob, NewSchedule, NewTick, ScheduleRow
from m25._timestamps import timestamp_from_text
from support.hearing import hearing
from support.waiting import PATIENCE

HOURLY = NewSchedule("s", "q", "0 * * * *", None, "UTC", "last", "allow")
SECOND = timedelta(seconds=1)


async def read(world: WithVerbs, name: str = "s") -> ScheduleRow:
    (row,) = (await world.store.find_schedules([name])).rows
    return row


async def declared(world: WithVerbs, schedule: NewSchedule = HOURLY) -> ScheduleRow:
    """A schedule that begins ten seconds ago."""
    await world.store.declare_schedules([schedule])
    if isinstance(world, PostgresWorld):
        await world.execute(
            "update m25.schedule set last_tick = last_tick - interval '10 s' where name = %(name)s",
            name=schedule.name,
        )
    else:
        await world.pass_time(10)
    return await read(world, schedule.name)


def tick(row: ScheduleRow, *jobs: NewJob, seconds: int = 1, overlap: str = "allow") -> NewTick:
    after = timestamp_from_text(row.last_tick)
    until = after + seconds * SECOND
    return NewTick(row.name, row.revision, after, until, overlap, jobs)


async def ticked(world: WithVerbs, *ticks: NewTick) -> list[tuple[str, bool, bool]]:
    return sorted(tuple(one) for one in await world.store.tick(ticks, ["q"]))


async def test_a_new_schedule_begins_now_and_reads_as_it_was_declared(world: WithVerbs) -> None:
    names = 'it\'s "a", {b}', "every"
    every = timedelta(days=1, seconds=1.5)
    schedules = [
        HOURLY._replace(name=names[0]),
        NewSchedule(names[1], "q", None, every, "Europe/Berlin", "all", "queue"),
    ]
    before = await world.now()
    assert await world.store.declare_schedules(schedules) == []
    assert await world.store.declare_schedules(schedules) == []
    found = await world.store.find_schedules()
    assert [row.name for row in found.rows] == sorted(names)
    by_every = next(row for row in found.rows if row.name == "every")
    assert (by_every.expression, float(by_every.every or 0)) == (None, 86401.5)
    assert (by_every.timezone, by_every.catch_up, by_every.overlap, by_every.revision) == (
        "Europe/Berlin", "all", "queue", 1,
    )  # fmt: skip
    assert before <= timestamp_from_text(by_every.last_tick) <= timestamp_from_text(found.now)
    assert (await world.store.find_schedules(["none"])).rows == []


async def test_a_tick_is_claimed_once_with_its_job(world: WithVerbs) -> None:
    row = await declared(world)
    ticks = [tick(row, job()) for _ in range(5)]
    answers: list[tuple[str, bool, bool]] = []

    async def claim(one: NewTick) -> None:
        answers.extend(await ticked(world, one))

    async with trio.open_nursery() as nursery:
        for one in ticks:
            nursery.start_soon(claim, one)
    assert answers == [("s", False, True)]
    assert await world.count() == 1
    after = await read(world)
    assert timestamp_from_text(after.last_tick) == ticks[0].until
    assert after.last_job_id in {one.jobs[0].id for one in ticks}
    # Whoever saw the schedule as it was before claims nothing, later ticks neither.
    assert await ticked(world, tick(row, job(), seconds=5)) == []
    assert await ticked(world, tick(after, job())) == [("s", False, True)]


async def test_many_ticks_of_many_schedules_are_one_call(world: WithVerbs) -> None:
    one = await declared(world, HOURLY._replace(name="one"))
    two = await declared(world, HOURLY._replace(name="two"))
    none = await declared(world, HOURLY._replace(name="none"))
    old = tick(two._replace(last_tick="1.000000"), job())
    answers = await ticked(world, tick(one, job(), job(), job()), old, tick(none))
    assert answers == [("none", False, True), ("one", False, True)]
    assert await world.count() == 3
    assert (await read(world, "none")).last_job_id is None
    assert (await read(world, "two")).last_tick == two.last_tick


async def test_a_tick_whose_job_is_there_already_is_claimed(world: WithVerbs) -> None:
    row, there = await declared(world), job()
    await world.put(there)
    assert await ticked(world, tick(row, there)) == [("s", False, True)]
    assert await world.count() == 1


async def test_no_tick_comes_before_its_time(world: WithVerbs) -> None:
    row = await declared(world)
    assert await ticked(world, tick(row, job(), seconds=60)) == []
    assert await world.count() == 0


@pytest.mark.parametrize(("overlap", "is_ticked"), [("skip", True), ("queue", False)])
async def test_a_tick_has_no_job_while_the_one_before_is_live(
    world: WithVerbs, overlap: str, is_ticked: bool
) -> None:
    row = await declared(world)
    await ticked(world, tick(row, job(max_attempts=2)))
    first = await read(world)
    later = tick(first, job(), seconds=2, overlap=overlap)
    assert await ticked(world, later) == [("s", True, is_ticked)]
    row = await read(world)
    assert (row.last_tick == first.last_tick) is not is_ticked
    assert row.last_job_id == first.last_job_id
    # A next attempt is the same job.
    claim = await world.claim_one()
    await world.settle(failure(claim))
    row = await read(world)
    assert await ticked(world, tick(row, job(), overlap=overlap)) == [("s", True, is_ticked)]
    await world.settle(success(await world.claim_one()))
    row, last = await read(world), job()
    assert await ticked(world, tick(row, last, overlap=overlap)) == [("s", False, True)]
    assert (await read(world)).last_job_id == last.id


async def test_a_job_that_was_cancelled_is_live_no_more(world: WithVerbs) -> None:
    first = job()
    await ticked(world, tick(await declared(world), first))
    await world.store.cancel(first.id, "q")
    row = await read(world)
    assert await ticked(world, tick(row, job(), overlap="queue")) == [("s", False, True)]


async def test_a_pause_has_no_ticks_and_those_that_came_do_not_run_after_it(
    world: WithVerbs,
) -> None:
    row = await declared(world)
    assert not await world.store.pause_schedule("none", is_paused=True)
    assert await world.store.pause_schedule("s", is_paused=True)
    assert await ticked(world, tick(row, job())) == []
    paused = await read(world)
    assert paused.paused_at is not None
    assert await world.store.declare_schedules([HOURLY._replace(timezone="Asia/Tokyo")]) == ["s"]
    assert await world.store.pause_schedule("s", is_paused=True)
    assert (await read(world)).paused_at == paused.paused_at
    resumed_after = await world.now()
    assert await world.store.pause_schedule("s", is_paused=False)
    row = await read(world)
    assert row.paused_at is None
    assert timestamp_from_text(row.last_tick) >= resumed_after
    # One that is not paused goes on from where it is.
    assert await world.store.pause_schedule("s", is_paused=False)
    assert (await read(world)).last_tick == row.last_tick


async def test_a_resumed_schedule_begins_at_its_resumption(world: WithVerbs) -> None:
    row = await declared(world)
    await world.store.pause_schedule("s", is_paused=True)
    resumed_after = await world.now()
    await world.store.pause_schedule("s", is_paused=False)
    assert await ticked(world, tick(row, job())) == []
    assert timestamp_from_text((await read(world)).last_tick) >= resumed_after


async def test_other_times_have_no_past_and_an_older_declaration_has_no_ticks(
    world: WithVerbs,
) -> None:
    row = await declared(world)
    assert await world.store.declare_schedules([HOURLY._replace(overlap="skip")]) == ["s"]
    changed = await read(world)
    assert (changed.last_tick, changed.revision) == (row.last_tick, 2)
    assert await ticked(world, tick(row, job())) == []
    now: datetime = await world.now()
    assert await world.store.declare_schedules([HOURLY._replace(expression="1 * * * *")]) == ["s"]
    assert timestamp_from_text((await read(world)).last_tick) >= now


async def test_those_who_have_declared_a_schedule_say_so_again(world: WithVerbs) -> None:
    row = await declared(world)
    before = await world.now()
    await world.store.renew_schedules([row])
    renewed = await read(world)
    assert timestamp_from_text(renewed.declared_at) >= before
    assert renewed._replace(declared_at=row.declared_at) == row
    # Who has declared it as it was does not say that it is so.
    await world.store.declare_schedules([HOURLY._replace(overlap="skip")])
    changed = await read(world)
    assert float(changed.declared_at) >= float(renewed.declared_at)
    await world.store.renew_schedules([row])
    assert await read(world) == changed


async def test_a_schedule_that_a_stranger_has_locked_delays_no_other(
    database: PostgresWorld,
) -> None:
    locked = await declared(database, HOURLY._replace(name="locked"))
    other = await declared(database, HOURLY._replace(name="other"))
    ticks = [tick(locked, job()), tick(other, job())]
    with trio.fail_after(PATIENCE):
        async with database.pool.connection() as stranger, stranger.transaction():
            await stranger.execute("select from m25.schedule where name = 'locked' for update")
            assert await ticked(database, *ticks) == [("other", False, True)]
            await database.store.renew_schedules([locked, await read(database, "other")])
        assert await ticked(database, *ticks) == [("locked", False, True)]


async def test_a_job_that_is_refused_leaves_its_tick(world: WithVerbs) -> None:
    row = await declared(world)
    with pytest.raises(RowRefused):
        await world.store.tick([tick(row, job(input='"\\u0000"'))], ["q"])
    assert (await read(world)).last_tick == row.last_tick


async def test_the_workers_of_the_queue_are_notified(world: WithVerbs) -> None:
    row = await declared(world)
    with trio.fail_after(PATIENCE):
        async with hearing(world.store.listen, ["q"]) as notified:
            assert await anext(notified) is None
            await ticked(world, tick(row, job()))
            assert await anext(notified) == "q"
