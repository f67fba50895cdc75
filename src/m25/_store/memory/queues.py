"""The queues of a store in memory: what workers have declared of them, and who has paused them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

from ..protocol import DeclaredQueue, Pause
from .rows import MICROSECOND, seconds


class QueueRow(NamedTuple):
    """What is known of a queue: the first fields of a `QueueState`."""

    name: str
    default_job_timeout: str | None
    default_max_attempts: int | None
    on_failure: str | None
    paused_at: str | None
    pause_reason: str | None
    limiter: str | None


class Queues:
    """All queues of which anybody has heard, by name."""

    def __init__(self) -> None:
        self._declared: dict[str, DeclaredQueue] = {}
        #: Of those of which no worker has heard, how long a handler may run.
        self._timeouts: dict[str, timedelta] = {}
        self._paused: dict[str, tuple[int, str | None]] = {}

    def declare(self, queues: Iterable[DeclaredQueue]) -> None:
        """A worker says what it runs."""
        self._declared.update((queue.name, queue) for queue in queues)

    def declared(self, name: str) -> DeclaredQueue | None:
        """What a worker has declared of a queue, if one has."""
        return self._declared.get(name)

    def under(self, limiter: str) -> list[DeclaredQueue]:
        """The queues that have a limit."""
        return [queue for queue in self._declared.values() if queue.limiter == limiter]

    def pause(
        self, name: str, reason: str | None, default_job_timeout: timedelta, now: int
    ) -> None:
        """Pause a queue; one that is paused goes on to be, for another reason."""
        self._timeouts.setdefault(name, default_job_timeout)
        since, _ = self._paused.get(name, (now, None))
        self._paused[name] = since, reason

    def resume(self, name: str) -> bool:
        """Resume a queue; return whether it was paused."""
        return self._paused.pop(name, None) is not None

    def pause_of(self, name: str) -> Pause | None:
        """That a queue is paused, if it is."""
        paused = self._paused.get(name)
        return None if paused is None else Pause(seconds(paused[0]), paused[1])

    def names(self) -> set[str]:
        """The names of all of them."""
        return {*self._declared, *self._timeouts}

    def row(self, name: str) -> QueueRow:
        """What is known of a queue, if anything."""
        pause = self.pause_of(name) or Pause("", None)
        declared = self._declared.get(name)
        timeout = self._timeouts.get(name) if declared is None else declared.default_job_timeout
        return QueueRow(
            name,
            None if timeout is None else seconds(timeout // MICROSECOND),
            None if declared is None else declared.default_max_attempts,
            None if declared is None else declared.on_failure,
            pause.paused_at or None,
            pause.reason,
            None if declared is None else declared.limiter,
        )
