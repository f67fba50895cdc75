"""Notices that Trio's loop stood still, as it does while a handler blocks, and names who was there.

Nothing looks while nothing runs: a task that should have woken long ago tells it afterwards.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Final

import trio

_logger = logging.getLogger("m25.manager")

#: A task that wakes later than this, in seconds, was kept from it.
_LATE: Final = 1.0


class LoopStall:
    """What the manager of one queue knows of it, as it sends its heartbeats."""

    def __init__(self, queue_name: str) -> None:
        self._queue_name = queue_name
        self._wakes_at = math.inf
        self._late = 0.0
        #: Jobs that have ended since they kept the manager from waking.
        self._ended: list[str] = []

    async def sleep_until(self, moment: float) -> None:
        """Sleep, and note by how much one wakes too late."""
        self._wakes_at = max(moment, trio.current_time())
        try:
            await trio.sleep_until(moment)
            self._late = trio.current_time() - self._wakes_at
        finally:
            self._wakes_at = math.inf

    def report(self, running: Iterable[str]) -> None:
        """Warn where the latest sleep was outlasted; `running` are the jobs that go on."""
        if self._late > _LATE and (jobs := [*self._ended, *running]):
            _logger.warning(
                "event loop stood still",
                extra={"queue": self._queue_name, "seconds": self._late, "job_ids": jobs},
            )
        self._ended.clear()

    def ended(self, job_id: str) -> None:
        """A job has ended: one that blocked may do so before anybody else wakes."""
        if trio.current_time() - self._wakes_at > _LATE:
            self._ended.append(job_id)
