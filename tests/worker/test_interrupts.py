"""Ctrl-C in a program that does nothing about it, and cancellation at awkward moments."""

from __future__ import annotations

import signal

import pytest
import trio

import m25
from support.processes import worker
from support.thorough import thorough, tries
from support.waiting import PATIENCE, rows


@m25.queue("sleeps")
async def sleeps(seconds: float) -> None:
    pass


@m25.queue("spins")
async def spins(seconds: float) -> None:
    pass


async def unfinished(dsn: str) -> list[tuple[str, int]]:
    found = await rows(dsn, "select status, attempt from m25.job order by created_at")
    return [(row["status"], row["attempt"]) for row in found]


@pytest.mark.parametrize(
    "queue", [sleeps, pytest.param(spins, marks=pytest.mark.slow)], ids=lambda queue: queue.name
)
async def test_ctrl_c_by_trios_own_means_hands_jobs_back_at_once(
    dsn: str, queue: m25.Queue[float, None, Exception]
) -> None:
    async with m25.open(dsn) as m, worker(dsn, program="plain.py") as running:
        await m.enqueue(queue, 30.0)
        await running.until_printed("begun")
        running.process.send_signal(signal.SIGINT)
        # Handler and grace would go on for longer.
        with trio.fail_after(PATIENCE):
            assert await running.process.wait() == 0
        await running.until_printed("interrupted")
    # Where Ctrl-C comes out of a handler that computes, that attempt is lost with its process.
    assert (await unfinished(dsn))[-1] == ("pending", 1 if queue is sleeps else 2)


@thorough
@pytest.mark.parametrize("checkpoints", range(0, 60, tries(4, 10)))
async def test_cancelled_at_any_moment_a_client_leaves_no_row_claimed(
    dsn: str, checkpoints: int
) -> None:
    """Cancelled so many turns of Trio's after it began to start."""
    started = 0

    @m25.queue("fragile", max_concurrency=3, poll_interval=0.1)
    async def fragile(number: int) -> None:
        nonlocal started
        started += 1
        await trio.sleep_forever()

    async with m25.open(dsn) as m:
        for number in range(4):
            await m.enqueue(fragile, number)
    with trio.CancelScope() as scope:
        async with m25.open(dsn) as m, trio.open_nursery() as nursery:
            m.add_queue(fragile)
            nursery.start_soon(m.start)
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
                # Or nothing from outside would come in between.
                await trio.sleep(0.0005)
            scope.cancel()
    assert await unfinished(dsn) == [("pending", 1)] * 4
    (row,) = await rows(dsn, "select count(claim_token) as claims from m25.job")
    assert row["claims"] == 0


async def test_a_handler_that_stops_its_own_client_is_cancelled_after_the_grace(dsn: str) -> None:
    @m25.queue("suicidal")
    async def suicidal(number: int) -> None:
        await clients[0].stop()
        await trio.sleep_forever()

    clients: list[m25.M25] = []
    async with m25.open(dsn, shutdown_grace=0.2) as m:
        clients.append(m)
        m.add_queue(suicidal)
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                # It returns when it was stopped, and nobody but the handler does that.
                await nursery.start(m.run)
                await m.enqueue(suicidal, 1)
        assert await rows(dsn, "select claim_token, started_at from m25.job") == [
            {"claim_token": None, "started_at": None}
        ]
    assert await unfinished(dsn) == [("pending", 1)]


async def test_a_client_that_is_never_started_just_ends(dsn: str) -> None:
    with trio.fail_after(PATIENCE):
        async with m25.open(dsn) as m:
            m.add_queue(sleeps)


async def test_leaving_while_starting_is_no_error(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(sleeps)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.start)
            await trio.lowlevel.checkpoint()
            await m.stop()
    assert await unfinished(dsn) == []


async def test_stopping_twice_at_once_is_stopping(dsn: str) -> None:
    begun = trio.Event()

    @m25.queue("twice")
    async def twice(number: int) -> int:
        begun.set()
        await trio.sleep(0.1)
        return number

    async with m25.open(dsn) as m:
        m.add_queue(twice)
        await m.start()
        await m.enqueue(twice, 1)
        await begun.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.stop)
            nursery.start_soon(m.stop)
        assert await unfinished(dsn) == [("succeeded", 1)]


async def test_cancelling_a_stop_leaves_the_rest_to_the_end_of_the_block(dsn: str) -> None:
    begun = trio.Event()

    @m25.queue("slow")
    async def slow(number: int) -> int:
        begun.set()
        await trio.sleep(0.3)
        return number

    async with m25.open(dsn) as m:
        m.add_queue(slow)
        await m.start()
        await m.enqueue(slow, 1)
        await begun.wait()
        with trio.move_on_after(0.05):
            await m.stop()
    assert await unfinished(dsn) == [("succeeded", 1)]
