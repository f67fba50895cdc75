"""What is passed for a queue, and is none, is told so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import m25
import m25.testing

ID = "00000000-0000-7000-8000-000000000001"

CALLS: dict[str, Callable[[m25.M25, Any], Awaitable[object]]] = {
    "enqueue": lambda m, queue: m.enqueue(queue, 1),
    "enqueue_many": lambda m, queue: m.enqueue_many(queue, [1]),
    "get_job": lambda m, queue: m.get_job(queue, ID),
    "current": lambda m, queue: m.current(queue, ID),
    "attempts": lambda m, queue: m.attempts(queue, ID),
    "wait": lambda m, queue: m.wait(queue, ID),
    "result": lambda m, queue: m.result(queue, ID),
    "call": lambda m, queue: m.call(queue, 1),
    "change_job": lambda m, queue: m.change_job(queue, ID, priority=1),
    "cancel_job": lambda m, queue: m.cancel_job(queue, ID),
    "run_job": lambda _, queue: m25.testing.run_job(queue, 1),
}


async def handler(number: int) -> int:
    return number


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_names_what_it_was_given(name: str) -> None:
    async with m25.testing.open() as m:
        for value in ("emails", handler, None):
            with pytest.raises(TypeError, match=r"a m25\.Queue is needed, .* not "):
                await CALLS[name](m, value)


async def test_so_do_those_that_are_not_awaited() -> None:
    async with m25.testing.open() as m:
        for call in (m.add_queue, lambda queue: m.progress(queue, ID)):
            with pytest.raises(TypeError, match=r"a m25\.Queue is needed, .* not 'emails'"):
                call("emails")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"a m25\.Queue is needed"):
            m25.testing.jobs(m, None)  # type: ignore[arg-type]


async def test_a_store_in_memory_is_no_address() -> None:
    with pytest.raises(TypeError, match=r"must be a m25\.testing\.MemoryStore or None"):
        async with m25.testing.open("host=x"):  # type: ignore[arg-type]
            pass
