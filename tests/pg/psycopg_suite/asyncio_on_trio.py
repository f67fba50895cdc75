"""What psycopg's tests use of asyncio to drive several tasks, done by Trio.

The tests are about connections; but where one needs a second task, an event or a time limit, it
asks asyncio. These are those few names, with asyncio's meaning: a task runs from its creation, is
owned by nobody, and raises in whoever awaits it.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Generator
from typing import Any

import outcome
import trio

sleep = trio.sleep


class Event:
    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        self._event = trio.Event()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> bool:
        await self._event.wait()
        return True


class Task:
    """A coroutine under way."""

    def __init__(self, coroutine: Awaitable[Any]) -> None:
        self._coroutine = coroutine
        self._outcome: outcome.Outcome[Any] | None = None
        self._ended = trio.Event()
        self._scope = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._run)

    async def _run(self) -> None:
        async def awaited() -> Any:
            return await self._coroutine

        with self._scope:
            self._outcome = await outcome.acapture(awaited)
            if isinstance(self._outcome, outcome.Error) and isinstance(
                self._outcome.error, trio.Cancelled
            ):
                cancelled, self._outcome = self._outcome.error, None
                self._ended.set()
                raise cancelled
        self._ended.set()

    def cancel(self) -> None:
        self._scope.cancel()

    def done(self) -> bool:
        return self._ended.is_set()

    def __await__(self) -> Generator[Any, Any, Any]:
        yield from self._ended.wait().__await__()
        if self._outcome is None:
            raise CancelledError
        return self._outcome.unwrap()


def create_task(coroutine: Awaitable[Any], name: str | None = None) -> Task:
    return coroutine if isinstance(coroutine, Task) else Task(coroutine)


def gather(*awaitables: Awaitable[Any], return_exceptions: bool = False) -> Awaitable[list[Any]]:
    tasks = [create_task(each) for each in awaitables]

    async def gathered() -> list[Any]:
        found = []
        for task in tasks:
            try:
                found.append(await task)
            except Exception as error:
                if not return_exceptions:
                    raise
                found.append(error)
        return found

    return gathered()


async def wait_for(awaitable: Awaitable[Any], timeout: float | None) -> Any:
    if timeout is None:
        return await awaitable
    with trio.move_on_after(timeout):
        return await awaitable
    raise TimeoutError
