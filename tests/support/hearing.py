"""What those hear who listen at a store, one after the other."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import trio

To = TypeVar("To")
T = TypeVar("T")


@asynccontextmanager
async def hearing(
    listen: Callable[[To, Callable[[T | None], None]], AbstractAsyncContextManager[None]], to: To
) -> AsyncGenerator[trio.MemoryReceiveChannel[T | None]]:
    """A block in which what is heard can be received: `listen` and `to` are as in a store's
    `listen(queue_names, …)` or `listen_for_ends(waiter, …)`.
    """
    send, receive = trio.open_memory_channel[T | None](math.inf)
    with send, receive:
        async with listen(to, send.send_nowait):
            yield receive
