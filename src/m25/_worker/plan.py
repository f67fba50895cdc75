"""What the managers decide, as plain functions over plain values: no I/O, no clock of their own."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

#: The longest pause before something that failed is tried again, in seconds; it bounds how long
#: after the database's return work goes on.
LONGEST_PAUSE: Final = 2.5
_FIRST_PAUSE: Final = 0.1

#: The largest claim. Beyond a few hundred rows a statement gains nothing, and only holds its locks
#: longer.
LARGEST_CLAIM: Final = 500
#: A claim of more than these asks for half of the slots at most, so that the next one can be under
#: way while its jobs begin. With fewer a statement more costs more than that saves.
_FEW: Final = 100


def pause(failures: int, rng: random.Random) -> float:
    """How long to wait before the next try, in seconds, after so many failures in a row.

    It doubles, up to `LONGEST_PAUSE`, and is spread over its upper half by rng, so that those
    who failed together do not come back together.
    """
    full = min(_FIRST_PAUSE * 2.0 ** min(failures - 1, 16), LONGEST_PAUSE)
    return full * rng.uniform(0.5, 1.0)


def claim_size(*, max_concurrency: int, running: int, unsettled: int) -> int:
    """How many jobs to claim now.

    Results that could not be written yet take no slots, up to a point: while the database does not
    take them, there must be an end to what is kept in memory.
    """
    waiting = max(0, unsettled - max(max_concurrency, LARGEST_CLAIM))
    most = min(max(max_concurrency // 2, _FEW), LARGEST_CLAIM)
    return max(0, min(max_concurrency - running - waiting, most))


class Beating(Protocol):
    """What is known of an executor's heartbeats."""

    @property
    def misses(self) -> int:
        """How many heartbeats in a row it has left unanswered."""
        ...

    @property
    def deadline(self) -> float:
        """When its handler must have ended, by Trio's clock."""
        ...


E = TypeVar("E", bound=Beating)


def stale(executors: Iterable[E], allowed_misses: int) -> Sequence[E]:
    """The executors that have left more heartbeats unanswered than they may."""
    return [executor for executor in executors if executor.misses > allowed_misses]


def overdue(executors: Iterable[E], now: float, grace: float) -> Sequence[E]:
    """The executors that have not ended `grace` seconds after their deadlines."""
    return [executor for executor in executors if executor.deadline + grace < now]


def next_survey(
    *, now: float, poll_interval: float, due_in: Iterable[float], rng: random.Random
) -> float:
    """When to look for due work next, by Trio's clock.

    At the next poll, spread by a tenth so that processes started together do not poll together; or
    when the first scheduled job falls due, if that is sooner.
    """
    soonest = min((seconds for seconds in due_in if seconds > 0), default=poll_interval)
    return now + min(soonest, poll_interval * rng.uniform(0.9, 1.0))
