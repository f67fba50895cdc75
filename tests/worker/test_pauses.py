"""Queues that somebody pauses, and resumes, while processes run them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal

import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import errors
from m25._store.protocol import Hinted
from support.told import lines, told
from support.waiting import ended


@m25.queue("letters", poll_interval=60)
async def letters(seconds: float) -> float:
    await trio.sleep(seconds)
    return seconds


@m25.queue("parcels", poll_interval=60)
async def parcels(seconds: float) -> float:
    return seconds


class Deaf(m25.testing.MemoryStore):
    """A store whose notifications never come, as behind a transaction pooler."""

    @asynccontextmanager
    async def listen(
        self, queue_names: Sequence[str], heard: Callable[[Hinted | None], None]
    ) -> AsyncGenerator[None]:
        await trio.lowlevel.checkpoint()
        heard(None)
        yield


@pytest.mark.parametrize("kind", [m25.testing.MemoryStore, Deaf])
async def test_a_pause_holds_in_every_process_and_is_over_within_a_second(
    kind: type[m25.testing.MemoryStore],
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = kind()
    async with m25.testing.open(store) as m, m25.testing.open(store) as other:
        for worker in (m, other):
            worker.add_queue(letters)
            worker.add_queue(parcels)
            await worker.start()
        running = await m.enqueue(letters, 100)
        await trio.testing.wait_all_tasks_blocked()
        await m.pause(letters, reason="the press is stuck")
        waiting = await m.enqueue(letters, 0)
        await trio.sleep(300)
        # What ran goes on, and the other queue, too.
        assert (await m.get_job(letters, running.id)).status is m25.JobStatus.SUCCEEDED
        assert (await m.get_job(letters, waiting.id)).status is m25.JobStatus.PENDING
        assert await m.call(parcels, 1) == 1
        (paused, free) = await other.queues()
        assert (paused.name, paused.pause_reason) == ("letters", "the press is stuck")
        assert paused.paused_at is not None
        assert free.paused_at is None
        assert told(caplog) == ["QueuePaused"] * 2
        assert lines(caplog, "QueuePaused")[0].message == (
            "queue 'letters' is paused, because 'the press is stuck': none of its jobs begins"
        )
        await m.resume("letters")
        with trio.fail_after(1):
            await m.wait(letters, waiting.id)
        await trio.sleep(1)
        assert Counter(told(caplog)) == {"QueuePaused": 2, "QueueResumed": 2}


async def test_a_queue_that_starts_paused_says_so_and_is_asked_about_once_a_second(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Counter[str]()

    async def count(call: str, when: Literal["before", "after"]) -> None:
        if when == "before":
            calls[call] += 1

    store = m25.testing.MemoryStore(fault=count)
    async with m25.testing.open(store) as m:
        await m.pause("letters")
        await m.enqueue(letters, 0)
        m.add_queue(letters)
        await m.start()
        await trio.sleep(1)
        assert told(caplog) == ["QueuePaused"]
        calls.clear()
        await trio.sleep(100)
        assert calls["claim"] == 0
        assert 100 <= calls["survey"] <= 160
        await m.resume(letters)
        await trio.sleep(1)
        calls.clear()
        await trio.sleep(100)
        assert calls["survey"] <= 3


async def test_pauses_of_no_queue_are_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with m25.testing.open() as m:
        with pytest.raises(errors.InvalidQueue, match="empty"):
            await m.pause("")
        with pytest.raises(TypeError, match="name of one"):
            await m.resume(1)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="reason"):
            await m.pause("letters", reason="x" * 2_000)
        await m.resume("never heard of")
        assert await m.queues() == []


async def test_a_pause_outlasts_the_processes_and_is_heard_at_once(dsn: str) -> None:
    async with m25.open(dsn) as m:
        await m.pause(letters)
    async with m25.open(dsn) as m, m25.open(dsn) as other:
        m.add_queue(letters)
        await m.start()
        job = await other.enqueue(letters, 0)
        assert (await m.queues())[0].paused_at is not None
        await other.resume(letters)
        # At the next poll it would be a minute.
        record = await ended(m, letters, job.id)
        assert record.status is m25.JobStatus.SUCCEEDED
        assert record.started_at is not None
