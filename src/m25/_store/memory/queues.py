"""The queues of a store in memory: what workers have declared of them, and who has paused them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from ..protocol import DeclaredQueue, Pause
from .rows import MICROSECOND, SECOND, seconds

_MINUTE: Final = 60 * SECOND


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
        #: When the key became another by which jobs are held up, or none.
        self._keys_changed_at: dict[str, int] = {}

    def declare(self, queues: Iterable[DeclaredQueue], now: int) -> None:
        """A worker says what it runs."""
        for queue in queues:
            before = self._declared.get(queue.name)
            paths = None if before is None else (before.limit_path, before.rate_path)
            if before and before.held_by and paths != (queue.limit_path, queue.rate_path):
                # rule: in memory, too, what was held up by a former key is let go
                self._keys_changed_at[queue.name] = now
            self._declared[queue.name] = queue

    def with_former_keys(self, names: Sequence[str]) -> list[str]:
        """Those of some queues whose jobs may be held up by a key that they have no more."""
        return sorted(name for name in names if name in self._keys_changed_at)

    def has_no_former_keys(self, name: str, now: int) -> None:
        """No job of a queue is held up by a former key; but a claim may still do that."""
        if self._keys_changed_at.get(name, now) < now - _MINUTE:
            del self._keys_changed_at[name]

    def declared(self, name: str) -> DeclaredQueue | None:
        """What a worker has declared of a queue, if one has."""
        return self._declared.get(name)

    def has_order(self, name: str) -> bool:
        """Whether the jobs of a queue run in order, by key."""
        declared = self._declared.get(name)
        return declared is not None and declared.order_path is not None

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
