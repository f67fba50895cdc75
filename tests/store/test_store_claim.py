"""Claiming jobs, starting them, and keeping them by heartbeats, on both stores."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from _world import (
    LEASE,
    RESERVED_TIMEOUT,
    PostgresWorld,
    WithVerbs,
    connected,
    failure,
    job,
    make_id,
    position,
    success,
    token,
)

from m25 import pg
from m25._store.protocol import ClaimedJob, JobRow, NewJob, Release, WriteResult
from m25._store.statements import load_statements
from m25._store.steps import Calls


async def test_two_claimers_never_get_the_same_job(world: WithVerbs) -> None:
    ids = await world.put(*(job() for _ in range(300)))
    claimed: list[ClaimedJob] = []

    async def claimer() -> None:
        while some := await world.claim(limit=7):
            claimed.extend(some)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(claimer)
    # A claimer may find nothing because the others hold what is left at that moment.
    claimed += await world.claim(limit=300)
    assert sorted(claim.id for claim in claimed) == sorted(ids)


async def test_a_claim_goes_by_priority_then_age(world: WithVerbs) -> None:
    now = await world.now()
    (normal,) = await world.put(job())
    (later,) = await world.put(job())
    (same_call_1, same_call_2) = await world.put(job(), job())
    (overdue,) = await world.put(job(scheduled_at=now - timedelta(days=3)))
    (urgent,) = await world.put(job(priority=-1))
    (idle,) = await world.put(job(priority=1, scheduled_at=now - timedelta(days=9)))
    expected = [urgent, overdue, normal, later, same_call_1, same_call_2, idle]
    assert [claim.id for claim in await world.claim(limit=3)] == expected[:3]
    assert [claim.id for claim in await world.claim(limit=3)] == expected[3:6]
    assert [claim.id for claim in await world.claim(limit=3)] == expected[6:]


async def test_nothing_is_claimed_before_its_time(world: WithVerbs) -> None:
    now = await world.now()
    (id,) = await world.put(job(scheduled_at=now + timedelta(hours=1)))
    assert await world.claim() == []
    await world.pass_time(3500)
    assert await world.claim() == []
    await world.pass_time(100)
    assert [claim.id for claim in await world.claim()] == [id]


async def test_what_is_scheduled_for_later_stands_in_nobodys_way(world: WithVerbs) -> None:
    now = await world.now()
    for priority in range(-3, 3):
        tomorrow = now + timedelta(days=1)
        await world.put(*(job(priority=priority, scheduled_at=tomorrow) for _ in range(20)))
    (a, b) = await world.put(job(priority=3), job(priority=-2))
    assert [claim.id for claim in await world.claim()] == [b, a]
    assert await world.claim() == []


async def test_a_claim_takes_no_more_than_it_may_and_from_no_other_queue(world: WithVerbs) -> None:
    await world.put(*(job("a") for _ in range(5)), *(job("b") for _ in range(5)))
    assert await world.claim("a", limit=0) == []
    assert len(await world.claim("a", limit=2)) == 2
    assert len(await world.claim("a", limit=9)) == 3
    assert await world.claim("c") == []
    assert len(await world.claim("b")) == 5


async def test_a_claim_that_goes_on_takes_what_lies_beyond_and_nothing_behind(
    world: WithVerbs,
) -> None:
    now = await world.now()
    ids = await world.put(*(job(scheduled_at=now - timedelta(hours=9 - n)) for n in range(6)))
    latest = position(await world.row((await world.claim(limit=3))[-1].id))
    (behind,) = await world.put(job(scheduled_at=now - timedelta(days=1)))
    (more_urgent,) = await world.put(job(priority=-1))
    (not_due,) = await world.put(job(scheduled_at=now + timedelta(hours=1)))
    beyond = await world.claim(limit=2, after=[latest])
    assert [claim.id for claim in beyond] == ids[3:5]
    rest = await world.claim(after=[latest])
    assert [claim.id for claim in rest] == ids[5:]
    assert await world.claim(after=[latest]) == []
    assert [claim.id for claim in await world.claim()] == [more_urgent, behind]
    assert await world.status(not_due) == "pending"


@pytest.mark.parametrize("start", [True, False], ids=["started", "reserved"])
async def test_a_claim_returns_all_that_is_in_its_rows(world: WithVerbs, *, start: bool) -> None:
    now = await world.now()
    hour = timedelta(hours=1)
    every = NewJob(
        id=make_id(),
        queue_name="q",
        input='{"to": "ada"}',
        scheduled_at=now - hour,
        timeout=timedelta(days=40, microseconds=7),
        max_attempts=9,
        retry_delay=timedelta(milliseconds=1500),
        unique_key='{"a", "b"}, null',
        priority=3,
        meta='{"trace": "\\"1\\", 2"}',
        expires_at=now + hour,
        own_retry=True,
        parent_id=make_id(),
    )
    await world.put(
        job(),
        job(timeout=timedelta(days=999_999)),
        job(timeout=timedelta(seconds=-1)),
        job(meta="{}"),
        job(scheduled_at=now - 2 * hour),
        every,
        job("again", max_attempts=2, input='"again"'),
    )
    # An attempt that was lost with its process, and one whose setup has failed.
    (lost,) = await world.claim("again")
    assert await world.settle(failure(lost, "heartbeat_timeout")) is WriteResult.RETRIED
    (unready,) = await world.claim("again", start=False)
    await world.store.release([Release(*unready, setup_failed=True)], [])
    for queue, number in (("q", 6), ("again", 1)):
        rows = await world.store.claim(queue, token=token(), limit=9, lease=LEASE, start=start)
        assert rows == await world.rows([row.id for row in rows])
        assert len(rows) == number


async def test_a_claim_goes_on_in_each_priority_where_the_latest_ended(world: WithVerbs) -> None:
    now = await world.now()
    at = [now - timedelta(hours=9 - n) for n in range(4)]
    urgent = await world.put(*(job(priority=-2, scheduled_at=one) for one in at))
    usual = await world.put(*(job(scheduled_at=one) for one in at))
    await world.put(*(job("other", scheduled_at=one) for one in at))
    after = [position(row) for row in await world.rows([urgent[1], usual[0]])]
    taken = await world.claim(limit=4, after=after)
    assert [claim.id for claim in taken] == [*urgent[2:], *usual[1:3]]


async def test_a_claim_goes_on_in_the_priorities_behind_the_last_where_it_ended(
    world: WithVerbs,
) -> None:
    now = await world.now()
    jobs = [job(priority=priority) for priority in (-5, 0, 0, 1, 3, 3, 9)]
    ids = await world.put(*jobs, job(priority=2, scheduled_at=now + timedelta(hours=1)))
    (first,) = await world.rows([ids[1]])
    taken = await world.claim(limit=4, after=[position(first)])
    assert [claim.id for claim in taken] == ids[2:6]
    # What is more urgent than the last position, and behind none, a claim from the start takes.
    assert [claim.id for claim in await world.claim(after=[position(first)])] == [ids[6]]
    assert [claim.id for claim in await world.claim()] == ids[:2]


async def test_a_claim_goes_on_among_jobs_of_one_moment(world: WithVerbs) -> None:
    ids = await world.put(*(job() for _ in range(5)))
    (row,) = await world.rows([ids[2]])
    assert [claim.id for claim in await world.claim(after=[position(row)])] == ids[3:]


async def test_a_claim_to_start_begins_executing_at_once(world: WithVerbs) -> None:
    await world.put(job(timeout=timedelta(seconds=90)))
    (row,) = await world.store.claim("q", token=token(), limit=1, lease=LEASE, start=True)
    assert row.status == "executing"
    assert row.reserved_at is not None
    assert row.started_at == row.reserved_at
    assert row.deadline is not None
    assert float(row.deadline) == pytest.approx(float(row.started_at) + 90, abs=1e-5)
    assert row == await world.row(row.id)


async def test_a_claim_without_a_start_only_reserves(world: WithVerbs) -> None:
    await world.put(job())
    (row,) = await world.store.claim("q", token=token(), limit=1, lease=LEASE, start=False)
    assert row.status == "reserved"
    assert row.reserved_at is not None
    assert row.started_at is None
    assert row.deadline is None
    assert row == await world.row(row.id)


async def test_a_reserved_job_is_started_and_its_deadline_counts_from_then(
    world: WithVerbs,
) -> None:
    await world.put(job(timeout=timedelta(seconds=90)))
    claim = await world.claim_one(start=False)
    await world.pass_time(10)
    (started,) = await world.start(claim)
    row = await world.row(claim.id)
    assert row.status == "executing"
    assert started == (claim.id, row.started_at, row.deadline)
    assert row.reserved_at is not None
    assert float(started.started_at) - float(row.reserved_at) == pytest.approx(10)
    assert float(started.deadline) == pytest.approx(float(started.started_at) + 90, abs=1e-5)


async def test_a_start_repeated_after_a_lost_answer_changes_nothing(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one(start=False)
    first = await world.start(claim)
    await world.pass_time(10)
    row = await world.row(claim.id)
    again = await world.start(claim)
    assert row == await world.row(claim.id)
    assert again == [(claim.id, row.started_at, row.deadline)]
    assert [one.id for one in first] == [claim.id]


async def test_many_are_started_in_one_call_and_the_lost_are_left_out(world: WithVerbs) -> None:
    await world.put(*(job() for _ in range(4)))
    claims = await world.claim(start=False)
    await world.release(claims[1])
    started = await world.start(*claims, ClaimedJob(token(), token()))
    assert {one.id for one in started} == {claim.id for claim in claims} - {claims[1].id}
    assert await world.status(claims[1].id) == "pending"


# Heartbeats


async def test_a_heartbeat_is_recorded_and_renews_the_lease(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    for _ in range(5):
        await world.pass_time(50)
        assert await world.heartbeat(claim) == {claim.id}
        assert await world.sweep() == []
    row = await world.row(claim.id)
    assert row.status == "executing"
    assert row.latest_heartbeat_at is not None
    assert row.started_at is not None
    assert float(row.latest_heartbeat_at) - float(row.started_at) == 250


async def test_a_heartbeat_that_was_sent_before_another_makes_no_lease_shorter(dsn: str) -> None:
    """Its transaction may begin long before it comes to write, where a link stalls in between."""
    async with connected(dsn, stands_still=False) as database:
        await database.put(job())
        claim = await database.claim_one()
        read = "select lease_expires_at from m25.job"
        async with (
            pg.Pool(dsn, kwargs={"autocommit": True}) as stalled,
            stalled.connection() as connection,
            connection.transaction(),
        ):
            await connection.execute("select now()")
            assert await database.heartbeat(claim) == {claim.id}
            ((before,),) = await database.execute(read)
            statement = next(Calls("m25").heartbeat([claim], LEASE, RESERVED_TIMEOUT))
            await connection.execute(load_statements("m25")["heartbeat"], statement.parameters)
        ((after,),) = await database.execute(read)
        assert after > before


async def test_a_heartbeat_says_which_jobs_are_still_held(world: WithVerbs) -> None:
    await world.put(*(job() for _ in range(5)))
    held, settled, released, taken, reserved = await world.claim(start=False)
    await world.start(held, settled, released, taken)
    await world.settle(success(settled))
    await world.release(released, taken)
    await world.claim(limit=2)
    unknown = ClaimedJob(token(), token())
    assert await world.heartbeat(held, settled, released, taken, reserved, unknown) == {
        held.id,
        reserved.id,
    }


async def test_heartbeats_do_not_keep_a_job_reserved_for_ever(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one(start=False)
    elapsed = 0.0
    while elapsed + 40 < RESERVED_TIMEOUT.total_seconds():
        await world.pass_time(40)
        elapsed += 40
        assert await world.heartbeat(claim) == {claim.id}
        assert await world.sweep() == []
    await world.pass_time(50)
    (swept,) = await world.sweep()
    assert (swept.id, swept.failure_reason) == (claim.id, None)
    assert await world.status(claim.id) == "pending"


# When to look again


async def test_a_survey_says_when_each_queue_has_work(world: WithVerbs) -> None:
    now = await world.now()
    await world.put(job("due"), job("due", scheduled_at=now + timedelta(hours=1)))
    await world.put(job("overdue", scheduled_at=now - timedelta(hours=1), priority=5))
    await world.put(
        job("soon", scheduled_at=now + timedelta(minutes=10), priority=-1),
        job("soon", scheduled_at=now + timedelta(minutes=5), priority=2),
    )
    await world.put(job("someday", scheduled_at=now + timedelta(days=900)))
    await world.put(job("running"))
    await world.claim("running")
    await world.put(job("unasked"))
    due = await world.store.survey(["due", "overdue", "soon", "someday", "running", "empty"])
    assert not any(each.misdated for each in due.values())
    due_in = {name: each.seconds for name, each in due.items()}
    assert set(due_in) == {"due", "overdue", "soon", "someday"}
    assert due_in["due"] == due_in["overdue"] == 0
    assert due_in["soon"] == pytest.approx(300, abs=60)
    assert due_in["someday"] == 86_400
    assert await world.store.survey([]) == {}


async def test_after_the_clock_was_set_back_what_nobody_scheduled_is_dated_anew(
    world: WithVerbs,
) -> None:
    later = await world.now() + timedelta(hours=2)
    (failed,) = await world.put(job(max_attempts=2, retry_delay=timedelta(minutes=10)))
    await world.settle(failure(await world.claim_one()))
    put = await world.put(job(), job(priority=3), job(), job("other"))
    (scheduled,) = await world.put(job(scheduled_at=later))
    await world.pass_time(-3_600)
    assert (await world.store.survey(["q"]))["q"].misdated
    assert await world.claim() == []
    async with world.locked(put[2]):
        assert await world.store.redate(["q"], 2) == ["q", "q"]
        assert await world.store.redate(["q"], 2) == ["q"]
        assert await world.store.redate(["q"], 2) == []
        # What is locked is told of until it is mended.
        assert (await world.store.survey(["q"]))["q"].misdated
        assert [claim.id for claim in await world.claim()] == [put[0], put[1]]
    assert await world.store.redate(["q"], 2) == ["q"]
    assert [claim.id for claim in await world.claim()] == [put[2]]
    retry = await world.successor(failed)
    assert retry is not None
    assert retry.scheduled_at is not None
    assert float(retry.scheduled_at) - float(retry.created_at) == pytest.approx(600, abs=0.001)
    due = await world.store.survey(["q", "other"])
    assert due["q"].seconds == pytest.approx(600, abs=60)
    assert not due["q"].misdated
    assert due["other"].misdated
    assert (await world.row(scheduled)).status == "pending"


# The columns


async def test_statements_that_return_rows_name_their_columns_as_the_row_does(
    database: PostgresWorld,
) -> None:
    statements = database.store._sql
    (id,) = await database.put(job())
    async with database.pool.connection() as connection:
        for name, parameters in (
            ("get", {"id": [id]}),
            (
                "cancel",
                {
                    "id": id,
                    "queue_name": "q",
                    "by": None,
                    "reason": None,
                    "with_children": False,
                    "lock_wait": None,
                    "notifies": True,
                },
            ),
        ):
            cursor = await connection.execute(statements[name], parameters)
            assert cursor.description is not None
            names = tuple(column.name for column in cursor.description)
            # What is notified comes last.
            assert names[: len(JobRow._fields)] == JobRow._fields, name
            assert names[len(JobRow._fields) :] in ((), ("notified",)), name
