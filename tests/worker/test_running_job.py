"""`current_job()`: what a handler sees of its job, and of the client that runs it."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio

import m25
import m25.testing
from support.waiting import chain


async def test_the_id_of_the_job_is_the_same_for_all_its_attempts(dsn: str) -> None:
    seen: list[tuple[m25.JobId, m25.JobId, int]] = []
    last = trio.Event()

    @m25.queue("flaky")
    async def flaky(number: int) -> None:
        job = m25.current_job()
        seen.append((job.job_id, job.id, job.attempt))
        if job.attempt < 3:
            raise ValueError
        last.set()

    async with m25.open(dsn) as m:
        m.add_queue(flaky)
        await m.start()
        record = await m.enqueue(flaky, m25.Job(1, max_attempts=3))
        await last.wait()
    attempts = await chain(dsn, record.id)
    assert [job_id for job_id, _, _ in seen] == [record.id] * 3
    assert [id for _, id, _ in seen] == [row["id"] for row in attempts]
    assert [attempt for _, _, attempt in seen] == [1, 2, 3]


async def test_a_handler_has_the_client_that_runs_it() -> None:
    @m25.queue("second")
    async def second(number: int) -> int:
        return number

    @m25.queue("first")
    async def first(number: int) -> None:
        await m25.current_job().m.enqueue(second, number + 1)

    async with m25.testing.open() as m:
        m.add_queue(first)
        m.add_queue(second)
        await m.start()
        await m.enqueue(first, 1)
        await m25.testing.drain(m)
        (job,) = m25.testing.jobs(m, second)
    assert job.output == 2


async def test_a_handler_can_end_early_once_its_queues_begin_to_stop() -> None:
    began = trio.Event()

    @m25.queue("patient")
    async def patient(_: None) -> str:
        began.set()
        await m25.current_job().stopping.wait()
        return "ended early"

    async with m25.testing.open() as m:
        m.add_queue(patient)
        await m.start()
        await m.enqueue(patient, None)
        await began.wait()
        await m.stop()
        (job,) = m25.testing.jobs(m, patient)
    assert job.output == "ended early"


async def test_queues_that_run_do_not_stop() -> None:
    stopping: list[bool] = []

    @m25.queue("looks")
    async def looks(_: None) -> None:
        stopping.append(m25.current_job().stopping.is_set())

    async with m25.testing.open() as m:
        m.add_queue(looks)
        for _ in range(2):
            await m.start()
            await m.enqueue(looks, None)
            await m25.testing.drain(m)
            await m.stop()
    assert stopping == [False, False]


async def test_the_record_is_that_of_the_moment_the_handler_started() -> None:
    statuses: list[tuple[m25.JobStatus, bool]] = []

    def look() -> None:
        job = m25.current_job()
        statuses.append((job.status, job.deadline is not None))

    @asynccontextmanager
    async def resource():
        look()
        yield

    @m25.queue("looks", setup=resource)
    async def looks(_: None, resource: None) -> None:
        look()
        assert m25.current_job() is m25.current_job()

    await m25.testing.run_job(looks, None)
    assert statuses == [(m25.JobStatus.RESERVED, False), (m25.JobStatus.EXECUTING, True)]
