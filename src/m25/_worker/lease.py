"""How long the handler of an exclusive queue's job may go on: while its lease surely holds.

Nobody else may start the job before its lease is over by the database's clock, and that began to
count after the claim, the start or the heartbeat was sent. So counted from the sending, by Trio's
clock, the lease is over no later than for the database, whoever's clock shows what. The handler is
cancelled a margin earlier. Within the margin it cleans up; and where Trio's loop stood still just
then, the cancellation comes late by no more than that.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import trio

from .._queue import Queue

T = TypeVar("T")

#: How much of its lease a handler has to end, once it is cancelled.
_MARGIN: Final = 1 / 4


class LeaseOver(enum.Enum):
    """What the handler has left: nothing, since the lease was over before it ended, or began."""

    LEASE_OVER = "lease over"


LEASE_OVER: Final = LeaseOver.LEASE_OVER


class Lease:
    """One for each job that runs of an exclusive queue.

    Args:
        queue: the job's queue.
        sent: when the claim was sent, by Trio's clock.
        started: whether the job is executing since then; else it is reserved until `started`.
    """

    def __init__(self, queue: Queue[Any, Any, Any], sent: float, *, started: bool) -> None:
        self._length = queue.lease.total_seconds()
        self._margin = self._length * _MARGIN
        #: A job that is reserved can be taken once `reserved_timeout` is over, heartbeats or not.
        self._reserved_until = (
            math.inf if started else sent + queue.reserved_timeout.total_seconds()
        )
        self._scope = trio.CancelScope(deadline=self._end(sent))
        self._is_told = False

    def _end(self, sent: float) -> float:
        return min(sent + self._length, self._reserved_until) - self._margin

    @property
    def seconds(self) -> float:
        """How long the handler may run without another confirmation."""
        return self._length - self._margin

    @property
    def must_end_by(self) -> float:
        """When the handler is cancelled unless the lease is renewed, by Trio's clock."""
        return self._scope.deadline

    @property
    def has_cancelled(self) -> bool:
        """Whether the handler was cancelled, or not called, since the lease was over."""
        return self._scope.cancel_called

    def renewed(self, sent: float) -> None:
        """The database has confirmed a heartbeat that was sent then, by Trio's clock.

        Whatever was sent before may be written after it: that makes the lease longer, and never
        shorter, as it is counted from when a row is written.
        """
        # rule: a lease is counted from the sending
        self._scope.deadline = max(self._scope.deadline, self._end(sent))

    def started(self, sent: float) -> None:
        """The database has confirmed that the job, reserved until now, is executing."""
        self._reserved_until = math.inf
        self.renewed(sent)

    def is_over(self) -> bool:
        """Whether it is too late to call the handler; Trio may have not noticed yet."""
        if trio.current_time() < self._scope.deadline:
            return False
        self._scope.cancel()
        return True

    async def hold(self, call: Callable[[], Awaitable[T]]) -> T | LeaseOver:
        """Await what `call` returns, and cancel it once the lease is over."""
        with self._scope:
            return await call()
        return LEASE_OVER

    def is_outrun(self, now: float) -> bool:
        """Whether the handler goes on although another may have the job by now: said once."""
        if self._is_told or now < self._scope.deadline + self._margin:
            return False
        self._is_told = True
        return True
