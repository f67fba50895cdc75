"""A job has succeeded if its handler has returned, in time; and in no other case."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import FailureReason, JobStatus


async def test_a_setup_whose_own_scope_ends_the_handler_has_not_succeeded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @asynccontextmanager
    async def setup() -> AsyncIterator[None]:
        with trio.move_on_after(0.01):
            yield

    @m25.queue("cut", setup=setup)
    async def cut(number: int, _: None) -> None:
        await trio.sleep_forever()

    record = await m25.testing.run_job(cut, 1)
    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.CRASH)
    assert record.crash_type == "m25.errors.SetupSwallowed"


async def test_a_setup_that_suppresses_what_the_handler_raises_does_not_make_it_a_success() -> None:
    @asynccontextmanager
    async def setup() -> AsyncIterator[None]:
        with suppress(OSError):
            yield

    @m25.queue("suppressed", setup=setup)
    async def suppressed(number: int, _: None) -> None:
        raise OSError("no paper")

    record = await m25.testing.run_job(suppressed, 1)
    assert (record.failure_reason, record.crash_type) == (FailureReason.CRASH, "OSError")
    assert record.crash_message == "no paper"


async def test_a_declared_error_that_setup_suppresses_is_still_the_jobs_error() -> None:
    @asynccontextmanager
    async def setup() -> AsyncIterator[None]:
        with suppress(LookupError):
            yield

    @m25.queue("declared", setup=setup, errors=(LookupError,))
    async def declared(number: int, _: None) -> None:
        raise LookupError("nobody")

    record = await m25.testing.run_job(declared, 1)
    assert record.failure_reason is FailureReason.ERRORED
    assert record.error_data is not None
    assert record.error_data.args == ("nobody",)


async def test_a_setup_that_takes_long_to_end_does_not_make_a_finished_job_late(
    autojump_clock: trio.testing.MockClock,
) -> None:
    left = trio.Event()

    @asynccontextmanager
    async def setup() -> AsyncIterator[None]:
        yield
        await trio.sleep(0.3)
        left.set()

    @m25.queue("finished", setup=setup, default_job_timeout=0.1)
    async def finished(number: int, _: None) -> int:
        return number

    record = await m25.testing.run_job(finished, 25)
    assert (record.status, record.output) == (JobStatus.SUCCEEDED, 25)
    assert left.is_set()


async def test_a_setup_that_does_not_end_is_cancelled_and_the_job_has_succeeded(
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @asynccontextmanager
    async def setup() -> AsyncIterator[None]:
        yield
        await trio.sleep_forever()

    @m25.queue("endless", setup=setup, executor_init_timeout=0.1)
    async def endless(number: int, _: None) -> int:
        return number

    record = await m25.testing.run_job(endless, 25)
    assert (record.status, record.output) == (JobStatus.SUCCEEDED, 25)
    assert "setup took longer than 0.100 s to end" in caplog.text


async def test_a_setup_that_fails_as_it_ends_has_not_committed_what_it_should() -> None:
    @asynccontextmanager
    async def setup() -> AsyncIterator[None]:
        yield
        raise OSError("the transaction did not commit")

    @m25.queue("uncommitted", setup=setup)
    async def uncommitted(number: int, _: None) -> int:
        return number

    record = await m25.testing.run_job(uncommitted, 25)
    assert (record.failure_reason, record.crash_type) == (FailureReason.CRASH, "OSError")


async def test_a_handler_that_blocks_past_its_deadline_and_returns_is_late() -> None:
    @m25.queue("blocks", default_job_timeout=0.05)
    async def blocks(number: int) -> int:
        time.sleep(0.1)  # noqa: ASYNC251 - that is what it is about
        return number

    record = await m25.testing.run_job(blocks, 25)
    assert record.failure_reason is FailureReason.JOB_TIMEOUT
    assert record.output is None
