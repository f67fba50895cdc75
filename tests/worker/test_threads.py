"""`runs="thread"`: handlers that are a plain `def`, in threads."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import FailureReason, JobStatus
from m25.errors import InvalidQueue
from support.told import lines, told
from support.waiting import chain, ended, eventually, rows


@attrs.frozen
class Declined(Exception):
    reason: str


async def seen(caplog: pytest.LogCaptureFixture, event: str, id: m25.JobId) -> None:
    """Wait until an event of this job was told."""

    async def look() -> bool:
        return event in told(caplog, id)

    await eventually(look)


async def test_a_plain_function_runs_in_a_thread_and_knows_its_job(dsn: str) -> None:
    @m25.queue("hash", runs="thread", errors=(Declined,))
    def hash(text: str) -> list[str]:  # noqa: A001
        if text == "bad":
            raise Declined("bad")
        if text == "worse":
            raise ValueError("worse")
        assert threading.current_thread() is not threading.main_thread()
        return [text, m25.current_job().input]

    async with m25.open(dsn) as m:
        m.add_queue(hash)
        await m.start()
        record = await ended(m, hash, (await m.enqueue(hash, "a")).id)
        assert record.output == ["a", "a"]
        record = await ended(m, hash, (await m.enqueue(hash, "bad")).id)
        assert isinstance(record.error_data, Declined)
        assert record.error_data.reason == "bad"
        record = await ended(m, hash, (await m.enqueue(hash, "worse")).id)
        assert (record.crash_type, record.crash_message) == ("ValueError", "worse")


async def test_it_is_given_what_setup_and_lifespan_yield() -> None:
    @asynccontextmanager
    async def one() -> AsyncIterator[str]:
        yield "one"

    @m25.queue("given", runs="thread", setup=one, lifespan=one)
    def given(number: int, resource: str, *, shared: str) -> str:
        return resource + shared

    assert (await m25.testing.run_job(given, 1)).output == "oneone"


async def test_no_more_threads_run_than_the_queue_allows_and_they_are_none_of_trios() -> None:
    limiter = trio.to_thread.current_default_thread_limiter()
    now = most = 0
    lock = threading.Lock()
    both = threading.Barrier(2, timeout=60)

    @m25.queue("two", runs="thread", max_concurrency=2)
    def two(number: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        both.wait()
        with lock:
            now -= 1
        return limiter.borrowed_tokens

    async with m25.testing.open() as m:
        m.add_queue(two)
        await m.start()
        await m.enqueue_many(two, range(6))
        await m25.testing.drain(m)
        assert [job.output for job in m25.testing.jobs(m, two)] == [0] * 6
    assert most == 2


async def test_a_late_thread_keeps_its_row_until_it_ends_and_has_timed_out_then(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    let_go = threading.Event()

    @m25.queue(
        "late",
        runs="thread",
        default_job_timeout=0.1,
        heartbeat_interval=0.2,
        allowed_heartbeat_misses=200,
        max_concurrency=1,
    )
    def late(number: int) -> str:
        assert let_go.wait(100)
        if number == 2:
            raise ValueError
        return "late"

    async with m25.open(dsn) as m:
        m.add_queue(late)
        await m.start()
        id = (await m.enqueue(late, 1)).id
        await seen(caplog, "ThreadOverran", id)
        # Its lease is renewed as long as the thread runs.
        beats = "select 1 from m25.job where latest_heartbeat_at > deadline + interval '1 s'"
        await eventually(lambda: rows(dsn, beats))
        job = await m.get_job(late, id)
        assert job.status is m25.JobStatus.EXECUTING
        let_go.set()
        job = await ended(m, late, id)
        assert (job.failure_reason, job.output) == (FailureReason.JOB_TIMEOUT, None)
        assert job.finished_at is not None
        assert job.deadline is not None
        assert (job.finished_at - job.deadline).total_seconds() > 1
    assert told(caplog, id).count("ThreadOverran") == 1
    assert "HandlerOverran" not in told(caplog, id)


@pytest.mark.parametrize("first", ["the deadline", "the cancel"])
async def test_whichever_came_first_deadline_or_cancel_decides(
    first: str, caplog: pytest.LogCaptureFixture
) -> None:
    let_go, begun = threading.Event(), threading.Event()

    @m25.queue("late", runs="thread", heartbeat_interval=0.1, allowed_heartbeat_misses=300)
    def late(number: int) -> bool:
        job = m25.current_job()
        begun.set()
        assert let_go.wait(100)
        return job.is_cancelled

    async with m25.testing.open() as m:
        m.add_queue(late)
        await m.start()
        timeout = 0.1 if first == "the deadline" else 60
        id = (await m.enqueue(late, m25.Job(1, timeout=timeout))).id
        if first == "the deadline":
            await seen(caplog, "ThreadOverran", id)
        else:
            await trio.to_thread.run_sync(begun.wait)
        await m.cancel_job(late, id, running=True)
        await trio.testing.wait_all_tasks_blocked()
        let_go.set()
        job = await m.wait(late, id)
    if first == "the deadline":
        assert (job.status, job.failure_reason) == (JobStatus.FAILED, FailureReason.JOB_TIMEOUT)
    else:
        assert (job.status, job.output) == (JobStatus.SUCCEEDED, True)


async def test_a_late_thread_that_raises_has_timed_out() -> None:
    deadline = threading.Event()

    @m25.queue("late", runs="thread", default_job_timeout=0.05)
    def late(number: int) -> None:
        deadline.wait(0.1)
        raise ValueError("too late")

    job = await m25.testing.run_job(late, 1)
    assert job.failure_reason is FailureReason.JOB_TIMEOUT
    assert job.crash_message == "too late"


async def test_a_stop_within_its_grace_waits_for_threads() -> None:
    began = trio.Event()
    token = trio.lowlevel.current_trio_token()

    @m25.queue("patient", runs="thread")
    def patient(number: int) -> str:
        job = m25.current_job()
        token.run_sync_soon(began.set)
        trio.from_thread.run(job.stopping.wait)
        return "in order"

    async with m25.testing.open() as m:
        m.add_queue(patient)
        await m.start()
        await m.enqueue(patient, 1)
        await began.wait()
        await m.stop()
        (job,) = m25.testing.jobs(m, patient)
    assert job.output == "in order"


async def test_a_stop_that_cannot_wait_fails_the_attempt_and_never_releases_it(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = trio.lowlevel.current_trio_token()
    began = trio.Event()
    let_go = threading.Event()
    calls = 0

    @m25.queue("deaf", runs="thread", max_concurrency=1)
    def deaf(number: int) -> None:
        nonlocal calls
        calls += 1
        token.run_sync_soon(began.set)
        let_go.wait(100)

    async with m25.open(dsn, shutdown_grace=0.1) as m:
        m.add_queue(deaf)
        await m.start()
        record = await m.enqueue(deaf, 1)
        await began.wait()
        stopped = trio.current_time()
        await m.stop()
        assert trio.current_time() - stopped < 20
        let_go.set()
    (row,) = await chain(dsn, record.id)
    assert (row["status"], row["failure_reason"]) == ("failed", "crash")
    assert row["crash_type"] == "m25.errors.CutShort"
    assert told(caplog, record.id) == ["ThreadAbandoned", "JobCrashed"]
    assert len(lines(caplog, "ThreadAbandoned")) == 1
    assert calls == 1


async def test_a_job_whose_claim_is_lost_leaves_nothing_and_waits_for_its_thread(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = trio.lowlevel.current_trio_token()
    began = trio.Event()
    let_go = threading.Event()

    @m25.queue(
        "taken",
        runs="thread",
        max_concurrency=1,
        heartbeat_interval=0.1,
        allowed_heartbeat_misses=300,
    )
    def taken(number: int) -> int:
        if number == 1:
            token.run_sync_soon(began.set)
            let_go.wait(100)
        return number

    async with m25.open(dsn) as m:
        m.add_queue(taken)
        await m.start()
        id = (await m.enqueue(taken, 1)).id
        await began.wait()
        await rows(
            dsn,
            "update m25.job set finished_at = now(), failure_reason = 'crash' where id = %(id)s",
            id=id,
        )
        await seen(caplog, "ClaimFenced", id)
        after = (await m.enqueue(taken, 2)).id
        await trio.sleep(0.3)
        assert (await m.get_job(taken, after)).status is m25.JobStatus.PENDING
        let_go.set()
        assert (await ended(m, taken, after)).output == 2
        assert "ResultDiscarded" in told(caplog, id)


def test_functions_that_do_not_fit_are_refused_at_the_declaration() -> None:
    async def coroutine(number: int) -> int:
        return number

    def plain(number: int) -> int:
        return number

    def generator(number: int) -> object:
        yield number

    for runs in ("thread", "process"):
        with pytest.raises(InvalidQueue, match=f"runs='{runs}' is for a plain `def`"):
            m25.queue("x", runs=runs)(coroutine)  # type: ignore[call-overload]
        with pytest.raises(InvalidQueue, match="must be a plain `def`; it has a `yield`"):
            m25.queue("x", runs=runs)(generator)  # type: ignore[call-overload]
    with pytest.raises(InvalidQueue, match='or as a queue with runs="thread" or runs="process"'):
        m25.queue("x")(plain)
    with pytest.raises(InvalidQueue, match="runs must be one of 'trio', 'thread', 'process', not"):
        m25.queue("x", runs="fiber")(plain)  # type: ignore[call-overload]
