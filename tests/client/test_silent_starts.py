"""A client that runs nothing says so."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import m25
import m25.testing
from support.told import said, told


@m25.queue("numbers")
async def numbers(number: int) -> int:
    return number


@m25.queue("letters")
async def letters(letter: str) -> None: ...


def texts(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in said(caplog)]


async def test_a_start_without_a_queue_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with m25.testing.open() as m:
        await m.start()
        assert told(caplog) == ["NothingToRun"]
    assert texts(caplog) == [
        "started without a queue, so nothing will run: add_queue comes before start"
    ]


async def test_queues_that_were_never_started_are_told_once_the_block_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with m25.testing.open() as m:
        m.add_queue(numbers)
        m.add_queue(letters)
        await m.enqueue(numbers, 1)
        assert told(caplog) == []
    assert texts(caplog) == [
        "client was not started and runs no jobs, though it was given queues 'numbers', 'letters'"
    ]


async def test_whoever_waits_for_a_job_of_a_queue_not_started_is_told_soon_and_once(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    async with m25.testing.open() as m:
        m.add_queue(numbers)
        await trio.sleep(60)
        assert told(caplog) == []
        await m.enqueue_many(numbers, [1, 2])
        await trio.sleep(9)
        assert told(caplog) == []
        await trio.sleep(2)
        assert told(caplog) == ["NeverStarted"]
        await m.enqueue(numbers, 3)
        await trio.sleep(60)
    assert told(caplog) == ["NeverStarted"]


async def test_it_is_told_where_somebody_gave_up_waiting(caplog: pytest.LogCaptureFixture) -> None:
    with trio.CancelScope() as scope:
        async with m25.testing.open() as m:
            m.add_queue(numbers)
            scope.cancel()
            await trio.sleep_forever()
    assert told(caplog) == ["NeverStarted"]


async def test_nothing_is_told_of_what_is_in_order(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    async with m25.testing.open() as m:
        m.add_queue(numbers)
        await m.enqueue(numbers, 1)
        await trio.sleep(5)
        await m.start()
        await trio.sleep(20)
    async with m25.testing.open() as m:
        await m.enqueue(numbers, 1)
        await trio.sleep(20)
    with pytest.raises(ZeroDivisionError):
        async with m25.testing.open() as m:
            m.add_queue(numbers)
            1 / 0  # noqa: B018
    assert told(caplog) == []
