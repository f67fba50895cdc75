"""What goes on: which workers are there, and what has ended lately; for callers of a client."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from ._query import raise_query_error
from ._runtime import Runtime
from ._store.failures import StatementFailed
from ._summaries import time_of

#: A worker of which nothing was heard for this long is not told of.
_SILENCE: Final = timedelta(minutes=10)
#: In which time attempts have ended lately; and how many of the youngest are looked at.
_LATELY: Final = timedelta(minutes=1)
_WALK: Final = 10_000


@attrs.frozen(kw_only=True)
class WorkerRecord:
    """A worker that is there: a client that runs queues."""

    id: str
    #: That of m25 in its process.
    version: str
    queues: Sequence[str]
    started_at: datetime
    #: How long ago it has said that it is there, as it does every 30 s.
    silent_for: timedelta


@attrs.frozen(kw_only=True)
class QueueRate:
    """What has ended on a queue within the last minute, of the 10,000 youngest attempts of all
    queues: of jobs that had waited for long, more may have.
    """

    queue_name: str
    #: How many attempts have ended, and how many of these have failed.
    ended: int
    failed: int
    #: How long they waited once they were due, and ran, on average.
    waited: timedelta
    ran: timedelta


async def list_workers(runtime: Runtime) -> list[WorkerRecord]:
    """See `M25.workers`."""
    try:
        states = await runtime.store.operator.workers(_SILENCE)
    except StatementFailed as failure:
        raise_query_error(failure)
    return [
        WorkerRecord(
            id=state.id,
            version=state.version,
            queues=tuple(state.queues),
            started_at=time_of(state.started_at),
            silent_for=timedelta(seconds=state.silent_for),
        )
        for state in states
    ]


async def list_rates(runtime: Runtime) -> list[QueueRate]:
    """See `M25.rates`."""
    try:
        rates = await runtime.store.operator.rates(_LATELY, _WALK)
    except StatementFailed as failure:
        raise_query_error(failure)
    return [
        QueueRate(
            queue_name=rate.queue_name,
            ended=rate.ended,
            failed=rate.failed,
            waited=timedelta(seconds=rate.waited),
            ran=timedelta(seconds=rate.ran),
        )
        for rate in rates
    ]
