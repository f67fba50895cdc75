"""Jobs that wait on a queue which no worker serves are told, by the workers of other queues."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
import trio.testing

import m25
import m25.testing
from support.told import told


@m25.queue("letters", poll_interval=60)
async def letters(number: int) -> None: ...


@m25.queue("leters")
async def misspelt(number: int) -> None: ...


@m25.queue("reports")
async def reports(number: int) -> None: ...


async def test_a_misspelt_queue_is_told_within_two_minutes_and_then_ever_more_seldom(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with m25.testing.open() as m:
        m.add_queue(letters)
        await m.start()
        await m.enqueue(misspelt, 1)
        await m.enqueue(letters, 1)
        await trio.sleep(60)
        assert told(caplog) == []
        await trio.sleep(60)
        (message,) = caplog.messages
        assert message == (
            "no live worker serves queue 'leters', whose jobs have waited for 105 s; "
            "1 worker is live, and serves others"
        )
        await trio.sleep(8 * 3_600)
        assert set(told(caplog)) == {"QueueUnserved"}
        assert 4 < len(told(caplog)) < 8


async def test_nothing_is_told_of_a_queue_that_another_process_serves_however_long_its_jobs_wait(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    busy = m25.queue("busy", max_concurrency=1)(sleeps)
    store = m25.testing.MemoryStore()
    async with m25.testing.open(store, shutdown_grace=0) as m, m25.testing.open(store) as other:
        m.add_queue(busy)
        await m.start()
        other.add_queue(letters)
        await other.start()
        await m.enqueue_many(busy, [m25.Job(900.0, timeout=1_000) for _ in range(3)])
        # What is due later does not wait.
        later = store.now() + timedelta(days=1)
        await m.enqueue(reports, m25.Job(1, scheduled_at=later))
        await trio.sleep(2_000)
        assert told(caplog) == []


async def sleeps(seconds: float) -> None:
    await trio.sleep(seconds)


async def test_a_queue_whose_workers_were_replaced_meanwhile_is_not_told(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = m25.testing.MemoryStore()
    async with m25.testing.open(store) as m:
        m.add_queue(letters)
        await m.start()
        await m.enqueue(reports, 1)
        # The first look has found it, and the second does not.
        await trio.sleep(70)
        async with m25.testing.open(store) as other:
            other.add_queue(reports)
            await other.start()
            await trio.sleep(600)
        assert told(caplog) == []
        # Its worker has gone now.
        await m.enqueue(reports, 1)
        await trio.sleep(400)
    assert told(caplog) == ["QueueUnserved"]
