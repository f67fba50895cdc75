"""`around=`: context managers of the program's own around each call of a handler."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, cast

import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import FailureReason
from support.waiting import PATIENCE, ended, eventually


class Declined(Exception): ...


async def test_each_is_entered_in_order_around_the_handler_of_each_queue(dsn: str) -> None:
    happened: list[str] = []
    tenant = ContextVar[str]("tenant")

    @asynccontextmanager
    async def outer(job: m25.RunningJob[Any, Any, Any]) -> AsyncIterator[None]:
        assert job.meta is not None
        tenant.set(job.meta["tenant"])
        happened.append(f"outer {job.queue_name} {job.attempt}")
        yield
        happened.append("outer left")

    @asynccontextmanager
    async def inner(job: m25.RunningJob[Any, Any, Any]) -> AsyncIterator[None]:
        assert m25.current_job() is job
        happened.append("inner")
        yield
        happened.append("inner left")

    @asynccontextmanager
    async def resource() -> AsyncIterator[str]:
        happened.append("setup")
        yield "r"

    @m25.queue("plain")
    async def plain(number: int) -> str:
        return tenant.get()

    @m25.queue("with setup", setup=resource)
    async def with_setup(number: int, resource: str) -> str:
        return tenant.get() + resource

    async with m25.open(dsn, around=[outer, inner]) as m:
        for queue in (plain, with_setup):
            m.add_queue(queue)
        await m.start()
        job = m25.Job(1, meta={"tenant": "ada"})
        record = await ended(m, plain, (await m.enqueue(plain, job)).id)
        assert record.output == "ada"
        record = await ended(m, with_setup, (await m.enqueue(with_setup, job)).id)
        assert record.output == "adar"
    each = ["inner", "inner left", "outer left"]
    assert happened == ["outer plain 1", *each, "setup", "outer with setup 1", *each]


async def test_what_one_raises_is_the_attempts_own() -> None:
    @asynccontextmanager
    async def refuses(job: m25.RunningJob[Any, Any, Any]) -> AsyncIterator[None]:
        if job.input == 1:
            raise Declined("before")
        yield
        raise OSError("after")

    @m25.queue("payments", errors=(Declined,))
    async def payments(number: int) -> int:
        return number

    job = await m25.testing.run_job(payments, 1, around=[refuses])
    assert job.failure_reason is FailureReason.ERRORED
    assert str(job.error_data) == "before"
    job = await m25.testing.run_job(payments, 2, around=[refuses])
    assert (job.failure_reason, job.crash_type) == (FailureReason.CRASH, "OSError")


async def test_each_sees_what_the_handler_raised_and_cannot_make_it_a_success() -> None:
    seen: list[BaseException] = []

    @asynccontextmanager
    async def swallows(job: m25.RunningJob[Any, Any, Any]) -> AsyncIterator[None]:
        with suppress(Declined):
            try:
                yield
            except Exception as error:
                seen.append(error)
                raise

    @asynccontextmanager
    async def ends(job: m25.RunningJob[Any, Any, Any]) -> AsyncIterator[None]:
        with trio.move_on_after(0):
            yield

    @m25.queue("payments", errors=(Declined,))
    async def payments(number: int) -> int:
        await trio.lowlevel.checkpoint()
        raise Declined

    job = await m25.testing.run_job(payments, 1, around=[swallows])
    assert job.failure_reason is FailureReason.ERRORED
    assert [type(error) for error in seen] == [Declined]
    job = await m25.testing.run_job(payments, 1, around=[ends])
    assert job.crash_type == "m25.errors.AroundSwallowed"


@asynccontextmanager
async def flushing(job: m25.RunningJob[Any, Any, Any]) -> AsyncIterator[None]:
    """Waits as it is left, as to send a span."""
    yield
    await trio.lowlevel.checkpoint()


async def cancelled_in(
    queue: m25.Queue[int, Any, Any], around: Any, begun: threading.Event
) -> m25.JobRecord[int, Any, Any]:
    """How a job ends whose cancel was asked for once its handler has begun."""
    async with m25.testing.open(around=[around]) as m:
        m.add_queue(queue)
        await m.start()
        id = (await m.enqueue(queue, 1)).id
        await eventually(lambda: is_set(begun))
        with trio.fail_after(PATIENCE):
            return await m.cancel_job(queue, id, running=True, wait=True)


async def is_set(event: threading.Event) -> bool:
    await trio.lowlevel.checkpoint()
    return event.is_set()


async def test_who_returns_although_cancelled_has_succeeded_whatever_they_wait_for() -> None:
    begun = threading.Event()

    @m25.queue("returns")
    async def returns(number: int) -> int:
        begun.set()
        with suppress(trio.Cancelled):
            await trio.sleep_forever()
        return 7

    job = await cancelled_in(returns, flushing, begun)
    assert (job.status, job.output) == (m25.JobStatus.SUCCEEDED, 7)


async def test_so_has_a_handler_in_a_thread() -> None:
    begun = threading.Event()

    @m25.queue("in a thread", runs="thread")
    def in_a_thread(number: int) -> int:
        job = m25.current_job()
        begun.set()
        until = time.monotonic() + PATIENCE
        while not job.is_cancelled and time.monotonic() < until:
            time.sleep(0.01)
        return 7

    job = await cancelled_in(in_a_thread, flushing, begun)
    assert (job.status, job.output) == (m25.JobStatus.SUCCEEDED, 7)


async def test_one_that_swallows_a_cancel_that_was_asked_for_does_not_make_it_a_failure() -> None:
    begun = threading.Event()

    @asynccontextmanager
    async def swallows(job: m25.RunningJob[Any, Any, Any]) -> AsyncIterator[None]:
        with suppress(BaseException):
            yield

    @m25.queue("goes on")
    async def goes_on(number: int) -> None:
        begun.set()
        await trio.sleep_forever()

    job = await cancelled_in(goes_on, swallows, begun)
    assert (job.status, job.crash_type) == (m25.JobStatus.CANCELLED, None)


async def test_they_are_within_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    @asynccontextmanager
    async def slow(job: m25.RunningJob[Any, Any, Any]) -> AsyncIterator[None]:
        await trio.sleep(10)
        yield

    @m25.queue("brief", default_job_timeout=5)
    async def brief(number: int) -> None: ...

    job = await m25.testing.run_job(brief, 1, around=[slow])
    assert job.failure_reason is FailureReason.JOB_TIMEOUT


@asynccontextmanager
async def watching(job: m25.RunningJob[Any, Any, Any]) -> AsyncIterator[None]:
    yield


async def undecorated(job: m25.RunningJob[Any, Any, Any]) -> AsyncIterator[None]:
    yield


@contextmanager
def not_async(job: m25.RunningJob[Any, Any, Any]) -> Iterator[None]:
    yield


@asynccontextmanager
async def without_a_parameter() -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def with_two(job: m25.RunningJob[Any, Any, Any], more: str) -> AsyncIterator[None]:
    yield


WRONG: list[tuple[Any, str]] = [
    ("telemetry", "around must be a sequence of functions"),
    (3, "around must be a sequence of functions"),
    (watching, "around must be a sequence of functions"),
    ([3], r"around\[0\] must be a function"),
    ([watching, watching(cast("Any", None))], r"around\[1\] must be a function"),
    ([undecorated], r"around\[0\] must return .*@contextlib\.asynccontextmanager"),
    ([not_async], r"around\[0\] must return .* not async"),
    ([without_a_parameter], r"around\[0\] is called with a RunningJob, and takes \(\)"),
    ([with_two], r"around\[0\] is called with a RunningJob, and takes \(job, more\)"),
]


async def one(number: int) -> int:
    return number


@pytest.mark.parametrize(("around", "words"), WRONG, ids=[words for _, words in WRONG])
async def test_what_cannot_be_entered_is_refused_before_a_job_fails_by_it(
    dsn: str, around: Any, words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        async with m25.open(dsn, around=around):
            pass
    with pytest.raises(TypeError, match=words):
        async with m25.testing.open(around=around):
            pass
    with pytest.raises(TypeError, match=words):
        await m25.testing.run_job(m25.queue("one")(one), 1, around=around)


async def test_a_method_and_a_partial_can_be_entered() -> None:
    class Telemetry:
        @asynccontextmanager
        async def span(self, job: m25.RunningJob[Any, Any, Any]) -> AsyncIterator[None]:
            yield

    around: list[Any] = [Telemetry().span, partial(with_two, more="")]
    assert (await m25.testing.run_job(m25.queue("one")(one), 1, around=around)).output == 1
