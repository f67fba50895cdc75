"""The batches of `enqueue_many`: made from any source, a few at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from time import perf_counter
from typing import Any, Final, cast

import trio

from .._store.protocol import AnyJob, row_of

#: The most jobs that one statement inserts.
LARGEST_BATCH: Final = 200
#: The largest sum of the sizes of the jobs in a batch, in characters, if it has more than one.
_LARGEST_SIZE: Final = 500_000
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
    batch: list[AnyJob] = []
    size = position = 0
    yielded_at = perf_counter()

    async def add(job: Any) -> None:
        nonlocal batch, size, position, yielded_at
        try:
            new = make(job)
        except Exception as error:
            error.add_note(which(position))
            raise
        position += 1
        if batch and size + size_of(new) > _LARGEST_SIZE:
            await made.send(batch)
            batch, size = [], 0
        batch.append(new)
        size += size_of(new)
        if len(batch) == LARGEST_BATCH:
            await made.send(batch)
            batch, size = [], 0
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
    if batch:
        await made.send(batch)
    made.close()


def size_of(job: AnyJob) -> int:
    """How large a job is, about, in characters."""
    row = row_of(job)
    return len(row.input) + (0 if row.meta is None else len(row.meta))


def which(position: int) -> str:
    """A note that says which job of `enqueue_many` an error is about."""
    return f"in enqueue_many: the job at position {position}, counted from 0; none was enqueued"
