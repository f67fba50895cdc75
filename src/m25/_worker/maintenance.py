"""One poll for all queues of a process: which have work that is due, and whose owners are gone.

A survey answers for every queue at once, and says when each one's next scheduled job falls due, so
that the next survey comes at that time. The sweep takes dead work from processes that are gone.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Sequence
from typing import Final

import trio

from .._database_health import DatabaseHealth
from .._store.failures import StatementFailed
from .._store.protocol import Store, Swept, SweptQueue
from . import plan
from .manager import Manager

_logger = logging.getLogger("m25.poller")

#: The least time between two surveys that were asked for, in seconds: jobs that trickle in must not
#: each cost one.
_LEAST_GAP: Final = 0.2

#: How long a survey that is asked for waits at least, in seconds: what was just claimed goes first.
_PRECEDENCE: Final = 0.02

#: How many times as long as it took a survey that was asked for lets the database be.
_REST: Final = 20.0

#: The most jobs that one sweep takes.
_LARGEST_SWEEP: Final = 500


class Poller:
    """Wakes managers when there is something for them."""

    def __init__(
        self, managers: Sequence[Manager], store: Store, health: DatabaseHealth, rng: random.Random
    ) -> None:
        self._managers = {manager.queue.name: manager for manager in managers}
        self._store = store
        self._health = health
        self._rng = rng
        self._survey_at = -math.inf
        self._surveyed_at = -math.inf
        #: How long the latest survey took, in seconds.
        self._took = 0.0
        self._rung = trio.Event()
        queues = [manager.queue for manager in managers]
        self._interval = min(queue.poll_interval.total_seconds() for queue in queues)
        #: How long every owner needs to send a heartbeat once the database is back.
        self._heartbeat_interval = max(q.heartbeat_interval.total_seconds() for q in queues)
        self._swept_queues = [
            SweptQueue(queue.name, queue.allowed_losses, queue.reserved_timeout) for queue in queues
        ]

    def look_soon(self) -> None:
        """There may be a scheduled job that the last survey did not see."""
        gap = max(_LEAST_GAP, _REST * self._took)
        soon = max(self._surveyed_at + gap, trio.current_time() + _PRECEDENCE)
        self._survey_at = min(self._survey_at, soon)
        self._rung.set()

    async def run(self) -> None:
        """Survey and sweep until cancelled."""
        failures = 0
        sweep_at = trio.current_time()
        while True:
            await self._sleep_until_survey()
            now = trio.current_time()
            self._survey_at = now + self._interval
            try:
                await self._survey()
                self._surveyed_at = trio.current_time()
                self._took = self._surveyed_at - now
                if now >= sweep_at:
                    await self._sweep()
                    sweep_at = now + self._interval * self._rng.uniform(0.8, 1.0)
            except StatementFailed as error:
                self._health.failed(error)
                failures += 1
                now = trio.current_time()
                self._survey_at = now + plan.pause(failures, self._rng)
                # After an outage every lease may be over while its owner is alive and well.
                sweep_at = now + self._heartbeat_interval
            else:
                self._health.worked()
                failures = 0

    async def _sleep_until_survey(self) -> None:
        await trio.lowlevel.checkpoint()
        while trio.current_time() < self._survey_at:
            self._rung = trio.Event()
            with trio.move_on_at(self._survey_at):
                await self._rung.wait()

    async def _survey(self) -> None:
        due_in = await self._store.survey(list(self._managers))
        for name, seconds in due_in.items():
            if seconds <= 0:
                self._managers[name].wake(rewind=True)
        self._survey_at = min(
            self._survey_at,
            plan.next_survey(
                now=trio.current_time(),
                poll_interval=self._interval,
                due_in=due_in.values(),
                rng=self._rng,
            ),
        )

    async def _sweep(self) -> None:
        while True:
            swept = await self._store.sweep(self._swept_queues, _LARGEST_SWEEP)
            for job in swept:
                self._report(job)
                self._managers[job.queue_name].wake(rewind=True)
            if any(job.has_next_attempt for job in swept):
                # The next attempt may be delayed.
                self.look_soon()
            if len(swept) < _LARGEST_SWEEP:
                return

    def _report(self, job: Swept) -> None:
        extra = {"job_id": job.id, "queue": job.queue_name}
        if job.failure_reason is None:
            _logger.warning("stuck reservation handed back", extra=extra)
        else:
            _logger.warning(
                "attempt without an owner ended",
                extra={
                    **extra,
                    "failure_reason": job.failure_reason,
                    "has_next_attempt": job.has_next_attempt,
                },
            )
