"""Every time that Trio's loop stands still while jobs run is told, once, and for how long."""

from __future__ import annotations

import logging
import time

import pytest
import trio
import trio.testing

import m25
import m25.testing


def stalls(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [each for each in caplog.records if getattr(each, "m25_event", "") == "LoopStalled"]


class Clock:
    """The clock by which the watch finds out how long the loop stood still; it stands by itself."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock) -> Clock:
    """How long the machine takes is no matter: neither to the watch nor to those who sleep."""
    clock = Clock()
    monkeypatch.setattr("m25._loop_watch.perf_counter", clock)
    return clock


def blocking(clock: Clock) -> m25.Queue[list[float], None, Exception]:
    """A queue whose handlers block for so many seconds, again and again."""

    @m25.queue("blocks")
    async def blocks(lengths: list[float]) -> None:
        for seconds in lengths:
            # At any point of any timer.
            await trio.sleep(0.13 * seconds)
            clock.now += seconds
            await trio.lowlevel.checkpoint()

    return blocks


@m25.queue("waits")
async def waits(seconds: float) -> None:
    await trio.sleep(seconds)


async def test_each_time_is_told_once_with_its_length(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    lengths = [1.2, 0.1, 1.1, 1.0]
    blocks = blocking(clock)
    async with m25.testing.open() as m:
        m.add_queue(blocks)
        await m.start()
        await m.enqueue(blocks, lengths)
        await m25.testing.drain(m)
    told = [each.m25_seconds for each in stalls(caplog)]
    assert told == pytest.approx([1.2, 1.1])


async def test_it_goes_by_the_machines_clock(caplog: pytest.LogCaptureFixture) -> None:
    @m25.queue("blocks")
    async def blocks(seconds: float) -> None:
        await trio.sleep(0.01)
        time.sleep(seconds)  # noqa: ASYNC251 - that is what it is about

    async with m25.testing.open() as m:
        m.add_queue(blocks)
        await m.start()
        await m.enqueue(blocks, 1.1)
        await m25.testing.drain(m)
    # A machine that is busy adds to that, and nothing takes from it.
    assert max(each.m25_seconds for each in stalls(caplog)) >= 1.1


async def test_jobs_of_all_queues_are_named_that_ran_as_it_began(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    blocks = blocking(clock)
    async with m25.testing.open() as m:
        m.add_queue(blocks)
        m.add_queue(waits)
        await m.start()
        over = await m.enqueue(waits, 0.01)
        await m25.testing.drain(m)
        long = await m.enqueue(waits, 3)
        await trio.sleep(0.1)
        # Ends with the block, as does what blocks at once when it begins.
        job = await m.enqueue(blocks, [1.2])
        await trio.sleep(1.3)
        after = await m.enqueue(waits, 0.01)
        await m25.testing.drain(m)
    (told,) = stalls(caplog)
    assert set(told.m25_job_ids) == {str(long.id), str(job.id)}
    assert {str(over.id), str(after.id)}.isdisjoint(told.m25_job_ids)
    assert told.m25_queues == ("blocks", "waits")
    assert "while queue 'blocks' and 'waits' ran jobs " in told.getMessage()


async def test_nothing_is_told_where_no_job_runs(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    async with m25.testing.open() as m:
        m.add_queue(waits)
        await m.start()
        clock.now += 1.2
        await trio.sleep(0.1)
        await m.enqueue(waits, 0)
        await m25.testing.drain(m)
    assert stalls(caplog) == []


def test_it_wakes_nobody_while_jobs_run() -> None:
    passes = 0

    class Counter(trio.abc.Instrument):
        def after_io_wait(self, timeout: float) -> None:
            nonlocal passes
            passes += 1

    async def main() -> None:
        nonlocal passes
        async with m25.testing.open() as m:
            m.add_queue(waits)
            await m.start()
            await m.enqueue(waits, 1.5)
            await trio.sleep(0.3)
            passes = 0
            await trio.sleep(1)
            assert passes <= 10
            await m25.testing.drain(m)

    trio.run(main, instruments=[Counter()], clock=trio.testing.MockClock(autojump_threshold=0))
