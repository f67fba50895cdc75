"""`m25.testing` under a mock clock that jumps: what goes on outside of Trio is waited for."""

from __future__ import annotations

import socket
import sys
import time

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
