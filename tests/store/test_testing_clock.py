"""`m25.testing` under a mock clock that jumps: what goes on outside of Trio is waited for."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import FailureReason


@m25.queue("waits for a thread", default_job_timeout=3)
async def waits_for_a_thread(_: None) -> str:
    await trio.to_thread.run_sync(time.sleep, 0.05)
    await trio.sleep(1)
    return "done"


@m25.queue("waits for a process", default_job_timeout=3)
async def waits_for_a_process(_: None) -> str:
    program = [sys.executable, "-c", "import time; time.sleep(0.05)"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.run_process, program)
    return "done"


@m25.queue("waits for a socket", default_job_timeout=3)
async def waits_for_a_socket(_: None) -> str:
    theirs, ours = socket.socketpair()
    with ours:
        program = [sys.executable, "-c", "import os; os.write(0, b'done')"]
        process = await trio.lowlevel.open_process(program, stdin=theirs)
        theirs.close()
        with trio.socket.from_stdlib_socket(ours.dup()) as reads:
            said = (await reads.recv(4)).decode()
        await process.wait()
        return said


@pytest.mark.parametrize(
    "queue",
    [waits_for_a_thread, waits_for_a_process, waits_for_a_socket],
    ids=lambda queue: queue.name,
)
async def test_a_handler_does_not_time_out_while_it_waits_outside_of_trio(
    autojump_clock: trio.testing.MockClock, queue: m25.Queue[None, str, Exception]
) -> None:
    job = await m25.testing.run_job(queue, None)
    assert job.output == "done"
    async with m25.testing.open() as m:
        m.add_queue(queue)
        await m.start()
        await m.enqueue(queue, m25.Job(None).schedule(job.created_at))
        await m25.testing.drain(m)
        (job,) = m25.testing.jobs(m, queue)
    assert job.output == "done"


async def test_the_clock_still_jumps_to_a_deadline_that_nothing_outside_keeps(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("sleeps after a thread", default_job_timeout=100)
    async def sleeps(_: None) -> None:
        await trio.to_thread.run_sync(time.sleep, 0.01)
        await trio.sleep_forever()

    began = trio.current_time()
    job = await m25.testing.run_job(sleeps, None)
    assert job.failure_reason is FailureReason.JOB_TIMEOUT
    assert trio.current_time() - began == pytest.approx(100)
    await trio.sleep(1_000)


@m25.queue("runs in processes", runs="process")
def runs_in_processes(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@m25.queue("sleeps for minutes")
async def sleeps_for_minutes(minutes: int) -> None:
    await trio.sleep(minutes * 60)


async def test_the_clock_jumps_on_once_handlers_in_processes_have_returned(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The processes stay, for the next calls; one of them was started for the second job."""
    with really_within(110):
        async with m25.testing.open() as m:
            m.add_queue(runs_in_processes)
            m.add_queue(sleeps_for_minutes)
            await m.start()
            short = [await m.enqueue(runs_in_processes, 0.05) for _ in range(2)]
            long = await m.enqueue(sleeps_for_minutes, 1)
            for job in short:
                assert (await m.wait(runs_in_processes, job.id)).output == 0.05
            assert trio.current_time() < 1
            await m.wait(sleeps_for_minutes, long.id)
            assert trio.current_time() >= 60


@asynccontextmanager
async def in_the_background() -> AsyncGenerator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


async def test_the_clock_jumps_on_where_a_handler_has_left_a_connection_open(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """As a client's pool does, whose tasks read on behind the handlers."""
    theirs, ours = socket.socketpair()

    async def read_on() -> None:
        with trio.socket.from_stdlib_socket(ours) as reads:
            await reads.recv(1)

    @m25.queue("opens connections", lifespan=in_the_background)
    async def opens_connections(_: None, *, shared: trio.Nursery) -> None:
        shared.start_soon(read_on)
        await trio.sleep(60)

    with theirs, really_within(110):
        async with m25.testing.open() as m:
            m.add_queue(opens_connections)
            await m.start()
            await m.call(opens_connections, None)
            await trio.sleep(60)


@contextmanager
def really_within(seconds: float) -> Generator[None]:
    """Raise `TooSlowError` after so many seconds that no mock clock knows."""
    token = trio.lowlevel.current_trio_token()
    with trio.CancelScope() as scope:
        timer = threading.Timer(seconds, lambda: token.run_sync_soon(scope.cancel))
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
    if scope.cancelled_caught:
        raise trio.TooSlowError


async def test_two_clients_hold_the_clock_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with m25.testing.open() as one, m25.testing.open() as other:
        for m in (one, other):
            m.add_queue(waits_for_a_thread)
            await m.start()
            await m.enqueue(waits_for_a_thread, None)
        for m in (one, other):
            await m25.testing.drain(m)
            (job,) = m25.testing.jobs(m, waits_for_a_thread)
            assert job.output == "done"
    assert autojump_clock.autojump_threshold == 0
