"""Notices that Trio's loop stood still, as it does while a handler blocks, and names who was there.

There is no watchdog: a task that should have woken long ago tells of it once it does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import trio

from .._emitter import Emitter
from .._events import LoopStalled

#: A task that wakes this much too late, in seconds, was kept from waking.
_LATE: Final = 1.0


class LoopStall:
    """What the heartbeats of one queue notice of it."""

    def __init__(self, queue_name: str, events: Emitter) -> None:
        self._queue_name = queue_name
        self._events = events
        self._wakes_at = math.inf
        self._late_by = 0.0
        #: Jobs that ended while the heartbeats should have been awake and were not.
        self._ended: list[str] = []

    async def sleep_until(self, time: float) -> None:
        """Sleep until `time`, by Trio's clock, and note how much too late the sleep ends."""
        self._wakes_at = max(time, trio.current_time())
        try:
            await trio.sleep_until(time)
            self._late_by = trio.current_time() - self._wakes_at
        finally:
            self._wakes_at = math.inf

    def report(self, running: Iterable[str]) -> None:
        """Tell of it where the latest sleep ended too late; `running` are the jobs that go on."""
        if self._late_by > _LATE and (jobs := (*self._ended, *running)):
            self._events.emit(
                LoopStalled(queue=self._queue_name, seconds=self._late_by, job_ids=jobs)
            )
        self._ended.clear()

    def ended(self, job_id: str) -> None:
        """A job has ended: the one that blocked may do so before the heartbeats wake."""
        if trio.current_time() - self._wakes_at > _LATE:
            self._ended.append(job_id)
