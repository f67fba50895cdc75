"""A handler that stops its own client does not wait for itself."""

from __future__ import annotations

import trio

import m25
import m25.testing
from m25 import JobStatus


async def test_a_handler_that_awaits_stop_finishes_and_then_its_client_stops() -> None:
    async with m25.testing.open(shutdown_grace=600) as m, trio.open_nursery() as nursery:

        @m25.queue("admin")
        async def admin(order: str) -> str:
            await m.stop()
            return order

        m.add_queue(admin)
        await nursery.start(m.run)
        with trio.fail_after(60):
            await m.enqueue(admin, "stop")
            # The nursery of `run` is left once the client has stopped.
            while nursery.child_tasks:  # noqa: ASYNC110
                await trio.sleep(0.01)
        (job,) = m25.testing.jobs(m, admin)
        assert (job.status, job.output) == (JobStatus.SUCCEEDED, "stop")


async def test_a_task_of_a_handler_does_not_wait_either() -> None:
    async with m25.testing.open(shutdown_grace=600) as m:

        @m25.queue("admin")
        async def admin(order: str) -> str:
            async with trio.open_nursery() as tasks:
                tasks.start_soon(m.stop)
            return order

        m.add_queue(admin)
        await m.start()
        with trio.fail_after(60):
            await m.enqueue(admin, "stop")
            await m25.testing.drain(m)
        (job,) = m25.testing.jobs(m, admin)
        assert job.status is JobStatus.SUCCEEDED


async def test_a_handler_that_stops_another_client_waits_for_that() -> None:
    async with m25.testing.open() as m, m25.testing.open() as other:
        begun = trio.Event()
        finished = False

        @m25.queue("slow")
        async def slow(_: int) -> None:
            nonlocal finished
            begun.set()
            await trio.sleep(0.2)
            finished = True

        @m25.queue("admin")
        async def admin(_: int) -> bool:
            await other.stop()
            return finished

        other.add_queue(slow)
        m.add_queue(admin)
        await other.start()
        await m.start()
        await other.enqueue(slow, 1)
        await begun.wait()
        await m.enqueue(admin, 1)
        await m25.testing.drain(m)
        (job,) = m25.testing.jobs(m, admin)
        assert job.output is True
