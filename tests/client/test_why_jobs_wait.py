"""Whoever looks at a pending job is told what it waits for, on both stores."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

import pytest
import trio

import m25
import m25.testing
from support.waiting import eventually

Opening: TypeAlias = Callable[[], AbstractAsyncContextManager[m25.M25]]


@pytest.fixture(params=["memory", "postgres"])
def opening(request: pytest.FixtureRequest) -> Opening:
    """Opens a client on each store."""
    if request.param == "memory":
        return partial(m25.testing.open, shutdown_grace=0)
    dsn: str = request.getfixturevalue("dsn")

    @asynccontextmanager
    async def on_postgres() -> AsyncGenerator[m25.M25]:
        async with m25.open(dsn, shutdown_grace=0) as m:
            yield m

    return on_postgres


def blocks(name: str, **options: Any) -> m25.Queue[Any, Any, Any]:
    """A queue whose handlers run until they are cancelled; but "fails" fails."""

    async def handle(mail: dict[str, str]) -> None:
        if "fails" in mail:
            raise ValueError
        if "asks" in mail:
            await m25.current_job().receive("answer", str)
        await trio.sleep_forever()

    return m25.Queue(name, handler_function=handle, poll_interval=0.05, **options)


async def come_to_wait(m: m25.M25, id: m25.JobId, text: str) -> None:
    """A job comes to wait for this, and for nothing else."""
    seen: list[str] = []

    async def waits() -> bool:
        details = await m.job_details(id)
        assert details is not None
        seen[:] = details.waits_for
        return len(seen) == 1 and re.fullmatch(text, seen[0]) is not None

    try:
        await eventually(waits)
    except trio.TooSlowError:
        pytest.fail(f"it waits for {seen}, not for {text!r}")


async def test_a_job_waits_for_room_under_a_limit_and_the_key_is_named(opening: Opening) -> None:
    async with opening() as m:
        queue = blocks("mails", limit=m25.Limit(1, key="to"))
        m.add_queue(queue)
        await m.start()
        await m.enqueue_many(queue, [{"to": "ada"}, {"to": "bob"}])
        job = await m.enqueue(queue, {"to": "ada"})
        await come_to_wait(
            m, job.id, r"room under limit 'mails': of key 'ada' 1 runs, as many as may"
        )


async def test_a_job_waits_for_a_place_that_is_held_outside_of_jobs(opening: Opening) -> None:
    async with opening() as m:
        queue = blocks("mails", limit=m25.Limit(1, name="relay"))
        m.add_queue(queue)
        await m.start()
        async with m.limiter("relay"):
            job = await m.enqueue(queue, {})
            held = "0 run and 1 held outside of jobs"
            await come_to_wait(m, job.id, rf"room under limit 'relay': {held}, as many as may")


async def test_a_job_waits_for_room_under_a_limit_of_all(opening: Opening) -> None:
    async with opening() as m:
        queue = blocks("mails", limit=m25.Limit(1, name="relay"))
        m.add_queue(queue)
        await m.start()
        await m.enqueue(queue, {})
        job = await m.enqueue(queue, {})
        await come_to_wait(m, job.id, r"room under limit 'relay': 1 runs, as many as may")


async def test_a_job_waits_for_its_turn_by_a_rate(opening: Opening) -> None:
    async with opening() as m:
        queue = blocks("mails", rate=m25.Rate(1, per=3600))
        by_key = blocks("letters", rate=m25.Rate(1, per=3600, key="to"))
        m.add_queue(queue)
        m.add_queue(by_key)
        await m.start()
        for each in (queue, by_key):
            await m.enqueue_many(each, [{"to": "ada"}] * 2)
        job = await m.enqueue(queue, {"to": "ada"})
        turn = r": none begins before \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
        await come_to_wait(m, job.id, "a turn by rate 'mails'" + turn)
        job = await m.enqueue(by_key, {"to": "ada"})
        await come_to_wait(m, job.id, "a turn of key 'ada' by rate 'letters'" + turn)


async def test_a_job_waits_for_those_before_it_in_its_order(opening: Opening) -> None:
    async with opening() as m:
        queue = blocks("mails", ordered_by="to")
        m.add_queue(queue)
        await m.start()
        first = await m.enqueue(queue, {"to": "ada"})
        job = await m.enqueue(queue, {"to": "ada"})
        await come_to_wait(m, job.id, f"job {first.id}, which comes before it of key 'ada'")
        broken = await m.enqueue(queue, {"to": "bob", "fails": ""})
        job = await m.enqueue(queue, {"to": "bob"})
        await come_to_wait(
            m,
            job.id,
            f"job {broken.id} of key 'bob', which has failed for good, to be retried, skipped or"
            " deleted",
        )


async def test_a_job_waits_for_what_its_handler_has_asked_for(opening: Opening) -> None:
    async with opening() as m:
        queue = blocks("mails")
        m.add_queue(queue)
        await m.start()
        job = await m.enqueue(queue, {"asks": ""})
        await come_to_wait(m, job.id, "a message 'answer'")


async def test_a_job_waits_for_the_one_after_which_it_is_to_run(opening: Opening) -> None:
    async with opening() as m:
        queue = blocks("mails")
        m.add_queue(queue)
        await m.start()
        unique = m25.Unique("k", then="rerun_after")
        first = await m.enqueue(queue, m25.Job({}, unique=unique))
        current = first

        async def runs() -> bool:
            return (await m.current(queue, current.id)).status is m25.JobStatus.EXECUTING

        await eventually(runs)
        job = await m.enqueue(queue, m25.Job({}, unique=unique))
        await come_to_wait(m, job.id, f"the end of job {first.id}, which it follows")


async def test_a_job_waits_for_a_pause_for_workers_for_slots_and_for_its_time(
    opening: Opening,
) -> None:
    async with opening() as m:
        queue = blocks("mails", max_concurrency=1)
        unserved = m25.declare("mailz", input=int, output=None)
        m.add_queue(queue)
        await m.start()
        await m.enqueue(queue, {})
        job = await m.enqueue(queue, {})
        await come_to_wait(m, job.id, "a slot: 1 worker serves the queue")
        nobody = await m.enqueue(unserved, 1)
        await come_to_wait(m, nobody.id, "a worker: none serves queue 'mailz'")
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        later = await m.enqueue(queue, m25.Job({}, scheduled_at=tomorrow))
        await come_to_wait(m, later.id, f"its time, {tomorrow:%Y-%m-%d %H:%M:%S} UTC")
        await m.pause(queue, reason="the relay bounces")
        await come_to_wait(m, job.id, "its queue to be resumed, which is paused: the relay bounces")


async def test_a_job_that_runs_or_has_ended_waits_for_nothing(opening: Opening) -> None:
    async with opening() as m:
        queue = blocks("mails")
        m.add_queue(queue)
        await m.start()
        job = await m.enqueue(queue, {"fails": ""})
        await m.wait(queue, job.id)
        details = await m.job_details(job.id)
        assert details is not None
        assert list(details.waits_for) == []
