"""Queues with `setup=`: reserved, then executing, and what happens in between."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import trio
import trio.testing

import m25
import m25.testing
from support.insides import store_of
from support.told import said, told
from support.waiting import chain, ended, eventually, rows


async def run_one(dsn: str, queue: m25.Queue[Any, Any, Any], job: Any) -> dict[str, Any]:
    """Run one job to its end; return its row."""
    async with m25.open(dsn) as m:
        m.add_queue(queue)
        await m.start()
        record = await ended(m, queue, (await m.enqueue(queue, job)).id)
    (row,) = await chain(dsn, record.id)
    return row


async def test_the_time_of_a_job_begins_once_its_executor_is_ready(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @asynccontextmanager
    async def resource() -> AsyncIterator[str]:
        await trio.sleep(4)
        yield "ready"

    @m25.queue("slow to start", setup=resource)
    async def slow_to_start(number: int, given: str) -> str:
        await trio.sleep(2)
        return given

    async with m25.testing.open() as m:
        m.add_queue(slow_to_start)
        await m.start()
        record = await m.wait(
            slow_to_start, (await m.enqueue(slow_to_start, m25.Job(1, timeout=3))).id
        )
    assert record.output == "ready"


async def test_the_row_says_when_the_executor_was_ready_and_counts_from_there(dsn: str) -> None:
    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        await trio.sleep(0.2)
        yield

    @m25.queue("slow to start", setup=resource)
    async def slow_to_start(number: int, _: None) -> None: ...

    row = await run_one(dsn, slow_to_start, m25.Job(1, timeout=60))
    assert (row["started_at"] - row["reserved_at"]).total_seconds() >= 0.2
    assert (row["deadline"] - row["started_at"]).total_seconds() == 60


async def test_a_job_of_a_queue_with_setup_times_out_and_its_resource_is_left(dsn: str) -> None:
    left = trio.Event()

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        try:
            yield
        finally:
            left.set()

    @m25.queue("slow", setup=resource)
    async def slow(number: int, _: None) -> None:
        await trio.sleep_forever()

    row = await run_one(dsn, slow, m25.Job(1, timeout=0.1))
    assert row["failure_reason"] == "job_timeout"
    assert left.is_set()


async def test_a_resource_that_cannot_be_left_is_a_crash(dsn: str) -> None:
    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        yield
        raise OSError("not closed")

    @m25.queue("leaky", setup=resource)
    async def leaky(number: int, _: None) -> int:
        return number

    row = await run_one(dsn, leaky, 1)
    assert row["failure_reason"] == "crash"
    assert (row["crash_type"], row["crash_message"]) == ("OSError", "not closed")


async def test_a_wake_while_a_setup_is_failing_does_not_shorten_the_pause_after_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    began: list[float] = []
    failed: list[float] = []

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        began.append(trio.current_time())
        if len(began) == 2:
            await m.enqueue(broken, 2)
            await trio.sleep(0.3)
        failed.append(trio.current_time())
        raise OSError("no resource")
        yield

    @m25.queue("broken", setup=resource, max_concurrency=2)
    async def broken(number: int, _: None) -> None:
        pass

    async with m25.testing.open() as m:
        m.add_queue(broken)
        await m.start()
        await m.enqueue(broken, 1)
        await trio.sleep(10)
    assert len(failed) >= 6
    for failures, at in enumerate(failed):
        following = min((start for start in began if start > at), default=math.inf)
        assert following - at >= min(0.05 * 2**failures, 1.25)


async def test_a_setup_that_always_fails_is_tried_with_growing_pauses_and_spends_no_attempt(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        tries.append(trio.current_time())
        raise OSError("no resource")
        yield

    @m25.queue("broken", setup=resource, poll_interval=0.05)
    async def broken(number: int, _: None) -> None:
        pass

    async with m25.open(dsn) as m:
        m.add_queue(broken)
        await m.start()
        record = await m.enqueue(broken, 1)

        async def tried() -> bool:
            return len(tries) >= 5

        await eventually(tried)
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    # Half of 0.1, 0.2, 0.4, 0.8 s at least.
    assert all(pause >= 0.05 * 2**n for n, pause in enumerate(pauses[:4]))
    (row,) = await chain(dsn, record.id)
    assert (row["status"], row["attempt"], row["losses"]) == ("pending", 1, 0)
    event = next(r for r in said(caplog) if r.levelno >= logging.WARNING)
    assert event.getMessage() == (
        f"setup raised OSError: job {record.id} of queue 'broken', attempt 1 of 1; "
        "released, the attempt does not count"
    )
    assert event.exc_info is not None


async def test_what_was_being_claimed_when_a_setup_failed_waits_like_the_rest(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []
    first_fails, second_is_taken, answered = trio.Event(), trio.Event(), trio.Event()

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        tries.append(trio.current_time())
        if len(tries) == 1:
            await first_fails.wait()
            raise OSError("no resource")
        yield

    @m25.queue("broken", setup=resource, max_concurrency=2)
    async def broken(number: int, _: None) -> None:
        pass

    async with m25.testing.open() as m:
        store = store_of(m)
        claim = store.claim

        async def claim_slowly(*args: Any, **options: Any) -> Any:
            rows = await claim(*args, **options)
            if rows and tries:
                monkeypatch.setattr(store, "claim", claim)
                second_is_taken.set()
                await answered.wait()
            return rows

        monkeypatch.setattr(store, "claim", claim_slowly)
        m.add_queue(broken)
        await m.start()
        await m.enqueue(broken, 1)
        await trio.testing.wait_all_tasks_blocked()
        second = await m.enqueue(broken, 2)
        await second_is_taken.wait()
        first_fails.set()
        await trio.testing.wait_all_tasks_blocked()
        failed_at = trio.current_time()
        answered.set()
        record = await m.wait(broken, second.id)
    # Half of 0.1 s at least.
    assert min(tries[1:]) >= failed_at + 0.05
    assert (record.status.value, record.attempt, record.losses) == ("succeeded", 1, 0)


@pytest.mark.slow
async def test_a_setup_that_fails_for_hours_is_told_ever_more_seldom_and_never_not_at_all(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    failed: list[float] = []
    told_at: list[float] = []
    fails: list[type[Exception]] = [OSError]

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        failed.append(trio.current_time())
        raise fails[0]
        yield

    @m25.queue("broken", setup=resource, max_setup_failures=1_000_000)
    async def broken(number: int, _: None) -> None:
        pass

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told_at.append(trio.current_time())

    logger, noting = logging.getLogger("m25.executor"), Noting()
    logger.addHandler(noting)
    try:
        async with m25.testing.open() as m:
            m.add_queue(broken)
            await m.start()
            await m.enqueue(broken, 1)
            await trio.sleep(3_600)
            lines, tries = len(told_at), len(failed)
            assert told(caplog) == ["SetupFailed"] * lines
            # Another error is another trouble.
            fails[0] = ValueError
            await trio.sleep(5)
            assert len(told_at) == lines + 1
    finally:
        logger.removeHandler(noting)
    assert told_at[0] == failed[0]
    silences = [after - before for before, after in itertools.pairwise(told_at[:lines])]
    assert silences == sorted(silences[:5]) + silences[5:]
    assert 10 <= silences[0] < 13
    assert all(silence < 304 for silence in silences)
    assert tries > 1_000
    assert lines < 20
    lines_said = said(caplog)
    counts = [record.m25_failures for record in lines_said]  # type: ignore[attr-defined]
    assert counts[0] == counts[lines] == 1
    assert counts[:lines] == sorted(counts[:lines])
    assert 0 <= tries - counts[lines - 1] < 300
    assert f"setup raised OSError, {counts[1]} times by now: job " in lines_said[1].getMessage()


async def test_a_setup_that_ignores_its_time_is_no_trouble_to_the_next_try(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0
    release = trio.Event()

    @asynccontextmanager
    async def resource() -> AsyncIterator[int]:
        nonlocal tries
        tries += 1
        if tries == 1:
            with trio.CancelScope(shield=True):
                await release.wait()
        yield tries

    @m25.queue(
        "deaf",
        setup=resource,
        executor_init_timeout=0.5,
        reserved_timeout=1.5,
        poll_interval=0.1,
        heartbeat_interval=0.5,
    )
    async def deaf(number: int, attempt: int) -> int:
        release.set()
        await trio.sleep(0.2)
        return attempt

    async with m25.testing.open() as m:
        m.add_queue(deaf)
        await m.start()
        record = await m.wait(deaf, (await m.enqueue(deaf, 1)).id)
        assert record.output == 2
        assert record.attempt == 1
        other = await m.wait(deaf, (await m.enqueue(deaf, 2)).id)
        assert other.status is m25.JobStatus.SUCCEEDED
    assert "ServiceFailed" not in told(caplog)


async def test_a_reservation_whose_process_died_goes_back_and_spends_no_attempt(
    dsn: str,
) -> None:
    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        yield

    @m25.queue("orphaned", setup=resource, poll_interval=0.1)
    async def orphaned(number: int, _: None) -> int:
        return m25.current_job().attempt

    async with m25.open(dsn) as m:
        record = await m.enqueue(orphaned, 1)
        lease = orphaned.reserved_timeout
        await store_of(m).claim("orphaned", token=str(uuid4()), limit=1, lease=lease, start=False)
        await rows(dsn, "update m25.job set lease_expires_at = now() + interval '1 hour'")
        m.add_queue(orphaned)
        await m.start()
        assert (await m.get_job(orphaned, record.id)).status is m25.JobStatus.RESERVED
        await rows(dsn, "update m25.job set lease_expires_at = now() + interval '0.3 s'")
        found = await ended(m, orphaned, record.id)
    assert (found.status, found.output, found.losses) == (m25.JobStatus.SUCCEEDED, 1, 0)


async def test_a_reservation_that_was_taken_meanwhile_is_never_started(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    entered, go_on = trio.Event(), trio.Event()
    ran: list[int] = []

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        entered.set()
        await go_on.wait()
        yield

    @m25.queue("robbed", setup=resource, poll_interval=60, heartbeat_interval=60)
    async def robbed(number: int, _: None) -> None:
        ran.append(number)

    async with m25.open(dsn) as m:
        m.add_queue(robbed)
        await m.start()
        record = await m.enqueue(robbed, 1)
        await entered.wait()
        await rows(dsn, "update m25.job set reserved_at = now(), claim_token = gen_random_uuid()")
        (before,) = await rows(dsn, "select * from m25.job")
        go_on.set()

        async def noticed() -> bool:
            return "ClaimFenced" in told(caplog, record.id)

        await eventually(noticed)
    assert ran == []
    assert await rows(dsn, "select * from m25.job") == [before]


async def test_a_stop_while_an_executor_initialises_hands_its_job_back(dsn: str) -> None:
    entered = trio.Event()

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        entered.set()
        await trio.sleep_forever()
        yield

    @m25.queue("waiting", setup=resource)
    async def waiting(number: int, _: None) -> None:
        pass

    async with m25.open(dsn, shutdown_grace=0.1) as m:
        m.add_queue(waiting)
        await m.start()
        record = await m.enqueue(waiting, 1)
        await entered.wait()
    (row,) = await chain(dsn, record.id)
    assert (row["status"], row["attempt"], row["claim_token"]) == ("pending", 1, None)


async def test_a_job_whose_setup_fails_too_often_in_a_row_ends_as_a_crash(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        tries.append(trio.current_time())
        raise OSError("no such host")
        yield

    @m25.queue("broken", setup=resource, max_setup_failures=3)
    async def broken(number: int, _: None) -> None:
        raise AssertionError("it must not be called")

    row = await run_one(dsn, broken, 1)
    assert (row["failure_reason"], row["attempt"]) == ("crash", 1)
    assert (row["crash_type"], row["crash_message"]) == ("OSError", "no such host")
    assert 'raise OSError("no such host")' in row["crash_traceback"]
    assert told(caplog, row["id"]) == ["SetupFailed", "SetupGivenUp"]
    assert len(tries) == 3


async def test_each_attempt_may_fail_as_often_and_a_slow_setup_counts(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        await trio.sleep_forever()
        yield

    @m25.queue("slow", setup=resource, max_setup_failures=2)
    async def slow(number: int, _: None) -> None: ...

    async with m25.testing.open() as m:
        m.add_queue(slow)
        await m.start()
        await m.enqueue(slow, m25.Job(1, max_attempts=2))
        await m25.testing.drain(m)
        first, second = m25.testing.jobs(m, slow)
    for job in (first, second):
        assert job.crash_type == "m25.errors.SetupTooSlow"
        assert job.crash_message == "setup took longer than 5 s"
        assert told(caplog, job.id) == ["SetupTimedOut", "SetupGivenUp"]


async def test_failures_before_a_setup_that_worked_are_forgotten(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0
    began = trio.Event()

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        nonlocal tries
        tries += 1
        if tries in (1, 3):
            raise OSError
        yield

    @m25.queue("shaky", setup=resource, max_setup_failures=2)
    async def shaky(number: int, _: None) -> int:
        if tries == 2:
            began.set()
            await trio.sleep_forever()
        return number

    async with m25.open(dsn, shutdown_grace=0) as m:
        m.add_queue(shaky)
        await m.start()
        id = (await m.enqueue(shaky, 1)).id
        await began.wait()
        await m.stop()
        await m.start()
        record = await ended(m, shaky, id)
    assert (record.output, tries) == (1, 4)


async def test_a_start_that_takes_long_does_not_use_up_the_time_of_setup(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """As on a server that is busy: the handler would be cancelled as it begins, and be late."""

    async def fault(call: str, phase: str) -> None:
        if call == "start" and phase == "before":
            await trio.sleep(2)

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        await trio.sleep(0.5)
        yield

    @m25.queue("slow server", setup=resource, executor_init_timeout=1, allowed_losses=0)
    async def slow_server(number: int, _: None) -> int:
        await trio.sleep(0.1)
        return number

    async with m25.testing.open(m25.testing.MemoryStore(fault=fault)) as m:
        m.add_queue(slow_server)
        await m.start()
        record = await m.enqueue(slow_server, 25)
        with trio.fail_after(60):
            record = await m.wait(slow_server, record.id)
    assert (record.status, record.output) == (m25.JobStatus.SUCCEEDED, 25)
