"""Notices that Trio's loop stalled, as it does while a handler blocks, and names the running jobs.

There is no watchdog: a task that slept finds, once it wakes, that it woke too late.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import trio

from .._emitter import Emitter
from .._events import LoopStalled

#: Where a task wakes this much too late, in seconds, the loop has stalled.
_SHORTEST_STALL: Final = 1.0


class LoopStall:
    """One for the heartbeats of each queue: they are the task that sleeps."""

    def __init__(self, queue_name: str, events: Emitter) -> None:
        self._queue_name = queue_name
        self._events = events
        self._wakes_at = math.inf
        self._late_by = 0.0
        #: Ids of jobs that ended after the heartbeats should have woken and before they did.
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
        """Emit an event if the latest sleep ended too late; `running` are ids of jobs."""
        if self._late_by > _SHORTEST_STALL and (jobs := (*self._ended, *running)):
            self._events.emit(
                LoopStalled(queue=self._queue_name, seconds=self._late_by, job_ids=jobs)
            )
        self._ended.clear()

    def ended(self, job_id: str) -> None:
        """Note that a job ended: one that blocked the loop may end before the heartbeats wake."""
        if trio.current_time() - self._wakes_at > _SHORTEST_STALL:
            self._ended.append(job_id)
