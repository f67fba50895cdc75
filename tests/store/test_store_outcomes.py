"""How attempts end, what follows them, and who may no longer say so, on both stores."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from _world import LEASE, PostgresWorld, WithVerbs, failure, job, make_id, success, token
from psycopg.conninfo import make_conninfo

from m25 import pg
from m25._store.failures import RowRefused
from m25._store.protocol import ClaimedJob, JobRow, Outcome, WriteResult

# Outcomes


async def test_a_success_keeps_its_output_and_ends_the_chain(world: WithVerbs) -> None:
    await world.put(job(max_attempts=5))
    claim = await world.claim_one()
    assert await world.settle(success(claim, '{"pages": 2}')) is WriteResult.SETTLED
    row = await world.row(claim.id)
    assert row.status == "succeeded"
    assert row.output is not None
    assert json.loads(row.output) == {"pages": 2}
    assert row.finished_at is not None
    assert (row.failure_reason, row.error_data, row.crash_type) == (None, None, None)
    assert await world.count() == 1


async def test_an_output_of_none_is_an_output(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    await world.settle(success(claim, "null"))
    assert (await world.row(claim.id)).output == "null"


async def test_a_declared_error_is_kept_as_data(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    assert (
        await world.settle(failure(claim, "error", error_data='{"type": "No"}'))
        is WriteResult.SETTLED
    )
    row = await world.row(claim.id)
    assert (row.status, row.failure_reason) == ("failed", "error")
    assert row.error_data is not None
    assert json.loads(row.error_data) == {"type": "No"}
    assert row.output is None


async def test_a_crash_is_kept_with_type_message_and_traceback(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    await world.settle(failure(claim))
    row = await world.row(claim.id)
    assert (row.status, row.failure_reason) == ("failed", "crash")
    assert (row.crash_type, row.crash_message) == ("ValueError", "no")
    assert row.crash_traceback == "Traceback …"


async def test_many_outcomes_are_written_in_one_call(world: WithVerbs) -> None:
    await world.put(*(job(max_attempts=2) for _ in range(4)))
    a, b, c, d = await world.claim()
    await world.release(d)
    unknown = ClaimedJob(token(), token())
    outcomes = [success(a), failure(b), success(c), success(d), failure(unknown)]
    assert await world.store.settle(outcomes, 3) == {
        a.id: WriteResult.SETTLED,
        b.id: WriteResult.RETRIED,
        c.id: WriteResult.SETTLED,
        d.id: WriteResult.FENCED,
        unknown.id: WriteResult.FENCED,
    }
    statuses = [row.status for row in await world.rows([a.id, b.id, c.id, d.id])]
    assert statuses == ["succeeded", "failed", "succeeded", "pending"]


async def test_an_outcome_that_cannot_be_stored_takes_its_whole_batch_with_it(
    world: WithVerbs,
) -> None:
    await world.put(job(), job(max_attempts=2))
    a, b = await world.claim()
    with pytest.raises(RowRefused):
        await world.store.settle([success(a), success(b, '"\\u0000"')], 3)
    with pytest.raises(RowRefused):
        await world.store.settle([success(a), failure(b, "error", error_data="NaN")], 3)
    assert {row.status for row in await world.rows([a.id, b.id])} == {"executing"}
    assert await world.count() == 2


# Retries


async def test_the_next_attempt_is_like_the_one_before(world: WithVerbs) -> None:
    first = job(
        "letters",
        input='{"to": "ada"}',
        timeout=timedelta(seconds=77),
        max_attempts=3,
        retry_delay=timedelta(minutes=1),
        unique_key="k",
        priority=4,
        meta='{"by": "tests"}',
    )
    await world.put(first)
    (claim,) = await world.claim("letters")
    second = make_id()
    assert await world.settle(failure(claim, next_attempt_id=second)) is WriteResult.RETRIED
    before, after = await world.rows([first.id, second])
    assert before.finished_at is not None
    assert after.scheduled_at is not None
    assert float(after.scheduled_at) - float(before.finished_at) == pytest.approx(60, abs=1e-5)
    assert after.created_at == before.finished_at
    assert after == before._replace(
        id=second,
        attempt=2,
        status="pending",
        original_attempt_id=first.id,
        previous_attempt_id=first.id,
        created_at=after.created_at,
        scheduled_at=after.scheduled_at,
        reserved_at=None,
        started_at=None,
        finished_at=None,
        deadline=None,
        failure_reason=None,
        crash_type=None,
        crash_message=None,
        crash_traceback=None,
    )


async def test_there_are_as_many_attempts_as_asked_for_in_one_chain(world: WithVerbs) -> None:
    (first,) = await world.put(job(max_attempts=4))
    chain = [first]
    for attempt in range(1, 5):
        claim = await world.claim_one()
        assert claim.id == chain[-1]
        following = make_id()
        result = await world.settle(failure(claim, "job_timeout", next_attempt_id=following))
        if attempt < 4:
            assert result is WriteResult.RETRIED
            chain.append(following)
        else:
            assert result is WriteResult.SETTLED
    rows = await world.rows(chain)
    assert [row.attempt for row in rows] == [1, 2, 3, 4]
    assert [row.status for row in rows] == ["failed"] * 4
    assert [row.previous_attempt_id for row in rows] == [None, *chain[:3]]
    assert [row.original_attempt_id for row in rows] == [None, first, first, first]
    assert await world.claim() == []
    assert await world.count() == 4


async def test_nothing_is_tried_again_before_its_delay_has_passed(world: WithVerbs) -> None:
    await world.put(job(max_attempts=2, retry_delay=timedelta(minutes=10)))
    await world.settle(failure(await world.claim_one()))
    assert await world.claim() == []
    await world.pass_time(590)
    assert await world.claim() == []
    await world.pass_time(20)
    assert len(await world.claim()) == 1


async def test_a_settle_repeated_after_a_lost_answer_inserts_no_second_attempt(
    world: WithVerbs,
) -> None:
    await world.put(job(max_attempts=3))
    outcome = failure(await world.claim_one())
    assert await world.settle(outcome) is WriteResult.RETRIED
    row = await world.row(outcome.id)
    await world.pass_time(1)
    before = await world.row(outcome.id)
    assert await world.settle(outcome) is WriteResult.REPEATED
    assert await world.row(outcome.id) == before
    assert row.status == before.status == "failed"
    assert await world.count() == 2


async def test_the_first_outcome_of_an_attempt_stands(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    await world.settle(success(claim, "1"))
    assert await world.settle(failure(claim)) is WriteResult.REPEATED
    row = await world.row(claim.id)
    assert (row.status, row.output, row.crash_type) == ("succeeded", "1", None)
    assert await world.count() == 1


async def test_an_attempt_lost_with_its_process_is_followed_by_another_and_not_counted(
    world: WithVerbs,
) -> None:
    (first,) = await world.put(job(max_attempts=2))
    results = []
    for reason in ("heartbeat_timeout", "crash", "heartbeat_timeout", "crash"):
        claim = await world.claim_one()
        results.append(await world.settle(failure(claim, reason), allowed_losses=2))
    assert results == [
        WriteResult.RETRIED,
        WriteResult.RETRIED,
        WriteResult.RETRIED,
        WriteResult.SETTLED,
    ]
    chain = [await world.row(first)]
    while following := await world.successor(chain[-1].id):
        chain.append(following)
    assert [row.attempt for row in chain] == [1, 2, 3, 4]
    assert [row.losses for row in chain] == [1, 1, 2, 2]


async def test_a_chain_ends_once_it_has_lost_more_processes_than_it_may(world: WithVerbs) -> None:
    await world.put(job(max_attempts=100))
    for _ in range(3):
        lost = failure(await world.claim_one(), "heartbeat_timeout")
        assert await world.settle(lost, allowed_losses=3) is WriteResult.RETRIED
    lost = failure(await world.claim_one(), "heartbeat_timeout")
    assert await world.settle(lost, allowed_losses=3) is WriteResult.SETTLED
    assert await world.claim() == []


async def test_a_job_of_one_attempt_and_no_allowed_losses_starts_once(world: WithVerbs) -> None:
    await world.put(job())
    lost = failure(await world.claim_one(), "heartbeat_timeout")
    assert await world.settle(lost, allowed_losses=0) is WriteResult.SETTLED
    assert await world.claim() == []


# Handing back


async def test_a_job_that_is_handed_back_is_as_if_never_claimed(world: WithVerbs) -> None:
    ids = await world.put(job(), job())
    before = await world.rows(ids)
    claims = await world.claim(start=False)
    await world.start(claims[0])
    await world.heartbeat(*claims)
    assert await world.release(*claims) == set(ids)
    assert await world.rows(ids) == before
    assert [claim.id for claim in await world.claim()] == ids


async def test_a_release_repeated_after_a_lost_answer_changes_nothing(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    await world.release(claim)
    again = await world.claim_one()
    assert again.id == claim.id
    assert await world.release(claim) == set()
    assert await world.status(claim.id) == "executing"


async def test_what_a_claim_took_whose_answer_was_lost_is_handed_back(world: WithVerbs) -> None:
    ids = await world.put(*(job() for _ in range(6)))
    before = await world.rows(ids)
    await world.put(job("other"))
    lost, lost_too, kept, unused = (token() for _ in range(4))
    for one, limit in ((lost, 2), (lost_too, 1), (kept, 2)):
        await world.store.claim("q", token=one, limit=limit, lease=LEASE, start=one != lost_too)
    await world.store.claim("other", token=lost, limit=1, lease=LEASE, start=True)
    assert sorted(await world.store.release_claims("q", [lost, lost_too, unused])) == ids[:3]
    assert await world.store.release_claims("q", [lost, lost_too, unused]) == []
    rows = await world.rows(ids)
    assert rows[:3] == before[:3]
    assert [row.status for row in rows[3:]] == ["executing", "executing", "pending"]
    assert await world.store.survey(["other"]) == {}


async def test_what_has_ended_is_not_handed_back(world: WithVerbs) -> None:
    await world.put(job(), job())
    a, b = await world.claim()
    await world.settle(success(a))
    await world.settle(failure(b))
    assert await world.store.release_claims("q", [a.token]) == []
    assert await world.release(a, b) == set()


# Fencing: whoever has lost a job changes nothing

Lose = Callable[[WithVerbs, ClaimedJob], Awaitable[None]]


async def handed_back(world: WithVerbs, claim: ClaimedJob) -> None:
    await world.release(claim)


async def handed_back_and_taken(world: WithVerbs, claim: ClaimedJob) -> None:
    await world.release(claim)
    taken = await world.claim_one()
    assert taken.id == claim.id


async def handed_back_and_reserved(world: WithVerbs, claim: ClaimedJob) -> None:
    await world.release(claim)
    await world.claim_one(start=False)


async def handed_back_and_cancelled(world: WithVerbs, claim: ClaimedJob) -> None:
    await world.release(claim)
    assert await world.store.cancel(claim.id, "q")


async def handed_back_and_ended_by_another(world: WithVerbs, claim: ClaimedJob) -> None:
    await world.release(claim)
    await world.settle(success(await world.claim_one(), '"theirs"'))


async def swept(world: WithVerbs, claim: ClaimedJob) -> None:
    await world.pass_time(LEASE.total_seconds() + 1)
    assert [one.id for one in await world.sweep()] == [claim.id]


async def recovered(world: WithVerbs, claim: ClaimedJob) -> None:
    await world.store.release_claims("q", [claim.token])


@pytest.mark.parametrize("start", [True, False], ids=["executing", "reserved"])
@pytest.mark.parametrize(
    "lose",
    [
        handed_back,
        handed_back_and_taken,
        handed_back_and_reserved,
        handed_back_and_cancelled,
        handed_back_and_ended_by_another,
        swept,
        recovered,
    ],
)
async def test_who_has_lost_a_job_can_change_nothing_of_it(
    world: WithVerbs, lose: Lose, start: bool
) -> None:
    await world.put(job(max_attempts=5, unique_key="k"))
    mine = await world.claim_one(start=start)
    await lose(world, mine)
    row, count = await world.row(mine.id), await world.count()

    assert await world.start(mine) == []
    assert await world.heartbeat(mine) == set()
    assert await world.settle(success(mine, '"mine"')) is WriteResult.FENCED
    assert await world.settle(failure(mine)) is WriteResult.FENCED
    assert await world.settle(failure(mine, "heartbeat_timeout")) is WriteResult.FENCED
    assert await world.release(mine) == set()
    assert await world.store.release_claims("q", [mine.token]) == []

    assert await world.row(mine.id) == row
    assert await world.count() == count


async def test_a_job_that_was_not_started_cannot_be_settled(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one(start=False)
    row = await world.row(claim.id)
    assert await world.settle(success(claim)) is WriteResult.FENCED
    assert await world.settle(failure(claim)) is WriteResult.FENCED
    assert await world.row(claim.id) == row


@pytest.mark.parametrize("late_first", [True, False])
async def test_of_two_outcomes_in_one_call_only_the_owners_is_written(
    world: WithVerbs, late_first: bool
) -> None:
    await world.put(job())
    lost = await world.claim_one()
    await world.release(lost)
    mine = await world.claim_one()
    both: list[Outcome] = [success(lost, '"late"'), success(mine, '"mine"')]
    await world.store.settle(both if late_first else both[::-1], 3)
    assert (await world.row(mine.id)).output == '"mine"'


async def test_a_claim_does_not_survive_a_plain_statement_that_gives_the_row_back(
    database: PostgresWorld,
) -> None:
    await database.put(job())
    claim = await database.claim_one()
    await database.execute("update m25.job set reserved_at = null, started_at = null")
    await database.execute("update m25.job set reserved_at = now(), started_at = now()")
    row: JobRow = await database.row(claim.id)
    assert row.status == "executing"
    assert await database.settle(success(claim)) is WriteResult.FENCED
    assert await database.heartbeat(claim) == set()


def _between(earlier: str | None, later: str | None) -> float:
    assert earlier is not None
    assert later is not None
    return float(later) - float(earlier)


@pytest.mark.parametrize("days", [90, 150, 200, 250])
async def test_a_day_has_24_hours_whatever_the_time_zone_of_the_session(
    dsn: str, days: int
) -> None:
    # Of these, wherever in the year today is, one or more cross a change of the clocks.
    berlin = make_conninfo(dsn, options="-c timezone=Europe/Berlin")
    long = timedelta(days=days)
    seconds = pytest.approx(long.total_seconds(), abs=1)
    async with pg.Pool(berlin, kwargs={"autocommit": True}) as pool:
        database = PostgresWorld(pool)
        await database.put(*(job(timeout=long, max_attempts=9, retry_delay=long) for _ in "ab"))
        settled = await database.claim_one(start=True)
        swept = await database.claim_one(start=False)
        await database.start(swept)
        for row in await database.rows([settled.id, swept.id]):
            assert _between(row.started_at, row.deadline) == seconds
        await database.settle(failure(settled))
        await database.pass_time(LEASE.total_seconds() + 1)
        assert len(await database.sweep()) == 1
        row = await database.row(settled.id)
        following = await database.successor(row.id)
        assert following is not None
        assert _between(row.finished_at, following.scheduled_at) == seconds
