"""Waits for jobs give the waiting handler's slot back: for as long as they last others may run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ._running_job import current_attempt


@asynccontextmanager
async def without_slot() -> AsyncGenerator[None]:
    """A block in which the caller waits for jobs.

    Within a handler its slot is given back, and there is one again when the block is left;
    elsewhere nothing happens.
    """
    attempt = current_attempt.get(None)
    if attempt is None:
        yield
        return
    async with attempt.waiting():
        yield
