"""Which limits and rates there are, and what is held, runs and waits; for callers of a client."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs

from ._operator import MOST_COUNTED
from ._query import raise_query_error
from ._runtime import Runtime
from ._store.failures import StatementFailed
from ._store.operator import LimitState
from ._summaries import time_of


@attrs.frozen(kw_only=True)
class LimitRecord:
    """A limit, a rate, or both of one name, under which queues run, or of which places are held.

    What waits is counted up to `MOST_COUNTED` of each queue: then there may be more.
    """

    name: str
    #: The queues that have it, by name.
    queues: Sequence[str]
    #: The path into the input, such as `customer.id`, if so many run of each key and not of all.
    key: str | None
    #: How many may run at once, of each key if it has one; `None` where it is a rate alone.
    size: int | None
    #: Whether somebody has set that, by `M25.set_limit`, and not the queues.
    is_set: bool
    #: How much time lies between two jobs that begin; `None` where there is no rate.
    interval: timedelta | None
    #: How many may begin at once beyond that, where none began before.
    burst: int | None
    #: The path into the input, if so many begin of each key and not of all.
    rate_key: str | None
    #: When the next job may begin by the rate, unless that goes by key: one that lies before now
    #: holds nobody up.
    next_start_at: datetime | None
    #: How many jobs run.
    running: int
    #: How many places are held outside of jobs, by `M25.limiter`.
    held: int
    #: How many jobs are due and have not begun, whatever they wait for.
    waiting: int
    #: How many keys there are of which as many run as may.
    full_keys: int
    #: The first ten of these.
    named_keys: Sequence[str]

    @property
    def is_full(self) -> bool:
        """Whether none may begin now, of any key, because of those that run and what is held."""
        return self.key is None and self.size is not None and self.running + self.held >= self.size


async def list_limits(runtime: Runtime) -> list[LimitRecord]:
    """See `M25.limits`."""
    try:
        states = await runtime.store.operator.limits(MOST_COUNTED)
    except StatementFailed as failure:
        raise_query_error(failure)
    # Claims of fair and of ordered queues take turns by a row like that of a limit, which limits
    # nothing.
    return [_record(state) for state in states if state.size is not None or state.interval]


def _record(state: LimitState) -> LimitRecord:
    at = state.next_start_at
    return LimitRecord(
        name=state.name,
        queues=tuple(state.queues),
        key=state.key,
        size=state.size,
        is_set=state.is_set,
        interval=None if state.interval is None else timedelta(seconds=float(state.interval)),
        burst=state.burst,
        rate_key=state.rate_key,
        next_start_at=None if at is None else time_of(at),
        running=state.running,
        held=state.held,
        waiting=state.waiting,
        full_keys=state.full_keys,
        named_keys=tuple(state.named_keys),
    )
