"""Changing a job that is pending: when it is run, and how urgent it is; and jobs that expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25._store.memory import MemoryStore
from support.failing import connection_lost
from support.insides import store_of
from support.told import lines, told
from support.waiting import PATIENCE, eventually

FAR = datetime(2999, 1, 1, tzinfo=UTC)


@m25.queue("numbers")
async def numbers(number: int) -> int:
    return number


async def test_a_job_can_be_run_now_that_was_for_later(dsn: str) -> None:
    @m25.queue("rare", poll_interval=600)
    async def rare(number: int) -> int:
        return number

    async with m25.open(dsn) as worker, m25.open(dsn) as m:
        worker.add_queue(rare)
        await worker.start()
        record = await m.enqueue(rare, m25.Job(1, scheduled_at=FAR))
        changed = await m.change_job(rare, record.id, scheduled_at=None)
        assert (changed.id, changed.scheduled_at) == (record.id, None)
        # Sooner than the next poll.
        with trio.fail_after(PATIENCE):
            assert await m.result(rare, record.id) == 1


async def test_a_job_can_be_put_off(dsn: str) -> None:
    async with m25.open(dsn) as m:
        first = await m.enqueue(numbers, 1)
        second = await m.enqueue(numbers, 2)
        assert (await m.change_job(numbers, str(first.id), scheduled_at=FAR)).scheduled_at == FAR
        m.add_queue(numbers)
        await m.start()
        with trio.fail_after(60):
            assert await m.result(numbers, second.id) == 2
        assert (await m.current(numbers, first.id)).status is m25.JobStatus.PENDING


async def test_a_job_can_be_made_more_urgent_and_stays_when_it_was() -> None:
    order: list[int] = []

    @m25.queue("ordered", max_concurrency=1)
    async def ordered(number: int) -> None:
        order.append(number)

    soon = datetime(2000, 1, 1, tzinfo=UTC)
    async with m25.testing.open() as m:
        records = [await m.enqueue(ordered, m25.Job(n, scheduled_at=soon)) for n in range(3)]
        changed = await m.change_job(ordered, records[2].id, priority=-1)
        assert (changed.priority, changed.scheduled_at) == (-1, soon)
        m.add_queue(ordered)
        await m.start()
        await m25.testing.drain(m)
    assert order == [2, 0, 1]


async def test_only_a_pending_job_can_be_changed(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(numbers)
        await m.start()
        record = await m.enqueue(numbers, 1)
        await m.wait(numbers, record.id)
        with pytest.raises(
            m25.InvalidState, match="is succeeded; only a pending job can be changed"
        ):
            await m.change_job(numbers, record.id, priority=3)


async def test_a_change_that_is_none_or_wrong_is_refused() -> None:
    wrong: list[dict[str, Any]] = [
        {},
        {"priority": 100_000},
        {"priority": None},
        {"scheduled_at": "tomorrow"},
        {"scheduled_at": datetime(2030, 1, 1)},  # noqa: DTZ001
    ]
    async with m25.testing.open() as m:
        record = await m.enqueue(numbers, 1)
        for each in wrong:
            with pytest.raises(m25.errors.InvalidJob):
                await m.change_job(numbers, record.id, **each)
        assert await m.current(numbers, record.id) == record


async def test_a_job_of_another_queue_is_not_changed(dsn: str) -> None:
    @m25.queue("others")
    async def others(number: int) -> None: ...

    async with m25.open(dsn) as m:
        record = await m.enqueue(others, 1)
        with pytest.raises(m25.NoJobRecordFound):
            await m.change_job(numbers, record.id, priority=1)


async def test_a_change_can_be_part_of_a_transaction(dsn: str) -> None:
    async with m25.open(dsn) as m, await m25.pg.AsyncConnection.connect(dsn) as connection:
        record = await m.enqueue(numbers, 1)
        await m.change_job(numbers, record.id, priority=5, connection=connection)
        assert (await m.get_job(numbers, record.id)).priority == 0
        await connection.commit()
        assert (await m.get_job(numbers, record.id)).priority == 5


# Expiry


async def test_a_job_that_has_expired_is_not_started(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with m25.open(dsn) as m:
        past = datetime.now(UTC) - timedelta(hours=1)
        late = await m.enqueue(numbers, m25.Job(1, expires_at=past))
        in_time = await m.enqueue(numbers, m25.Job(2, expires_at=FAR))
        assert (late.expires_at, in_time.expires_at) == (past, FAR)
        m.add_queue(numbers)
        await m.start()
        with trio.fail_after(60):
            assert await m.result(numbers, in_time.id) == 2
            with pytest.raises(m25.JobCancelled) as raised:
                await m.result(numbers, late.id)
    assert raised.value.record.cancel_reason == "expired before it was started"
    (line,) = lines(caplog, "JobExpired")
    assert line.m25_job_id == str(late.id)


async def test_an_expired_job_of_a_queue_with_setup_is_not_set_up() -> None:
    def setup() -> Any:
        pytest.fail("it is not to be started")

    @m25.queue("set up", setup=setup)
    async def set_up(_: None, resource: Any) -> None: ...

    async with m25.testing.open() as m:
        m.add_queue(set_up)
        await m.start()
        with pytest.raises(m25.JobCancelled):
            await m.call(set_up, m25.Job(None, expires_at=datetime(2000, 1, 1, tzinfo=UTC)))


async def test_a_retry_expires_as_its_job_does(
    autojump_clock: trio.testing.MockClock,
) -> None:
    runs: list[int] = []

    @m25.queue("again")
    async def again(_: None) -> None:
        runs.append(1)
        raise ValueError

    store = MemoryStore()
    async with m25.testing.open(store) as m:
        m.add_queue(again)
        await m.start()
        soon = store.now() + timedelta(minutes=1)
        job = m25.Job(None, max_attempts=5, retry_delay=40, expires_at=soon)
        with pytest.raises(m25.JobCancelled) as raised:
            await m.call(again, job)
    assert raised.value.record.attempt == 3
    assert len(runs) == 2


async def test_an_expired_job_is_found_again_where_the_answer_of_its_claim_was_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryStore()
    async with m25.testing.open(store) as m:
        m.add_queue(numbers)
        await m.start()
        claim = store_of(m).claim
        lost: list[int] = []

        async def answer_lost(*arguments: Any, **options: Any) -> Any:
            rows = await claim(*arguments, **options)
            if rows and not lost:
                lost.append(len(rows))
                raise connection_lost()
            return rows

        store.claim = answer_lost  # type: ignore[method-assign]
        past = datetime(1999, 1, 1, tzinfo=UTC)
        records = [await m.enqueue(numbers, m25.Job(n, expires_at=past)) for n in range(2)]
        records.append(await m.enqueue(numbers, 3))

        async def all_ended() -> bool:
            found = [await m.current(numbers, record.id) for record in records]
            return [each.status.value for each in found] == ["cancelled", "cancelled", "succeeded"]

        await eventually(all_ended)
    assert lost
    assert "JobExpired" not in told(caplog, records[2].id)
