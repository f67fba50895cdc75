"""Leaving: whatever way it is, in time, with no row left behind and no attempt spent."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

import m25
import m25.testing
from support.processes import worker
from support.thorough import tries
from support.told import told
from support.waiting import PATIENCE, eventually, rows


async def unfinished(dsn: str) -> list[tuple[str, int]]:
    found = await rows(dsn, "select status, attempt from m25.job order by created_at")
    return [(row["status"], row["attempt"]) for row in found]


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
async def test_a_service_that_gets_a_signal_hands_its_jobs_back(
    dsn: str, number: signal.Signals
) -> None:
    async with m25.open(dsn) as m:
        for _ in range(3):
            await m.enqueue(sleeps, 30.0)
    async with worker(dsn, grace=0.5) as running:
        await running.until_printed("begun", times=3)
        running.process.send_signal(number)
        # Handlers would go on for longer.
        with trio.fail_after(PATIENCE):
            assert await running.process.wait() == 0
    assert await unfinished(dsn) == [("pending", 1)] * 3
    # A busy machine lets its loop stand still.
    assert [event for event in running.events() if event["event"] != "LoopStalled"] == []
    assert all(line.startswith("{") for line in running.logged)


async def test_a_second_ctrl_c_does_not_wait_for_the_grace(dsn: str) -> None:
    async with m25.open(dsn) as m:
        await m.enqueue(sleeps, 30.0)
    async with worker(dsn, grace=60) as running:
        await running.until_printed("begun")
        running.process.send_signal(signal.SIGINT)
        # Of two signals that come at once, only one may be seen.
        await running.until_printed("ending")
        running.process.send_signal(signal.SIGINT)
        with trio.fail_after(PATIENCE):
            await running.process.wait()
    assert await unfinished(dsn) == [("pending", 1)]


async def test_running_handlers_have_the_grace_to_finish(dsn: str) -> None:
    begun = trio.Event()

    @m25.queue("graceful")
    async def graceful(number: int) -> int:
        begun.set()
        await trio.sleep(0.2)
        return number

    async with m25.open(dsn, shutdown_grace=60) as m:
        m.add_queue(graceful)
        await m.start()
        await m.enqueue(graceful, 1)
        await begun.wait()
        left_at = trio.current_time()
    assert trio.current_time() - left_at < 20
    assert await unfinished(dsn) == [("succeeded", 1)]


async def test_a_stop_before_all_queues_have_started_lets_running_handlers_finish(
    autojump_clock: trio.testing.MockClock,
) -> None:
    began = trio.Event()

    @m25.queue("naps")
    async def naps(seconds: float) -> None:
        began.set()
        await trio.sleep(seconds)

    @asynccontextmanager
    async def model() -> AsyncGenerator[None]:
        await trio.sleep(1_000)
        yield

    @m25.queue("answers", lifespan=model)
    async def answers(_: None) -> None: ...

    async with m25.testing.open() as m:
        m.add_queue(naps)
        m.add_queue(answers)
        nap = await m.enqueue(naps, 5.0)
        async with trio.open_nursery() as nursery:
            # It returns, too.
            nursery.start_soon(m.start, 2_000)
            await began.wait()
            stopped_at = trio.current_time()
            await m.stop()
            assert trio.current_time() - stopped_at == pytest.approx(5, abs=1)
        record = await m.get_job(naps, nap.id)
    assert (record.status, record.attempt) == (m25.JobStatus.SUCCEEDED, 1)


async def test_a_stop_claims_nothing_more_though_a_lifespan_cannot_be_cancelled() -> None:
    go_on, begun, stopped = threading.Event(), trio.Event(), False
    after_the_stop: list[int] = []

    @m25.queue("numbers", max_concurrency=1)
    async def numbers(number: int) -> None:
        begun.set()
        if stopped:
            after_the_stop.append(number)
        await trio.sleep(0.001)

    @asynccontextmanager
    async def model() -> AsyncGenerator[None]:
        await trio.to_thread.run_sync(go_on.wait)
        yield

    @m25.queue("answers", lifespan=model)
    async def answers(_: None) -> None: ...

    async with m25.testing.open() as m:
        m.add_queue(numbers)
        m.add_queue(answers)
        await m.enqueue_many(numbers, range(1_000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.start, 2_000)
            await begun.wait()
            nursery.start_soon(m.stop)
            await trio.testing.wait_all_tasks_blocked()
            stopped = True
            # Many more would begin meanwhile.
            await trio.sleep(0.2)
            go_on.set()
        assert after_the_stop == []


async def test_nothing_more_is_claimed_while_stopping(dsn: str) -> None:
    begun: list[int] = []

    @m25.queue("graceful", max_concurrency=1)
    async def graceful(number: int) -> None:
        begun.append(number)
        await m25.current_job().stopping.wait()
        # Whoever would claim another has the time to do so.
        await trio.sleep(0.2)

    async with m25.open(dsn, shutdown_grace=60) as m:
        m.add_queue(graceful)
        await m.start()
        for number in range(3):
            await m.enqueue(graceful, number)

        async def one() -> bool:
            return len(begun) == 1

        await eventually(one)
    assert len(begun) == 1
    assert sorted(await unfinished(dsn)) == [("pending", 1), ("pending", 1), ("succeeded", 1)]


async def test_what_the_grace_does_not_suffice_for_goes_back_to_pending(dsn: str) -> None:
    begun = trio.Event()
    cleaned_up = trio.Event()

    @m25.queue("graceful")
    async def graceful(number: int) -> None:
        begun.set()
        try:
            await trio.sleep(30)
        finally:
            cleaned_up.set()

    async with m25.open(dsn, shutdown_grace=0.1) as m:
        m.add_queue(graceful)
        await m.start()
        await m.enqueue(graceful, 1)
        await begun.wait()
        left_at = trio.current_time()
    assert trio.current_time() - left_at < 20
    assert cleaned_up.is_set()
    (row,) = await rows(dsn, "select * from m25.job")
    assert row["status"] == "pending"
    assert row["attempt"] == 1
    for column in ("reserved_at", "started_at", "deadline", "claim_token", "lease_expires_at"):
        assert row[column] is None


async def test_cancelling_the_callers_scope_hands_jobs_back_at_once(dsn: str) -> None:
    begun = trio.Event()

    @m25.queue("cancelled")
    async def cancelled(number: int) -> None:
        begun.set()
        await trio.sleep(30)

    with trio.CancelScope() as scope:
        async with m25.open(dsn, shutdown_grace=60) as m:
            m.add_queue(cancelled)
            await m.start()
            await m.enqueue(cancelled, 1)
            await begun.wait()
            left_at = trio.current_time()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() - left_at < 20
    assert await unfinished(dsn) == [("pending", 1)]


async def test_cancelling_the_nursery_of_run_hands_jobs_back(dsn: str) -> None:
    begun = trio.Event()

    @m25.queue("cancelled")
    async def cancelled(number: int) -> None:
        begun.set()
        await trio.sleep(30)

    async with m25.open(dsn, shutdown_grace=60) as m:
        m.add_queue(cancelled)
        async with trio.open_nursery() as nursery:
            await nursery.start(m.run)
            await m.enqueue(cancelled, 1)
            await begun.wait()
            nursery.cancel_scope.cancel()
        assert await unfinished(dsn) == [("pending", 1)]


async def test_an_error_in_the_block_hands_jobs_back_at_once(dsn: str) -> None:
    begun = trio.Event()

    @m25.queue("cancelled")
    async def cancelled(number: int) -> None:
        begun.set()
        await trio.sleep(30)

    with pytest.raises(LookupError):
        async with m25.open(dsn, shutdown_grace=60) as m:
            m.add_queue(cancelled)
            await m.start()
            await m.enqueue(cancelled, 1)
            await begun.wait()
            raise LookupError
    assert await unfinished(dsn) == [("pending", 1)]


async def test_a_handler_that_finishes_although_cancelled_has_finished(dsn: str) -> None:
    begun = trio.Event()

    @m25.queue("stubborn")
    async def stubborn(number: int) -> int:
        begun.set()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.2)
        return number

    async with m25.open(dsn, shutdown_grace=0) as m:
        m.add_queue(stubborn)
        await m.start()
        await m.enqueue(stubborn, 1)
        await begun.wait()
    assert await unfinished(dsn) == [("succeeded", 1)]


async def test_a_handler_that_fails_because_it_is_cancelled_spends_no_attempt(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    begun = trio.Event()

    @m25.queue("brittle")
    async def brittle(number: int) -> None:
        begun.set()
        try:
            await trio.sleep(30)
        except trio.Cancelled:
            raise ValueError("cut short") from None

    with caplog.at_level(logging.WARNING):
        async with m25.open(dsn, shutdown_grace=0) as m:
            m.add_queue(brittle)
            await m.start()
            await m.enqueue(brittle, 1)
            await begun.wait()
    assert await unfinished(dsn) == [("pending", 1)]
    assert told(caplog) == ["RaisedWhileCancelled"]


@m25.queue("sleeps")
async def sleeps(seconds: float) -> int:
    return 0


class _CancelsAtStep(trio.abc.Instrument):
    """Cancels a scope once all tasks together have taken so many steps."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self._scope, self._left = scope, steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()


async def test_a_start_that_is_cancelled_at_any_moment_leaves_nothing_unwritten(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    is_through = False
    for steps in range(2, 1_000, tries(1, 4)):
        with trio.CancelScope() as scope:
            async with m25.open(dsn) as m:
                m.add_queue(sleeps)
                instrument = _CancelsAtStep(scope, steps)
                trio.lowlevel.add_instrument(instrument)
                try:
                    await m.start()
                    is_through = True
                finally:
                    trio.lowlevel.remove_instrument(instrument)
        if is_through:
            break
    assert is_through, "there is more to a start than was cancelled here"
    assert told(caplog) == []
