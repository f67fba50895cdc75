"""Waits for jobs give the waiting handler's slot back: for as long as they last others may run."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

from ._running_job import current_attempt

_NOTHING: Final = nullcontext()


def without_slot() -> AbstractAsyncContextManager[None]:
    """A block in which the caller waits for jobs.

    Within a handler its slot is given back, and there is one again when the block is left;
    elsewhere nothing happens.
    """
    attempt = current_attempt.get(None)
    return _NOTHING if attempt is None else attempt.waiting()
