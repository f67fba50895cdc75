"""`m25.testing`, as a user's own tests would use it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import FailureReason, JobStatus
from support.waiting import PATIENCE


@attrs.frozen
class Letter:
    to: str
    pages: int = 1


@attrs.frozen
class Receipt:
    sent_at: datetime
    pages: int


@attrs.frozen
class Returned(Exception):
    reason: str


@m25.queue("letters", errors=(Returned,))
async def letters(letter: Letter) -> Receipt:
    await trio.sleep(letter.pages)
    if letter.to == "nobody":
        raise Returned("address unknown")
    return Receipt(datetime(2024, 2, 29, tzinfo=UTC), letter.pages)


# One handler


async def test_a_handler_is_run_on_an_input(autojump_clock: trio.testing.MockClock) -> None:
    job = await m25.testing.run_job(letters, Letter("ada", 2))
    assert job.status is JobStatus.SUCCEEDED
    assert job.input == Letter("ada", 2)
    assert job.output == Receipt(datetime(2024, 2, 29, tzinfo=UTC), 2)
    assert job.started_at is not None
    assert job.finished_at == job.started_at + timedelta(seconds=2)


async def test_a_declared_error_is_found_in_the_record(
    autojump_clock: trio.testing.MockClock,
) -> None:
    job = await m25.testing.run_job(letters, m25.Job(Letter("nobody")).retry(3))
    assert (job.status, job.failure_reason) == (JobStatus.FAILED, FailureReason.ERRORED)
    assert isinstance(job.error_data, Returned)
    assert job.error_data.reason == "address unknown"
    assert (job.attempt, job.max_attempts) == (1, 3)


async def test_a_crash_is_found_in_the_record(caplog: pytest.LogCaptureFixture) -> None:
    @m25.queue("crashes")
    async def crashes(number: int) -> float:
        return 1 / number

    job = await m25.testing.run_job(crashes, 0)
    assert (job.status, job.failure_reason) == (JobStatus.FAILED, FailureReason.CRASH)
    assert job.crash_type == "ZeroDivisionError"
    assert job.crash_traceback is not None
    assert "return 1 / number" in job.crash_traceback


async def test_a_handler_is_cancelled_at_its_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    job = await m25.testing.run_job(letters, m25.Job(Letter("ada", 100)).with_timeout(60))
    assert job.failure_reason is FailureReason.JOB_TIMEOUT
    assert job.started_at is not None
    assert job.finished_at == job.started_at + timedelta(seconds=60) == job.deadline


async def test_an_input_that_json_cannot_hold_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with pytest.raises(m25.ValueRefused, match="to"):
        await m25.testing.run_job(letters, Letter("\0"))


async def test_an_output_that_is_not_of_its_type_is_a_crash() -> None:
    @m25.queue("wrong")
    async def wrong(number: int) -> int:
        return "four"  # type: ignore[return-value]

    job = await m25.testing.run_job(wrong, 4)
    assert job.failure_reason is FailureReason.CRASH


async def test_a_job_for_later_runs_at_that_time() -> None:
    seen: list[m25.JobRecord[None, None, Exception]] = []

    @m25.queue("later")
    async def later(_: None) -> None:
        seen.append(m25.current_job())

    at = datetime.now(UTC) + timedelta(days=365)
    job = await m25.testing.run_job(later, m25.Job(None).schedule(at))
    assert job.scheduled_at == at
    assert job.started_at is not None
    assert at <= job.started_at < at + timedelta(minutes=1)
    assert [record.id for record in seen] == [job.id]
    with pytest.raises(m25.errors.NotInJob):
        m25.current_job()


async def test_setup_is_entered_and_left() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def press() -> AsyncGenerator[str]:
        events.append("on")
        yield "ink"
        events.append("off")

    @m25.queue("prints", setup=press)
    async def prints(text: str, resource: str) -> str:
        events.append("print")
        return f"{text} in {resource}"

    job = await m25.testing.run_job(prints, "hello")
    assert job.output == "hello in ink"
    assert job.started_at is not None
    assert events == ["on", "print", "off"]


async def test_a_job_whose_setup_fails_is_pending_still(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def broken() -> AsyncGenerator[None]:
        raise OSError("no paper")
        yield

    @m25.queue("prints", setup=broken)
    async def prints(text: str, _: None) -> None:
        raise AssertionError

    job = await m25.testing.run_job(prints, "hello")
    assert (job.status, job.attempt, job.reserved_at) == (JobStatus.PENDING, 1, None)
    assert "no paper" in caplog.text


# Whole queues


async def test_queues_run_without_a_database(autojump_clock: trio.testing.MockClock) -> None:
    async with m25.testing.open() as m:
        m.add_queue(letters)
        await m.start()
        for pages in range(1, 30):
            await m.enqueue(letters, Letter("ada", pages))
        await m25.testing.drain(m)
        found = m25.testing.jobs(m, letters)
        assert [job.input.pages for job in found] == list(range(1, 30))
        assert {job.status for job in found} == {JobStatus.SUCCEEDED}


async def test_what_was_enqueued_can_be_looked_at_without_running_it() -> None:
    async with m25.testing.open() as m:
        await m.enqueue(letters, m25.Job(Letter("ada")).with_unique_key("ada"))
        with pytest.raises(m25.UniqueKeyConflict):
            await m.enqueue(letters, m25.Job(Letter("ada")).with_unique_key("ada"))
        (job,) = m25.testing.jobs(m, letters)
        assert (job.input, job.status) == (Letter("ada"), JobStatus.PENDING)


async def test_a_drain_leaves_what_is_for_later_alone_unless_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    in_a_year = datetime.now(UTC) + timedelta(days=365)
    async with m25.testing.open() as m:
        m.add_queue(letters)
        await m.start()
        await m.enqueue(letters, m25.Job(Letter("ada")).schedule(in_a_year))
        await m.enqueue(letters, m25.Job(Letter("nobody")).retry(3, timedelta(days=30)))
        await m25.testing.drain(m)
        statuses = [job.status for job in m25.testing.jobs(m, letters)]
        assert statuses == [JobStatus.PENDING, JobStatus.FAILED, JobStatus.PENDING]

        await m25.testing.drain(m, scheduled=True)
        scheduled, *attempts = m25.testing.jobs(m, letters)
        assert scheduled.status is JobStatus.SUCCEEDED
        assert scheduled.started_at is not None
        assert in_a_year <= scheduled.started_at < in_a_year + timedelta(minutes=1)
        assert [job.attempt for job in attempts] == [1, 2, 3]
        assert {job.failure_reason for job in attempts} == {FailureReason.ERRORED}
        for before, after in itertools.pairwise(attempts):
            assert before.finished_at is not None
            assert after.started_at is not None
            assert after.started_at >= before.finished_at + timedelta(days=30)


async def test_schedules_and_retries_take_no_time_by_a_real_clock_either() -> None:
    @m25.queue("steps", errors=(Returned,))
    async def steps(number: int) -> int:
        if m25.current_job().attempt < 5:
            raise Returned("not yet")
        return number

    async with m25.testing.open() as m:
        m.add_queue(steps)
        await m.start()
        in_a_month = datetime.now(UTC) + timedelta(days=30)
        await m.enqueue(steps, m25.Job(7).retry(5, timedelta(hours=1)).schedule(in_a_month))
        with trio.fail_after(PATIENCE):
            await m25.testing.drain(m, scheduled=True)
        assert m25.testing.jobs(m, steps)[-1].output == 7


async def test_jobs_that_a_handler_enqueues_are_waited_for_too() -> None:
    @m25.queue("leaves")
    async def leaves(_: int) -> None: ...

    async with m25.testing.open() as m:

        @m25.queue("trees")
        async def trees(depth: int) -> None:
            if depth:
                await m.enqueue(trees, depth - 1)
                await m.enqueue(trees, depth - 1)
            else:
                await m.enqueue(leaves, depth)

        m.add_queue(trees)
        m.add_queue(leaves)
        await m.start()
        await m.enqueue(trees, 4)
        await m25.testing.drain(m)
        assert len(m25.testing.jobs(m, trees)) == 31
        assert {job.status for job in m25.testing.jobs(m, leaves)} == {JobStatus.SUCCEEDED}
        assert len(m25.testing.jobs(m, leaves)) == 16


async def test_clients_that_share_a_store_are_a_cluster(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = m25.testing.MemoryStore()
    async with (
        m25.testing.open(store) as web,
        m25.testing.open(store) as worker,
    ):
        worker.add_queue(letters)
        await worker.start()
        sent = await web.enqueue(letters, Letter("ada"))
        await m25.testing.drain(worker)
        assert (await web.get_job(letters, sent.id)).status is JobStatus.SUCCEEDED


async def test_what_cannot_be_drained_is_said(dsn: str) -> None:
    async with m25.testing.open() as m:
        with pytest.raises(ValueError, match="start"):
            await m25.testing.drain(m)
    async with m25.open(dsn) as m:
        with pytest.raises(ValueError, match="has a database"):
            await m25.testing.drain(m)
        with pytest.raises(ValueError, match="has a database"):
            m25.testing.jobs(m, letters)


async def test_leaving_the_block_hands_running_jobs_back(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = m25.testing.MemoryStore()
    async with m25.testing.open(store, shutdown_grace=5) as m:
        m.add_queue(letters)
        await m.start()
        await m.enqueue(letters, Letter("ada", 1))
        await m.enqueue(letters, Letter("ada", 200))
        await trio.sleep(0.5)
    short, long = store.rows()
    assert (short.status, long.status, long.attempt) == ("succeeded", "pending", 1)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
