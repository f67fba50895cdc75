"""Notices that Trio's loop stood still, as it does while a handler blocks, and names who was there.

No timer, no thread, and no task that has to wake: Trio says when it has looked for what is due, and
when it will look again. In between it runs every task that was due, each until its next `await`
that waits; so the time in between is exactly how long nothing else could happen.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from time import perf_counter
from typing import Final

import trio

from ._emitter import Emitter
from ._events import LoopStalled
from ._store.protocol import ClaimedJob

#: What is shorter, in seconds, is not told.
_LONGEST_TURN: Final = 1.0


class LoopWatch(trio.abc.Instrument):
    """One for each client; a stall is its affair where a job of the client ran as it began."""

    def __init__(self, events: Emitter) -> None:
        self._events = events
        #: The jobs that run, with their queues.
        self._running: dict[ClaimedJob, str] = {}
        # Since Trio has looked, by a clock that no test sets:
        self._looked_at = math.inf
        self._begun: set[ClaimedJob] = set()
        self._ended: dict[ClaimedJob, str] = {}

    async def run(self) -> None:
        """Watch, until cancelled."""
        self._looked_at = math.inf
        trio.lowlevel.add_instrument(self)
        try:
            await trio.sleep_forever()
        finally:
            # Trio takes out an instrument that raised.
            with contextlib.suppress(KeyError):
                trio.lowlevel.remove_instrument(self)

    def began(self, jobs: Sequence[ClaimedJob], queue: str) -> None:
        """These jobs of a queue run from now on."""
        self._running.update(dict.fromkeys(jobs, queue))
        self._begun.update(jobs)

    def ended(self, job: ClaimedJob) -> None:
        """A job runs no more."""
        self._ended[job] = self._running.pop(job)

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - Trio's signature
        """Trio has looked for what is due."""
        self._looked_at = perf_counter()
        if self._begun or self._ended:
            self._begun.clear()
            self._ended.clear()

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - Trio's signature
        """Trio will look for what is due."""
        seconds = perf_counter() - self._looked_at
        if seconds > _LONGEST_TURN:
            self._tell(seconds)

    def _tell(self, seconds: float) -> None:
        # The job that blocked has often ended by now; and one that has just begun did not block.
        jobs = {
            job: queue
            for job, queue in {**self._ended, **self._running}.items()
            if job not in self._begun
        }
        if jobs:
            self._events.emit(
                LoopStalled(
                    seconds=seconds,
                    job_ids=tuple(job.id for job in jobs),
                    queues=tuple(sorted(set(jobs.values()))),
                )
            )
