"""Batches of many jobs are bounded in rows and in size, and leave the loop to others."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import trio

import m25
from m25._enqueue.batches import make_batches
from m25._store.protocol import NewJob
from support.waiting import rows


@m25.queue("texts")
async def texts(text: str) -> None:
    pass


def new_job(text: str) -> NewJob:
    zero = timedelta(0)
    return NewJob(str(uuid4()), "texts", None, text, zero, 1, zero, None, 0, None)


async def sizes(*lengths: int) -> list[int]:
    """How many jobs each batch has that is made of texts of these lengths."""
    send, receive = trio.open_memory_channel[list[NewJob]](1_000)
    await make_batches(["x" * length for length in lengths], new_job, send)
    return [len(batch) async for batch in receive]


async def test_batches_are_bounded_in_rows_and_in_size() -> None:
    assert await sizes() == []
    assert await sizes(*[1] * 450) == [200, 200, 50]
    assert await sizes(200_000, 200_000, 200_000, 900_000, 1, 1) == [2, 1, 1, 2]


async def test_others_have_turns_while_jobs_are_made() -> None:
    turns = 0

    def slow(text: str) -> NewJob:
        time.sleep(0.0005)
        return new_job(text)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    send, _receive = trio.open_memory_channel[list[NewJob]](1_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await make_batches(["x"] * 100, slow, send)
        nursery.cancel_scope.cancel()
    assert turns >= 30


@pytest.mark.parametrize("refused", ["at once", "by the database"])
async def test_a_generator_is_closed_after_a_refusal(dsn: str, refused: str) -> None:
    closed = trio.Event()

    async def source() -> AsyncIterator[str]:
        try:
            for number in range(1_000):
                yield str(number)
            yield b"no text" if refused == "at once" else "held"  # type: ignore[misc]
            await trio.sleep_forever()
        finally:
            closed.set()

    if refused == "by the database":
        await rows(dsn, """alter table m25.job add check (input <> '"5"')""")
    async with m25.open(dsn) as m:
        with pytest.raises((m25.ValueRefused, m25.EnqueueError)):
            await m.enqueue_many(texts, source())
        assert closed.is_set()
    assert await rows(dsn, "select 1 from m25.job") == []


async def test_large_inputs_that_are_enqueued_at_once_are_all_taken(dsn: str) -> None:
    async with m25.open(dsn) as m, trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(m.enqueue, texts, str(number) * 500_000)
    assert len(await rows(dsn, "select 1 from m25.job")) == 30


def memory() -> float:
    """What this process has in memory, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


class Steps(trio.abc.Instrument):
    """The longest that a task has had the loop, and the most memory that was in use."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.most_memory = 0.0
        self._began = time.thread_time()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.longest = max(self.longest, time.thread_time() - self._began)
        self.most_memory = max(self.most_memory, memory())


@pytest.mark.slow
async def test_five_hundred_inputs_of_a_megabyte_take_little_memory_and_never_the_loop(
    dsn: str,
) -> None:
    jobs = [f"{number:03}" + "x" * 1_048_000 for number in range(500)]
    async with m25.open(dsn) as m:
        await m.enqueue(texts, "warm")
        steps = Steps()
        before = memory()
        trio.lowlevel.add_instrument(steps)
        await m.enqueue_many(texts, jobs)
        trio.lowlevel.remove_instrument(steps)
    print(f"+{(steps.most_memory - before) / 1e6:.0f} MB, {steps.longest * 1e3:.1f} ms")
    assert steps.most_memory - before < 200e6
    assert steps.longest < 0.05
    assert len(await rows(dsn, "select 1 from m25.job")) == 501
