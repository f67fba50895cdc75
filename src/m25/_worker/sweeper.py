"""Ends or releases the jobs of processes that are gone, for all queues of a client.

Each look asks the database for jobs that nobody may be looking after; `Suspicions` decides which of
them are lost; these alone are swept, if their leases are still as they were seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import trio

from .._events import (
    CancelSwept,
    JobSwept,
    KeyStopped,
    ReservationSwept,
    TransactionEnded,
    TransactionNotEnded,
)
from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import StatementFailed
from .._store.protocol import Suspect, Swept, SweptQueue
from .lost_holders import LostHolders
from .suspicions import Suspicions

#: The most jobs that one look finds, and that one sweep takes.
_MOST_SUSPECTS: Final = 5_000
_LARGEST_SWEEP: Final = 500
#: How long the answer to a heartbeat may take while all is well, in seconds; less where heartbeats
#: come more often.
_LONGEST_ANSWER: Final = 1.0
#: How long after sessions were ended the next look is, in seconds.
_AFTER_ENDING: Final = 0.2
#: A look that comes this much too late, in seconds, breaks the series of looks: this process stood
#: still, and others may have.
_LATE: Final = 2.0


class Sweeper:
    """One for each client that runs queues."""

    def __init__(self, queues: Sequence[Queue[Any, Any, Any]], runtime: Runtime) -> None:
        self._runtime = runtime
        self._interval = min(queue.poll_interval.total_seconds() for queue in queues)
        patience = {queue.name: _patience(queue) for queue in queues}
        self._suspicions = Suspicions(patience)
        # rule: queues without limits ask for no holders
        has_limits = any(queue.limit is not None for queue in queues)
        self._lost_holders = LostHolders(runtime) if has_limits else None
        self._queues = [
            SweptQueue(
                queue.name,
                queue.allowed_losses,
                queue.reserved_timeout,
                # So that a lease is looked at for long enough before it is over.
                margin=timedelta(seconds=patience[queue.name] + self._interval),
            )
            for queue in queues
        ]

    async def run(self) -> None:
        """Look and sweep, until cancelled."""
        tries = self._runtime.tries()
        look_at = trio.current_time()
        while True:
            await trio.sleep_until(look_at)
            began = trio.current_time()
            if began > look_at + _LATE:
                self._forget()
            look_at = began + self._interval * self._runtime.rng.uniform(0.8, 1.0)
            try:
                suspects = await self._runtime.store.find_suspects(self._queues, _MOST_SUSPECTS)
                ended = trio.current_time()
                lost = self._suspicions.look(suspects, began=began, ended=ended)
                if lost and await self._end_transactions(lost):
                    # Until the server has rolled them back, their rows may be locked.
                    look_at = min(look_at, ended + _AFTER_ENDING)
                await self._sweep(lost)
                if self._lost_holders is not None:
                    look_at = min(look_at, await self._lost_holders.look())
            except StatementFailed as failure:
                self._forget()
                look_at = trio.current_time() + tries.failed(failure)
            else:
                tries.worked()
                look_at = min(look_at, self._suspicions.next_look(suspects, ended))

    def _forget(self) -> None:
        self._suspicions.forget()
        if self._lost_holders is not None:
            self._lost_holders.forget()

    async def _end_transactions(self, lost: Sequence[Suspect]) -> bool:
        """End the sessions of transactions that lost handlers have left open, if there are any.

        A process that stands still with such a transaction holds locks, perhaps that of its job's
        own row. Return whether any was ended.
        """
        found: dict[str, bool] = {}
        for some in _in_batches(lost):
            # rule: no frozen transaction keeps locks
            found.update(await self._runtime.store.end_transactions(some))
        for suspect in lost:
            if suspect.id in found:
                ended = TransactionEnded if found[suspect.id] else TransactionNotEnded
                event = ended(queue=suspect.queue_name, job_id=suspect.id)
                self._runtime.events.emit(event)
        return any(found.values())

    async def _sweep(self, lost: Sequence[Suspect]) -> None:
        for some in _in_batches(lost):
            swept = await self._runtime.store.sweep(self._queues, some)
            for job in swept:
                self._emit(job)
                self._runtime.hints.work(job.queue_name, rewind=True)
            if any(job.has_next_attempt for job in swept):
                # The next attempt may be due later.
                self._runtime.hints.survey.set()

    def _emit(self, job: Swept) -> None:
        facts: dict[str, Any] = {
            "queue": job.queue_name,
            "job_id": job.id,
            "attempt": job.attempt,
            "max_attempts": job.max_attempts,
        }
        if job.is_cancelled:
            self._runtime.events.emit(CancelSwept(**facts))
        elif job.failure_reason is None:
            self._runtime.events.emit(ReservationSwept(**facts))
        else:
            self._runtime.events.emit(
                JobSwept(
                    failure_reason=job.failure_reason, next_attempt=job.has_next_attempt, **facts
                )
            )
            if job.stops_key:
                self._runtime.events.emit(KeyStopped(**facts))


def _patience(queue: Queue[Any, Any, Any]) -> float:
    """How long a living owner may take to renew a lease, in seconds."""
    interval = queue.heartbeat_interval.total_seconds()
    return interval + min(_LONGEST_ANSWER, interval / 2)


def _in_batches(suspects: Sequence[Suspect]) -> list[Sequence[Suspect]]:
    starts = range(0, len(suspects), _LARGEST_SWEEP)
    return [suspects[start : start + _LARGEST_SWEEP] for start in starts]
