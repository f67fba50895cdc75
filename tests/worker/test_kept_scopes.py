"""Jobs that a task runs one after the other share its cancel scope; no more of one is left over."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing

import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25._running_job import current_attempt
from m25._worker.executor import Executor
from m25._worker.kept_scope import KeptScope


async def test_a_scope_is_kept_from_job_to_job(autojump_clock: trio.testing.MockClock) -> None:
    scopes = set[trio.CancelScope]()
    with closing(KeptScope()) as kept:
        for seconds in (5.0, 2.0, math.inf, 7.0):
            with kept.until(trio.current_time() + seconds) as scope:
                scopes.add(scope)
                assert trio.current_effective_deadline() == trio.current_time() + seconds
                await trio.sleep(0.5)
    assert len(scopes) == 1
    assert trio.current_effective_deadline() == math.inf


@pytest.mark.parametrize(
    "cancel",
    [
        trio.CancelScope.cancel,
        lambda scope: setattr(scope, "deadline", trio.current_time() - 1),
    ],
    ids=["cancelled", "late"],
)
@pytest.mark.parametrize("feels_it", [True, False], ids=["feels it", "ends before it feels it"])
async def test_a_scope_that_was_cancelled_ends_with_its_job(
    cancel: Callable[[trio.CancelScope], None], feels_it: bool
) -> None:
    with closing(KeptScope()) as kept:
        with kept.until(math.inf) as scope:
            cancel(scope)
            if feels_it:
                await trio.sleep_forever()
        assert kept.scope is None
        assert scope.cancel_called
        assert scope.cancelled_caught == feels_it
        with kept.until(math.inf) as following:
            await trio.lowlevel.checkpoint()
        assert kept.scope is following
        assert not following.cancel_called


async def test_a_scope_that_a_job_leaves_open_is_its_own_failure() -> None:
    left_open = trio.CancelScope()
    with closing(KeptScope()) as kept:
        with pytest.raises(RuntimeError, match="Cancel scope stack corrupted"):
            with kept.until(math.inf):
                left_open.__enter__()
        left_open.cancel()
        with kept.until(math.inf):
            await trio.lowlevel.checkpoint()


async def test_where_trio_does_not_tell_scopes_apart_none_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("m25._worker.kept_scope._PLACE", "a name that no task has")
    with closing(KeptScope()) as kept:
        with kept.until(math.inf) as scope:
            await trio.lowlevel.checkpoint()
        with kept.until(math.inf) as following:
            await trio.lowlevel.checkpoint()
    assert following is not scope


async def test_a_job_that_has_ended_cancels_none_that_follows() -> None:
    tasks = list[trio.lowlevel.Task]()
    attempts = list[object]()

    @m25.queue("fenced", max_concurrency=2)
    async def fenced(number: int) -> int:
        tasks.append(trio.lowlevel.current_task())
        attempts.append(current_attempt.get())
        if number == 1:
            assert isinstance(attempts[0], Executor)
            attempts[0].fence()
            await trio.lowlevel.checkpoint()
        return number

    async with m25.testing.open() as m:
        m.add_queue(fenced)
        jobs = [(await m.enqueue(fenced, number)).id for number in range(2)]
        await m.start()
        await m25.testing.drain(m)
        assert [(await m.get_job(fenced, id)).output for id in jobs] == [0, 1]
    assert tasks[0] is tasks[1]


async def test_each_job_has_a_deadline_of_its_own_and_its_own_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Of jobs in one task, every other one is late."""
    ran = list[tuple[int, float]]()

    @m25.queue("slow", max_concurrency=1)
    async def slow(seconds: int) -> None:
        began = trio.current_time()
        try:
            await trio.sleep(seconds)
        finally:
            ran.append((seconds, trio.current_time() - began))

    async with m25.testing.open() as m:
        m.add_queue(slow)
        await m.enqueue_many(
            slow, (m25.Job(seconds, timeout=5, max_attempts=1) for seconds in (1, 9, 2, 9, 3))
        )
        await m.start()
        await m25.testing.drain(m)
    assert ran == [(1, 1), (9, 5), (2, 2), (9, 5), (3, 3)]


@asynccontextmanager
async def nothing() -> AsyncGenerator[None]:
    yield


@pytest.mark.parametrize("with_setup", [False, True], ids=["alone", "with setup"])
async def test_a_handler_that_returns_late_and_never_noticed_has_timed_out(
    autojump_clock: trio.testing.MockClock, with_setup: bool
) -> None:
    async def work(seconds: int, *_: None) -> None:
        autojump_clock.jump(seconds)

    queue = m25.queue("blocking", max_concurrency=1, setup=nothing if with_setup else None)(work)
    jobs = [m25.Job(seconds, timeout=5, max_attempts=1) for seconds in (1, 9, 1)]
    async with m25.testing.open() as m:
        m.add_queue(queue)
        ids = [(await m.enqueue(queue, job)).id for job in jobs]
        await m.start()
        await m25.testing.drain(m)
        reasons = [(await m.get_job(queue, id)).failure_reason for id in ids]
    assert reasons == [None, m25.FailureReason.JOB_TIMEOUT, None]
