"""One poll for all queues of a client: which have jobs that are due, and which jobs have no owner.

A survey answers for every queue at once, and says when the next scheduled job of each falls due, so
that the next survey comes at that time. A sweep ends or releases the jobs of processes that are
gone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import trio

from .._events import JobSwept, ReservationSwept
from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import StatementFailed
from .._store.protocol import Swept, SweptQueue
from . import plan

#: The least time between two surveys that hints ask for, in seconds: where jobs come one by one,
#: not each is to cost a survey.
_SHORTEST_GAP: Final = 0.2

#: How long a survey that a hint asks for waits at least, in seconds, so that the claims with which
#: the survey would compete come first.
_LEAST_WAIT: Final = 0.02

#: After a survey that took t, the next one that a hint asks for waits at least 20 t.
_GAP_PER_DURATION: Final = 20.0

#: The most jobs that one sweep takes.
_LARGEST_SWEEP: Final = 500


class Maintenance:
    """One for each client that runs queues."""

    def __init__(self, queues: Sequence[Queue[Any, Any, Any]], runtime: Runtime) -> None:
        self._runtime = runtime
        self._names = [queue.name for queue in queues]
        self._swept_queues = [
            SweptQueue(queue.name, queue.allowed_losses, queue.reserved_timeout) for queue in queues
        ]
        self._interval = min(queue.poll_interval.total_seconds() for queue in queues)
        #: How long owners need to send a heartbeat once the database answers again, in seconds.
        self._heartbeat_interval = max(q.heartbeat_interval.total_seconds() for q in queues)
        self._survey_at = -math.inf
        self._surveyed_at = -math.inf
        #: How long the latest survey took, in seconds.
        self._survey_took = 0.0

    async def run(self) -> None:
        """Survey and sweep, until cancelled."""
        tries = self._runtime.tries()
        sweep_at = trio.current_time()
        while True:
            await self._wait_for_survey()
            began = trio.current_time()
            self._survey_at = began + self._interval
            try:
                await self._survey()
                self._surveyed_at = trio.current_time()
                self._survey_took = self._surveyed_at - began
                if began >= sweep_at:
                    await self._sweep()
                    sweep_at = began + self._interval * self._runtime.rng.uniform(0.8, 1.0)
            except StatementFailed as failure:
                pause = tries.failed(failure)
                now = trio.current_time()
                self._survey_at = now + pause
                # After an outage leases may be over although their owners are alive: each is to
                # send a heartbeat first.
                sweep_at = now + self._heartbeat_interval
            else:
                tries.worked()

    async def _wait_for_survey(self) -> None:
        """Wait until the next survey is due: by the poll interval, or sooner where a hint asks."""
        await trio.lowlevel.checkpoint()
        while trio.current_time() < self._survey_at:
            with trio.move_on_at(self._survey_at):
                await self._runtime.hints.survey.wait()
                gap = max(_SHORTEST_GAP, _GAP_PER_DURATION * self._survey_took)
                soon = max(self._surveyed_at + gap, trio.current_time() + _LEAST_WAIT)
                self._survey_at = min(self._survey_at, soon)

    async def _survey(self) -> None:
        due_in = await self._runtime.store.survey(self._names)
        for name, seconds in due_in.items():
            if seconds <= 0:
                self._runtime.hints.work(name, rewind=True)
        self._survey_at = min(
            self._survey_at,
            plan.next_survey(
                now=trio.current_time(),
                poll_interval=self._interval,
                due_in=due_in.values(),
                rng=self._runtime.rng,
            ),
        )

    async def _sweep(self) -> None:
        while True:
            swept = await self._runtime.store.sweep(self._swept_queues, _LARGEST_SWEEP)
            for job in swept:
                self._emit(job)
                self._runtime.hints.work(job.queue_name, rewind=True)
            if any(job.has_next_attempt for job in swept):
                # The next attempt may have a delay, and the survey finds out when it is due.
                self._runtime.hints.survey.set()
            if len(swept) < _LARGEST_SWEEP:
                return

    def _emit(self, job: Swept) -> None:
        facts: dict[str, Any] = {
            "queue": job.queue_name,
            "job_id": job.id,
            "attempt": job.attempt,
            "max_attempts": job.max_attempts,
        }
        if job.failure_reason is None:
            self._runtime.events.emit(ReservationSwept(**facts))
        else:
            self._runtime.events.emit(
                JobSwept(
                    failure_reason=job.failure_reason, next_attempt=job.has_next_attempt, **facts
                )
            )
