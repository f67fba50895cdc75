"""The batches of `enqueue_many`: made from any source, a few at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from time import perf_counter
from typing import Any, Final, cast

import trio

from .._store.protocol import AnyJob
from .batch import Batch

#: After jobs were made for this long, in seconds, other tasks have a turn.
_LONGEST_TURN: Final = 0.001


async def make_batches(
    jobs: Iterable[Any] | AsyncIterable[Any],
    make: Callable[[Any], AnyJob],
    made: trio.MemorySendChannel[list[AnyJob]],
) -> None:
    """Make the jobs of a source, and send them in batches; close the channel after the last.

    After an error the channel stays open: its end means that these were all jobs. A source that is
    an async generator is closed in any case.

    Raises:
        Exception: what the source or `make` raised; with a note that says at which job, if it is
            `make`.
    """
    batch = Batch(make)
    yielded_at = perf_counter()

    async def add(job: Any) -> None:
        nonlocal yielded_at
        if full := batch.add(job):
            await made.send(full)
        elif perf_counter() - yielded_at >= _LONGEST_TURN:
            await trio.lowlevel.checkpoint()
            yielded_at = perf_counter()

    if isinstance(jobs, AsyncIterable):
        try:
            async for job in jobs:
                await add(job)
        finally:
            if isinstance(jobs, AsyncGenerator):
                await cast("AsyncGenerator[Any]", jobs).aclose()
    else:
        for job in jobs:
            await add(job)
    if rest := batch.rest():
        await made.send(rest)
    made.close()
