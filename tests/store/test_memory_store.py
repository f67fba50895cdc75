"""What only the store in memory has: its clock, faults on the way, and looking inside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import psycopg
import pytest
import trio
import trio.testing
from _world import LEASE, MemoryWorld, failure, job, make_id, success, token

from m25._lifecycle import JobStatus
from m25._store.failures import StatementFailed
from m25._store.memory import MemoryStore
from m25._store.protocol import ClaimedJob, Release, WriteResult
from support.hearing import hearing

EPOCH = datetime(2024, 2, 29, 12, tzinfo=UTC)


async def test_its_clock_begins_at_the_epoch_and_runs_as_trios_does(
    mock_clock: trio.testing.MockClock,
) -> None:
    mock_clock.jump(1234.5)
    store = MemoryStore(epoch=EPOCH)
    assert store.now() == EPOCH
    mock_clock.jump(0.1)
    mock_clock.jump(0.2)
    assert store.now() == EPOCH + timedelta(seconds=0.3)
    store.move_clock(timedelta(hours=-1))
    assert store.now() == EPOCH + timedelta(seconds=0.3, hours=-1)


async def test_a_call_is_dated_by_when_it_is_applied(mock_clock: trio.testing.MockClock) -> None:
    async def slow(call: str, phase: Literal["before", "after"]) -> None:
        mock_clock.jump(1)

    world = MemoryWorld(MemoryStore(epoch=EPOCH, fault=slow))
    world.store.now()
    (id,) = await world.put(job())
    assert float(world.store.rows()[0].created_at) == EPOCH.timestamp() + 1
    await world.claim_one()
    assert (await world.row(id)).reserved_at == f"{EPOCH.timestamp() + 3:.6f}"


async def test_a_job_is_due_at_its_very_moment(mock_clock: trio.testing.MockClock) -> None:
    world = MemoryWorld(MemoryStore(epoch=EPOCH))
    await world.put(job(scheduled_at=world.store.now() + timedelta(seconds=0.7)))
    mock_clock.jump(0.699_999)
    assert await world.claim() == []
    due_in = (await world.store.survey(["q"]))["q"].seconds
    assert due_in == pytest.approx(0.000_001)
    mock_clock.jump(due_in)
    assert len(await world.claim()) == 1


class Fault:
    """Fails once, at one phase of one call."""

    def __init__(self, call: str, phase: str) -> None:
        self.at = (call, phase)
        self.calls: list[tuple[str, str]] = []

    async def __call__(self, call: str, phase: Literal["before", "after"]) -> None:
        self.calls.append((call, phase))
        if (call, phase) == self.at:
            self.at = ("", "")
            raise psycopg.OperationalError("server closed the connection unexpectedly")


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_a_call_that_fails_was_applied_or_was_not_and_can_be_repeated(phase: str) -> None:
    fault = Fault("enqueue", phase)
    world = MemoryWorld(MemoryStore(fault=fault))
    new = job(max_attempts=2)
    with pytest.raises(StatementFailed):
        await world.store.enqueue([new], [])
    assert len(world.store.rows()) == (phase == "after")
    await world.store.enqueue([new], [])

    fault.at = ("claim", phase)
    lost = token()
    with pytest.raises(StatementFailed):
        await world.store.claim("q", token=lost, limit=1, lease=LEASE, start=True)
    assert world.store.rows()[0].status == ("executing" if phase == "after" else "pending")
    assert await world.store.release_claims("q", [lost]) == ([new.id] if phase == "after" else [])

    outcome = failure(await world.claim_one())
    fault.at = ("settle", phase)
    with pytest.raises(StatementFailed):
        await world.settle(outcome)
    repeated = await world.settle(outcome)
    assert repeated is (WriteResult.REPEATED if phase == "after" else WriteResult.RETRIED)
    assert len(world.store.rows()) == 2


async def test_faults_are_told_the_name_of_every_call() -> None:
    fault = Fault("", "")
    store = MemoryStore(fault=fault)
    claim = ClaimedJob(make_id(), token())
    await store.check_version()
    await store.enqueue([], [])
    await store.get([])
    await store.cancel(claim.id, "q")
    await store.claim("q", token=token(), limit=1, lease=LEASE, start=True)
    await store.release_claims("q", [])
    await store.start([claim], LEASE)
    await store.heartbeat([claim], LEASE, LEASE)
    await store.settle([success(claim)], 3)
    await store.release([Release(*claim)], [])
    await store.find_suspects([], 1)
    await store.sweep([], [])
    await store.survey([])
    await store.redate([], 1)
    await store.notify([])
    names = (
        "check_version enqueue get cancel claim release_claims start heartbeat settle release"
        " find_suspects sweep survey redate notify"
    )
    phases = ("before", "after")
    assert fault.calls == [(name, phase) for name in names.split() for phase in phases]


async def test_a_call_that_hangs_can_be_cancelled() -> None:
    async def hang(call: str, phase: Literal["before", "after"]) -> None:
        if (call, phase) == ("cancel", "after"):
            await trio.sleep_forever()

    world = MemoryWorld(MemoryStore(fault=hang))
    (id,) = await world.put(job())
    with trio.move_on_after(0) as scope:
        await world.store.cancel(id, "q")
    assert scope.cancelled_caught
    assert await world.status(id) in ("pending", "cancelled")


async def test_every_call_is_a_checkpoint() -> None:
    store = MemoryStore()
    with trio.testing.assert_checkpoints():
        await store.get([])
    with trio.testing.assert_checkpoints():
        await store.notify([])
    with trio.testing.assert_checkpoints():
        async with store.listen([], lambda _: None):
            pass


async def test_a_move_that_the_table_does_not_have_cannot_be_made() -> None:
    world = MemoryWorld()
    (id,) = await world.put(job())
    row = world.store._table.rows[id]
    with pytest.raises(AssertionError, match=r"claim: .*PENDING.* → .*CANCELLED"):
        world.store._table.write("claim", row, cancelled_at=0)
    assert row.status is JobStatus.CANCELLED


async def test_there_is_work_while_a_job_is_due_or_live(mock_clock: trio.testing.MockClock) -> None:
    world = MemoryWorld(MemoryStore(epoch=EPOCH))
    store = world.store
    assert not store.has_work("q")
    await world.put(job(scheduled_at=store.now() + timedelta(seconds=5)))
    assert not store.has_work("q")
    mock_clock.jump(5)
    assert store.has_work("q")
    assert not store.has_work("other")
    claim = await world.claim_one()
    assert store.has_work("q")
    await world.settle(success(claim))
    assert not store.has_work("q")


async def test_the_clock_skips_to_the_next_job_and_leases_with_it(
    mock_clock: trio.testing.MockClock,
) -> None:
    world = MemoryWorld(MemoryStore(epoch=EPOCH))
    store = world.store
    await world.put(job("live"))
    (claim,) = await world.claim("live")
    assert not store.skip_to_next(["q"])
    await world.put(job(scheduled_at=EPOCH + timedelta(days=9)))
    await world.put(job(scheduled_at=EPOCH + timedelta(days=8), priority=3))
    async with hearing(store.listen, ["q"]) as told:
        assert await anext(told) is None
        assert store.skip_to_next(["q", "live"])
        assert store.now() == EPOCH + timedelta(days=8)
        assert await anext(told) == "q"
    assert len(await world.claim()) == 1
    assert await world.sweep("live") == []
    mock_clock.jump(LEASE.total_seconds() + 1)
    assert [one.id for one in await world.sweep("live")] == [claim.id]


async def test_who_waits_for_a_change_is_woken_by_the_next_call() -> None:
    world = MemoryWorld()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.store.wait_for_change)
        await trio.testing.wait_all_tasks_blocked()
        await world.put(job())


async def test_a_thousand_jobs_for_later_do_not_slow_a_claim() -> None:
    world = MemoryWorld(MemoryStore(epoch=EPOCH))
    tomorrow = EPOCH + timedelta(days=1)
    for priority in range(-10, 10):
        await world.put(*(job(scheduled_at=tomorrow, priority=priority) for _ in range(50)))
    await world.put(job(priority=10))
    assert len(world.store._table.due("q", world.store._clock.now(), 5)) == 1
