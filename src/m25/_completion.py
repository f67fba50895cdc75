"""Ends of calls that a cancellation must not cut off: what is known afterwards has to be true."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from ._groups import unwrapped

T = TypeVar("T")


async def complete(call: Callable[[], Awaitable[T]], timeout: float) -> T:
    """Run a call to its end, also where its task is cancelled: then for `timeout` seconds at most.

    The cancellation comes at the caller's next checkpoint.

    Raises:
        trio.TooSlowError: it was cancelled, and did not end in time.
    """
    scope = trio.CancelScope(shield=True)
    answers: list[T] = []

    async def watch() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            # Not raised again: the nursery would raise it in place of the answer.
            scope.deadline = trio.current_time() + timeout

    with unwrapped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            try:
                with scope:
                    answers.append(await call())
            finally:
                nursery.cancel_scope.cancel()
    if not answers:
        raise trio.TooSlowError
    return answers[0]
