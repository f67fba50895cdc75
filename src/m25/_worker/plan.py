"""What the workers decide, as plain functions over plain values: no I/O, no clock of their own."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final, Protocol, TypeVar

from .._retry import Retry
from .._store.protocol import LONGEST_UNKNOWN, JobRow

#: The largest claim: what comes of it is to take less than a millisecond before others have a turn,
#: and with more rows a statement only holds its locks longer.
LARGEST_CLAIM: Final = 200
#: So many unwritten outcomes take no slots, or as many as there are slots, if these are more.
FREE_OUTCOMES: Final = 500
#: A queue with more slots than this claims for half of its slots at most, so that the next claim is
#: under way while the jobs of the one before begin. With fewer slots that is not worth the
#: additional statement.
_SLOTS_CLAIMED_AT_ONCE: Final = 100


def claim_size(*, max_concurrency: int, running: int, unwritten: int) -> int:
    """How many jobs to claim now.

    Unwritten outcomes take no slots, up to a bound; each one beyond it takes a slot, so that memory
    is bounded while the database does not answer.
    """
    waiting = max(0, unwritten - max(max_concurrency, FREE_OUTCOMES))
    most = min(max(max_concurrency // 2, _SLOTS_CLAIMED_AT_ONCE), LARGEST_CLAIM)
    return max(0, min(max_concurrency - running - waiting, most))


def retry_of(row: JobRow, retry: Retry | None) -> Retry | None:
    """What the queue says of retries, unless the job was given numbers of its own."""
    return None if row.own_retry else retry


def max_attempts(row: JobRow, retry: Retry | None) -> int:
    """How many attempts a job has at most, where its queue says `retry`."""
    retry = retry_of(row, retry)
    return row.max_attempts if retry is None else min(row.max_attempts, retry.max_attempts)


def has_expired(row: JobRow, waited: float = 0.0) -> bool:
    """Whether a job comes too late that was claimed `waited` seconds ago.

    When it was claimed the database's clock says; of other clocks only the seconds since then are
    taken.
    """
    if row.expires_at is None or row.reserved_at is None:
        return False
    return Decimal(row.expires_at) <= Decimal(row.reserved_at) + Decimal(waited)


def has_waited_for_newer(row: JobRow) -> bool:
    """Whether a job that was just claimed has been left to newer workers for as long as it may be,
    by the database's clock alone.
    """
    if row.unknown_since is None or row.reserved_at is None:
        return False
    return Decimal(row.reserved_at) - Decimal(row.unknown_since) >= LONGEST_UNKNOWN


def without_expired(rows: Sequence[JobRow]) -> tuple[Sequence[JobRow], Sequence[JobRow]]:
    """Of jobs that were just claimed, those that are to be started, and those that have expired."""
    late = [row for row in rows if row.expires_at is not None and has_expired(row)]
    return ([row for row in rows if row not in late] if late else rows), late


class HasHeartbeats(Protocol):
    """What is known of an executor's heartbeats."""

    @property
    def misses(self) -> int:
        """How many heartbeats in a row it has left unanswered."""
        ...

    @property
    def must_end_by(self) -> float:
        """When the executor must have ended, by Trio's clock."""
        ...


E = TypeVar("E", bound=HasHeartbeats)


def stale(executors: Iterable[E], allowed_misses: int) -> Sequence[E]:
    """The executors that have left more heartbeats unanswered than they may."""
    return [executor for executor in executors if executor.misses > allowed_misses]


def overdue(executors: Iterable[E], now: float, grace: float) -> Sequence[E]:
    """The executors that have not ended `grace` seconds after they should have."""
    return [executor for executor in executors if executor.must_end_by + grace < now]


def next_survey(
    *, now: float, poll_interval: float, due_in: Iterable[float], rng: random.Random
) -> float:
    """When to look for due work next, by Trio's clock.

    At the next poll, spread by a tenth so that processes started together do not poll together; or
    when the first scheduled job falls due, if that is sooner.
    """
    soonest = min((seconds for seconds in due_in if seconds > 0), default=poll_interval)
    return now + min(soonest, poll_interval * rng.uniform(0.9, 1.0))
