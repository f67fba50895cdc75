"""What follows an attempt that has failed: whether another does, and when.

The queue's `Retry`, or what the handler has raised, decides it within what the job's row allows.
The row alone decides where the job was given numbers of its own, where its queue says nothing, and
where a retry function has failed. An attempt that was lost with its process is followed at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .._events import RetryUndecided
from .._groups import only_leaf
from .._handler import Undecided
from .._handler_errors import GiveUp, Request, RetryAfter
from .._job import FailureReason
from .._lifecycle import has_next_attempt
from .._timestamps import duration_to_text

if TYPE_CHECKING:
    from datetime import timedelta

    from .executor import Executor


class Next(NamedTuple):
    """What follows."""

    #: Whether another attempt follows.
    is_followed: bool
    #: In how many seconds that may run.
    seconds: float | None = None
    #: The same, where it is not what the job's row says.
    retry_after: str | None = None
    #: None follows although attempts are left.
    given_up: bool = False
    #: None follows, whatever the row says.
    is_last: bool = False


_GIVEN_UP: Final = Next(False, given_up=True, is_last=True)


def decide(
    executor: Executor,
    reason: FailureReason,
    error: BaseException | None = None,
    request: Request | None = None,
) -> Next:
    """Decide what follows a failure; `error` is what was raised, `request` what was asked for."""
    row, retry = executor.row, executor.retry
    is_lost = reason is FailureReason.HEARTBEAT_TIMEOUT
    if executor.cancel_request is not None:
        return Next(False, is_last=True)
    if isinstance(request, GiveUp):
        return _GIVEN_UP  # rule: what is given up ends
    if not has_next_attempt(
        reason,
        attempt=row.attempt,
        max_attempts=executor.max_attempts,
        losses=row.losses + is_lost,
        allowed_losses=executor.queue.allowed_losses,
    ):
        # Where the queue allows less than the row, the database does not know of it.
        return Next(False, is_last=retry is not None and not is_lost)
    if is_lost:
        return Next(True, 0.0)
    if isinstance(request, RetryAfter):
        return _after(request.delay)
    if retry is None or error is None:
        return _by_the_row(executor)
    counted = row.attempt - row.losses  # rule: what was lost makes no delay longer
    try:
        delay = executor.environment.handler.next_attempt_in(
            retry, only_leaf(error) or error, counted, executor.running_job, executor.runtime.rng
        )
    except Undecided as undecided:
        executor.runtime.events.emit(
            RetryUndecided(error=undecided.__cause__ or undecided, **executor.facts)
        )
        return _by_the_row(executor)
    return _GIVEN_UP if delay is None else _after(delay)


def _after(delay: timedelta) -> Next:
    return Next(True, delay.total_seconds(), duration_to_text(delay))


def _by_the_row(executor: Executor) -> Next:
    return Next(True, max(0.0, float(executor.row.retry_delay)))
