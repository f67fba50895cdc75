"""What a store does for who waits for a job, cancels it while it runs, or puts it off."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Generator
from datetime import timedelta
from typing import TypeVar

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
    success,
)

from m25._store.protocol import (
    CancelAsked,
    CancelRequest,
    ClaimedJob,
    DeclaredQueue,
    Release,
    Worker,
    WriteResult,
    Written,
)
from support.hearing import hearing
from support.notifications import full_queue, server_with_few_notifications
from support.waiting import PATIENCE

T = TypeVar("T")

ME = "m25_waiter_one"
ANOTHER = "m25_waiter_two"


async def _next(iterator: AsyncIterator[T]) -> T:
    with trio.fail_after(PATIENCE):
        return await anext(iterator)


async def _announce(world: WithVerbs, *queues: DeclaredQueue) -> None:
    await world.store.announce(Worker(make_id(), "test", queues))


# Cancelling what is claimed


async def test_a_request_is_told_with_the_heartbeat_and_in_its_own_words(world: WithVerbs) -> None:
    await world.put(job(), job())
    asked, other = await world.claim()
    row = await world.store.request_cancel(asked.id, "q", by="ada", reason="not needed")
    assert row is not None
    assert (row.status, row.cancelled_by, row.cancel_reason) == ("executing", "ada", "not needed")
    answer = await world.store.heartbeat([asked, other], LEASE, RESERVED_TIMEOUT)
    assert answer == Written({asked.id, other.id}, set(), {asked.id})
    found = await world.store.find_cancel_requests([asked, other])
    assert found == [CancelRequest(asked.id, "ada", "not needed")]


async def test_of_several_requests_the_first_counts(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    first = await world.store.request_cancel(claim.id, "q", by="ada")
    again = await world.store.request_cancel(claim.id, "q", by="bob", reason="late")
    assert again == first


async def test_only_a_live_job_of_that_queue_is_asked_to_be_cancelled(world: WithVerbs) -> None:
    (pending,) = await world.put(job())
    assert await world.store.request_cancel(pending, "q") is None
    claim = await world.claim_one()
    assert await world.store.request_cancel(claim.id, "another") is None
    await world.settle(success(claim))
    assert await world.store.request_cancel(claim.id, "q") is None
    await world.put(job())
    original = await world.claim_one()
    await world.disown(original.id)
    assert await world.store.request_cancel(original.id, "q") is None


async def test_the_workers_of_the_queue_are_told_of_a_request(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    async with hearing(world.store.listen, ["q"]) as told:
        assert await _next(told) is None
        await world.store.request_cancel(claim.id, "q")
        assert await _next(told) == CancelAsked("q", claim.id)


async def test_what_is_to_be_cancelled_is_cancelled_when_it_is_released(world: WithVerbs) -> None:
    await world.put(job(), job())
    asked, other = await world.claim()
    await world.store.request_cancel(asked.id, "q", by="ada", reason="no")
    answer = await world.store.release([Release(*asked), Release(*other)], [])
    assert answer == Written({asked.id, other.id}, set(), {asked.id})
    row = await world.row(asked.id)
    assert (row.status, row.cancelled_by, row.cancel_reason) == ("cancelled", "ada", "no")
    assert await world.status(other.id) == "pending"


async def test_and_when_its_claim_is_released_whose_answer_was_lost(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    await world.store.request_cancel(claim.id, "q")
    assert await world.store.release_claims("q", [claim.token]) == [claim.id]
    assert await world.status(claim.id) == "cancelled"


async def test_a_lost_job_that_is_to_be_cancelled_is_cancelled_by_the_sweep(
    world: WithVerbs,
) -> None:
    for start in (True, False):
        await world.put(job(max_attempts=3))
        claim = await world.claim_one(start=start)
        await world.store.request_cancel(claim.id, "q")
        await world.pass_time(LEASE.total_seconds() + 1)
        (swept,) = await world.sweep()
        assert (swept.id, swept.is_cancelled, swept.has_next_attempt) == (claim.id, True, False)
        assert await world.status(claim.id) == "cancelled"
        assert await world.successor(claim.id) is None


async def test_what_is_to_be_cancelled_and_fails_has_no_next_attempt(world: WithVerbs) -> None:
    await world.put(job(max_attempts=3), job(max_attempts=3))
    raised, returned = await world.claim()
    for claim in (raised, returned):
        await world.store.request_cancel(claim.id, "q")
    assert await world.settle(failure(raised)) is WriteResult.SETTLED
    assert await world.settle(success(returned)) is WriteResult.SETTLED
    assert await world.status(raised.id) == "failed"
    assert await world.status(returned.id) == "succeeded"
    assert await world.successor(raised.id) is None


# Releases that say more


async def test_a_release_can_put_a_job_off_and_count_a_failed_setup(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one(start=False)
    now = (await world.now()).timestamp()
    await world.store.release([Release(*claim, delay="90", setup_failed=True)], [])
    row = await world.row(claim.id)
    assert row.status == "pending"
    assert row.setup_failures == 1
    assert abs(float(row.scheduled_at or 0) - now - 90) < 5
    assert await world.claim() == []
    await world.pass_time(91)
    again = await world.claim_one(start=False)
    assert again.id == claim.id
    await world.store.release([Release(*again, setup_failed=True)], [])
    assert (await world.row(claim.id)).setup_failures == 2


async def test_sessions_that_are_lost_in_a_row_are_counted(world: WithVerbs) -> None:
    (id,) = await world.put(job(max_attempts=2))
    for count in (1, 2):
        claim = await world.claim_one()
        assert (await world.row(id)).session_losses == (count - 1 or None)
        await world.store.release([Release(*claim, session_lost=True)], [])
        assert (await world.row(id)).session_losses == count
    await world.release(await world.claim_one())
    assert (await world.row(id)).session_losses is None
    await world.store.release([Release(*await world.claim_one(), session_lost=True)], [])
    await world.settle(failure(await world.claim_one()))
    # The next attempt has lost none.
    following = await world.successor(id)
    assert following is not None
    assert following.session_losses is None


async def test_what_has_begun_does_not_expire_once_it_is_released(world: WithVerbs) -> None:
    """A stop or a `Snooze` puts it off: it was started in time."""
    soon = await world.now() + timedelta(minutes=1)
    await world.put(job()._replace(expires_at=soon), job()._replace(expires_at=soon))
    begun, reserved = await world.claim_one(), await world.claim_one(start=False)
    assert await world.release(begun, reserved) == {begun.id, reserved.id}
    assert (await world.row(begun.id)).expires_at is None
    assert (await world.row(reserved.id)).expires_at is not None


async def test_what_was_claimed_ahead_and_has_not_begun_expires_as_ever(world: WithVerbs) -> None:
    soon = await world.now() + timedelta(minutes=1)
    await world.put(job()._replace(expires_at=soon))
    claim = await world.claim_one()
    await world.store.release([Release(*claim, claimed_ahead=True)], [])
    row = await world.row(claim.id)
    assert (row.status, row.started_at) == ("pending", None)
    assert float(row.expires_at or 0) == pytest.approx(soon.timestamp(), abs=0.001)


async def test_what_was_claimed_ahead_keeps_what_it_had_before(world: WithVerbs) -> None:
    """Its place among those that are left to newer workers, and the sessions that it has lost."""
    left, lost = await world.put(job(), job())
    left_claim, lost_claim = await world.claim_one(), await world.claim_one()
    assert (left_claim.id, lost_claim.id) == (left, lost)
    before = Release(*left_claim, is_newer=True), Release(*lost_claim, session_lost=True)
    await world.store.release(before, [])
    await world.pass_time(60)
    since = (await world.row(left)).unknown_since
    assert since is not None
    again = [await world.claim_one(), await world.claim_one()]
    assert {claim.id for claim in again} == {left, lost}
    await world.store.release([Release(*claim, claimed_ahead=True) for claim in again], [])
    assert (await world.row(left)).unknown_since == since
    assert (await world.row(lost)).session_losses == 1


async def test_a_release_can_end_a_job_as_cancelled_and_says_why(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one(start=False)
    answer = await world.store.release([Release(*claim, cancel_reason="expired")], [])
    assert answer.to_cancel == {claim.id}
    row = await world.row(claim.id)
    assert (row.status, row.cancelled_by, row.cancel_reason) == ("cancelled", None, "expired")


async def test_what_is_left_to_newer_workers_comes_back_with_all_others_of_its_kind(
    world: WithVerbs,
) -> None:
    soon = await world.now() + timedelta(minutes=1)
    await world.put(job()._replace(expires_at=soon), job())
    claims = await world.claim()
    before = (await world.now()).timestamp()
    await world.store.release([Release(*claim, is_newer=True) for claim in claims], [])
    now = (await world.now()).timestamp()
    first, second = [await world.row(claim.id) for claim in claims]
    due = float(first.scheduled_at or 0)
    assert before < due <= now + 5
    assert due % 5 == 0
    assert second.scheduled_at == first.scheduled_at
    # The handler has not begun.
    assert first.expires_at is not None
    assert before - 0.001 <= float(first.unknown_since or 0) <= now + 0.001


async def test_what_is_left_to_newer_workers_stands_in_a_line_of_which_a_hundred_are_due_together(
    world: WithVerbs,
) -> None:
    ids = await world.put(*(job() for _ in range(230)))
    for number in (50, 120, 60):
        claims = await world.claim(limit=number)
        await world.store.release([Release(*claim, is_newer=True) for claim in claims], [])
    dues = sorted([float(row.scheduled_at or 0) for row in await world.rows(ids)])
    places = Counter(dues)
    # They may have been released before such a moment, and after it.
    assert list(places.values()) in ([100, 100, 30], *([n, 100, 100, 30 - n] for n in range(30)))


async def test_jobs_that_were_left_to_newer_workers_are_recalled_from_the_beginning_of_their_line(
    world: WithVerbs,
) -> None:
    ids = await world.put(*(job() for _ in range(150)))
    claims = await world.claim(limit=150)
    await world.store.release([Release(*claim, is_newer=True) for claim in claims], [])
    assert await world.claim() == []
    assert await world.store.recall_newer("another", 500) == 0
    first = max(float(row.scheduled_at or 0) for row in await world.rows(ids))
    assert await world.store.recall_newer("q", 60) == 60
    recalled = await world.claim(limit=500)
    assert len(recalled) == 60
    left = [row.scheduled_at for row in await world.rows(ids) if row.status == "pending"]
    assert len(left) == 90
    assert max(float(at or 0) for at in left) == first
    assert await world.store.recall_newer("q", 500) == 90
    assert await world.store.recall_newer("q", 500) == 0
    assert len(await world.claim(limit=500)) == 90


async def test_nothing_stands_in_line_for_longer_than_newer_workers_are_waited_for(
    world: WithVerbs,
) -> None:
    (id,) = await world.put(job())
    claim = await world.claim_one()
    await world.store.release([Release(*claim, is_newer=True)], [])
    # Not less: the line looks at its jobs every five seconds, and that may be just before.
    await world.pass_time(15 * 60)
    since = float((await world.row(id)).unknown_since or 0)
    again = await world.claim_one()
    await world.store.release([Release(*again, is_newer=True)], [])
    assert float((await world.row(id)).scheduled_at or 0) == pytest.approx(
        since + 15 * 60, abs=1e-3
    )


async def test_how_long_newer_workers_are_waited_for_is_counted_from_the_first_time(
    world: WithVerbs,
) -> None:
    (id,) = await world.put(job())
    claim = await world.claim_one()
    await world.store.release([Release(*claim, is_newer=True)], [])
    await world.pass_time(6)
    first = (await world.row(id)).unknown_since
    assert float(first or 0) == pytest.approx((await world.now()).timestamp() - 6, abs=3)
    (row,) = await world.store.claim("q", token=claim.token, limit=1, lease=LEASE, start=True)
    assert row.unknown_since == first
    await world.store.release([Release(*claim, is_newer=True)], [])
    assert (await world.row(id)).unknown_since == first
    await world.pass_time(6)
    again = await world.claim_one()
    await world.release(again)
    assert (await world.row(id)).unknown_since is None


# Retries that the worker decides


async def test_the_last_attempt_is_the_one_that_is_given_no_next(world: WithVerbs) -> None:
    await world.put(job(max_attempts=3))
    claim = await world.claim_one()
    outcome = failure(claim)._replace(next_attempt_id=None)
    assert await world.settle(outcome) is WriteResult.SETTLED
    assert await world.successor(claim.id) is None


async def test_an_outcome_can_say_when_the_next_attempt_may_run(world: WithVerbs) -> None:
    await world.put(job(max_attempts=3, retry_delay=timedelta(hours=9)))
    claim = await world.claim_one()
    now = (await world.now()).timestamp()
    await world.settle(failure(claim)._replace(retry_after="30"))
    following = await world.successor(claim.id)
    assert following is not None
    assert abs(float(following.scheduled_at or 0) - now - 30) < 5


# Reports


async def test_what_was_reported_is_there_and_is_handed_on_to_the_next_attempt(
    world: WithVerbs,
) -> None:
    await world.put(job(max_attempts=2), job())
    claim, other = await world.claim()
    answer = await world.store.report([claim, other], ['{"done": 1}', '{"done": 2}'])
    assert answer == Written({claim.id, other.id}, set())
    assert json.loads((await world.row(other.id)).progress or "") == {"done": 2}
    await world.settle(failure(claim))
    following = await world.successor(claim.id)
    assert following is not None
    assert json.loads(following.progress or "") == {"done": 1}


# Chains


async def test_a_chain_is_found_by_any_of_its_attempts(world: WithVerbs) -> None:
    await world.put(job(max_attempts=3))
    ids: list[str] = []
    for _ in range(3):
        claim = await world.claim_one()
        ids.append(claim.id)
        await world.settle(failure(claim))
    for id in ids:
        assert [row.id for row in await world.store.attempts(id)] == ids
    assert {id: row.id for id, row in (await world.store.latest([*ids, make_id()])).items()} == (
        dict.fromkeys(ids, ids[-1])
    )
    assert await world.store.attempts(make_id()) == []


# Waiting for the end of a chain


async def test_the_end_of_a_chain_is_told_to_whoever_watches_it(world: WithVerbs) -> None:
    (id,) = await world.put(job(max_attempts=2))
    first = await world.claim_one()
    async with hearing(world.store.listen_for_ends, ME) as ends:
        assert await _next(ends) is None
        watched = await world.store.watch([id], ME)
        assert (watched[id].row.id, watched[id].is_watched) == (id, True)
        await world.settle(failure(first))
        second = await world.claim_one()
        await world.settle(success(second))
        assert await _next(ends) == id
    again = await world.store.watch([id], ME)
    assert again[id].row.status == "succeeded"


async def test_however_it_ends(world: WithVerbs) -> None:
    ids = await world.put(*(job() for _ in range(5)))
    async with hearing(world.store.listen_for_ends, ME) as ends:
        assert await _next(ends) is None
        await world.store.watch(ids, ME)
        await world.store.cancel(ids[0], "q")
        assert await _next(ends) == ids[0]
        answer_lost = await world.claim_one()
        released, lost, gone = await world.claim()
        await world.store.release([Release(*released, cancel_reason="expired")], [])
        assert await _next(ends) == released.id
        await world.store.request_cancel(answer_lost.id, "q")
        await world.store.release_claims("q", [answer_lost.token])
        assert await _next(ends) == answer_lost.id
        await world.store.request_cancel(gone.id, "q")
        await world.pass_time(LEASE.total_seconds() + 1)
        await world.sweep(allowed_losses=0)
        assert {await _next(ends), await _next(ends)} == {lost.id, gone.id}


async def test_several_processes_may_watch_one_job(world: WithVerbs) -> None:
    (id,) = await world.put(job())
    async with (
        hearing(world.store.listen_for_ends, ME) as mine,
        hearing(world.store.listen_for_ends, ANOTHER) as theirs,
    ):
        assert await _next(mine) is await _next(theirs) is None
        for waiter in (ME, ANOTHER, ME):
            assert (await world.store.watch([id], waiter))[id].is_watched
        await world.store.cancel(id, "q")
        assert await _next(mine) == await _next(theirs) == id


async def test_a_job_can_be_watched_from_its_beginning(world: WithVerbs) -> None:
    async with hearing(world.store.listen_for_ends, ME) as ends:
        assert await _next(ends) is None
        (id,) = await world.put(job()._replace(waiter=ME))
        await world.settle(success(await world.claim_one()))
        assert await _next(ends) == id


async def test_a_locked_row_is_not_waited_for_and_says_that_it_is_not_watched(
    world: WithVerbs,
) -> None:
    locked, other = await world.put(job(), job())
    async with world.locked(locked):
        watched = await world.store.watch([locked, other], ME)
    assert [watched[id].is_watched for id in (locked, other)] == [False, True]


# Being told of failures


ALERTS = DeclaredQueue("alerts", timedelta(seconds=7), 4)
SOURCE = DeclaredQueue("q", timedelta(minutes=5), 1, "alerts")


async def _told(world: WithVerbs) -> list[dict[str, object]]:
    told = await world.claim("alerts")
    rows = await world.rows([claim.id for claim in told])
    for row in rows:
        assert (float(row.timeout), row.max_attempts, row.attempt) == (7, 4, 1)
    return [json.loads(row.input) for row in rows]


async def test_a_queue_is_told_of_each_chain_that_has_failed_and_once(world: WithVerbs) -> None:
    await _announce(world, ALERTS, SOURCE)
    await world.put(job(input='{"to": "ada"}', max_attempts=2))
    first = await world.claim_one()
    async with hearing(world.store.listen, ["alerts"]) as notified:
        assert await _next(notified) is None
        await world.settle(failure(first))
        assert await _told(world) == []
        second = await world.claim_one()
        await world.settle(failure(second))
        assert await _next(notified) == "alerts"
    await world.settle(failure(second))
    assert await _told(world) == [
        {
            "job_id": first.id,
            "queue": "q",
            "attempts": 2,
            "reason": "crash",
            "error": "ValueError: no",
            "input": {"to": "ada"},
        }
    ]


async def test_it_is_told_by_whoever_sweeps_it_too(world: WithVerbs) -> None:
    await _announce(world, SOURCE, ALERTS)
    await world.put(job(), job())
    lost, _succeeded = await world.claim()
    await world.settle(success(_succeeded))
    await world.pass_time(LEASE.total_seconds() + 1)
    await world.sweep(allowed_losses=0)
    (told,) = await _told(world)
    assert (told["job_id"], told["reason"]) == (lost.id, "heartbeat_timeout")


async def test_nobody_is_told_of_what_is_retried_cancelled_or_of_a_queue_that_asks_for_nothing(
    world: WithVerbs,
) -> None:
    await _announce(world, ALERTS, SOURCE, DeclaredQueue("silent", LEASE))
    await world.put(job(), job(max_attempts=2), job("silent"))
    cancelled, retried = await world.claim()
    await world.store.release([Release(*cancelled, cancel_reason="no")], [])
    await world.settle(failure(retried))
    (silent,) = await world.claim("silent")
    await world.settle(failure(silent))
    assert await _told(world) == []


def test_a_release_is_a_claim_that_says_more() -> None:
    claim = ClaimedJob(make_id(), make_id())
    assert Release(*claim) == (*claim, None, False, None, None, None, False, False, False)


# Notifications that the database does not take


@pytest.fixture(scope="module")
def small_server() -> Generator[str]:
    with server_with_few_notifications() as dsn:
        yield dsn


async def test_what_cannot_be_notified_is_written_all_the_same(small_server: str) -> None:
    async with connected(small_server) as database, full_queue(small_server):
        ids = await database.put(*(job()._replace(waiter=ME) for _ in range(6)), job())
        cancelled, *_ = ids
        assert await database.store.cancel(cancelled, "q") is not None
        succeeded, failed, released, lost, lost_too, other = await database.claim()
        results = await database.store.settle(
            [success(succeeded), failure(failed), success(other)], 3
        )
        assert set(results.values()) == {WriteResult.SETTLED}
        await database.store.request_cancel(released.id, "q")
        assert (await database.store.release([Release(*released)], ["q"])).ids == {released.id}
        await database.store.request_cancel(lost_too.id, "q")
        await database.pass_time(LEASE.total_seconds() + 1)
        assert {one.id for one in await database.sweep(allowed_losses=0)} == {lost.id, lost_too.id}
        assert [row.status for row in await database.rows(ids)] == [
            *("cancelled", "succeeded", "failed", "cancelled", "failed", "cancelled", "succeeded")
        ]


@pytest.mark.parametrize("waiter", ["", "x" * 64, "m25_" + "x" * 60, 'm25_"'])
async def test_a_waiter_that_no_channel_can_be_named_after_harms_no_other_job(
    database: PostgresWorld, waiter: str
) -> None:
    async with hearing(database.store.listen_for_ends, ME) as ends:
        assert await _next(ends) is None
        ids = await database.put(*(job()._replace(waiter=each) for each in (waiter, ME, waiter)))
        strange, one, strange_too = await database.claim()
        results = await database.store.settle(
            [success(strange), success(one), failure(strange_too)], 3
        )
        assert set(results.values()) == {WriteResult.SETTLED}
        assert await _next(ends) == one.id
    assert [row.status for row in await database.rows(ids)] == ["succeeded", "succeeded", "failed"]
