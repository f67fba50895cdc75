"""Whoever runs m25 without Trio is told what to do, and not of what is missing inside Trio."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

import m25
import m25.testing
from m25.errors import UsageError


@m25.queue("numbers")
async def numbers(number: int) -> int:
    return number


async def open_client() -> None:
    async with m25.open("host=127.0.0.1 port=1"):
        pass


async def open_testing() -> None:
    async with m25.testing.open():
        pass


DOORS: dict[str, Callable[[], Awaitable[Any]]] = {
    "m25.open": open_client,
    "m25.testing.open": open_testing,
    "m25.testing.run_job": functools.partial(m25.testing.run_job, numbers, 1),
    "m25.until_signal": m25.until_signal,
}


@pytest.mark.parametrize("door", DOORS)
def test_a_program_of_asyncio_is_told(door: str) -> None:
    async def main() -> None:
        await DOORS[door]()

    with pytest.raises(UsageError, match=rf"^{door} was called outside of Trio: .*trio\.run\(main"):
        asyncio.run(main())


@pytest.mark.parametrize("door", DOORS)
def test_a_program_without_any_loop_is_told(door: str) -> None:
    async def main() -> None:
        await DOORS[door]()

    with pytest.raises(UsageError, match=rf"^{door} was called outside of Trio"):
        main().send(None)


async def test_a_thread_that_runs_asyncio_of_its_own_is_told() -> None:
    async with m25.testing.open() as m:
        m.add_queue(numbers)
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "start": m.start,
            "run": m.run,
            "stop": m.stop,
            "enqueue": lambda: m.enqueue(numbers, 1),
            "enqueue_many": lambda: m.enqueue_many(numbers, [1]),
            "get_job": lambda: m.get_job(numbers, m25.JobId.parse("0" * 32)),
            "cancel_job": lambda: m.cancel_job(numbers, m25.JobId.parse("0" * 32)),
        }
        for name, call in calls.items():

            async def main(call: Callable[[], Awaitable[Any]] = call) -> None:
                await call()

            with pytest.raises(UsageError, match=rf"^M25\.{name} .*trio\.from_thread\.run"):
                await trio.to_thread.run_sync(asyncio.run, main())


async def test_a_thread_can_call_by_way_of_trio() -> None:
    async with m25.testing.open() as m:
        await trio.to_thread.run_sync(
            lambda: (trio.from_thread.run_sync(m.add_queue, numbers), trio.from_thread.run(m.start))
        )
