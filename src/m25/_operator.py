"""Lists queues, pauses and resumes them, and sets limits, for callers of a client."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from ._base_queue import BaseQueue
from ._cancel_asks import check_words
from ._errors import InvalidQueue, UsageError
from ._keep import Keep
from ._limits import check_size
from ._prune import prune
from ._query import raise_query_error
from ._queue import Queue
from ._runtime import Runtime
from ._store.failures import StatementFailed
from ._store.operator import QueueState
from ._store.protocol import SILENCE
from ._summaries import time_of
from ._text import check_text
from ._timestamps import duration_from_text, timestamp_from_text

#: How long a handler may run where nobody has said so.
_TIMEOUT: Final = timedelta(minutes=5)
#: How far jobs are counted: beyond that it takes long, and tells nobody more.
MOST_COUNTED: Final = 100_000


@attrs.frozen(kw_only=True)
class QueueRecord:
    """A queue that has jobs which have not ended or have failed, or that a worker has run, or
    somebody has paused; and what is on it.

    Each number of jobs is counted up to `MOST_COUNTED`: then there may be more.
    """

    name: str
    #: How long a handler may run where its job does not say; `None` where nobody has said so.
    default_job_timeout: timedelta | None
    #: How many attempts a job has at most that does not say; `None` where no worker has run it.
    default_max_attempts: int | None
    #: The name of the queue that is told of its failures, if one is.
    on_failure: str | None
    #: Since when none of its jobs begins; `None` while it is not paused.
    paused_at: datetime | None
    #: Why, in the words of whoever has paused it.
    pause_reason: str | None
    #: The name of the limit under which its jobs run, and how many may at once.
    limiter: str | None
    limit: int | None
    #: How many of its jobs are due, and since when the first of them has been.
    due: int
    due_since: datetime | None
    #: How many are due later.
    scheduled: int
    #: How many wait for a message, however long that takes, or for others of their key under a
    #: limit.
    waiting: int
    #: How many are claimed.
    running: int
    #: How many have failed, and were not retried. Of all queues the latest are counted.
    failed: int
    #: How many workers serve it, of which something was heard within two minutes.
    workers: int


class Operator:
    """One for each client."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def pause(self, queue: BaseQueue[Any, Any, Any] | str, reason: str | None) -> None:
        """See `M25.pause`."""
        name = name_of(queue)
        check_words("reason", reason)
        timeout = queue.default_job_timeout if isinstance(queue, BaseQueue) else _TIMEOUT
        try:
            await self._runtime.store.pause(name, reason, timeout)
        except StatementFailed as failure:
            raise_query_error(failure)
        self._runtime.hints.queue_changed(name)

    async def resume(self, queue: BaseQueue[Any, Any, Any] | str) -> None:
        """See `M25.resume`."""
        name = name_of(queue)
        try:
            await self._runtime.store.resume(name)
        except StatementFailed as failure:
            raise_query_error(failure)
        self._runtime.hints.queue_changed(name)

    async def set_limit(self, limit: BaseQueue[Any, Any, Any] | str, size: int | None) -> None:
        """See `M25.set_limit`."""
        name = limit.limiter_name if isinstance(limit, Queue) else name_of(limit)
        if name is None:
            raise UsageError(
                f"queue {name_of(limit)!r} has no limit: declare it with limit=m25.Limit(…)"
            )
        if size is not None:
            check_size(size)
        try:
            is_known = await self._runtime.store.set_limit(name, size)
        except StatementFailed as failure:
            raise_query_error(failure)
        if not is_known:
            raise UsageError(
                f"no worker has run a queue with the limit {name!r}: a limit that a queue has to"
                " itself has the name of the queue"
            )
        self._runtime.hints.room(name)

    async def prune(self, queue: BaseQueue[Any, Any, Any] | str, keep: Keep | None) -> int:
        """See `M25.prune`."""
        name = name_of(queue)
        if keep is None and isinstance(queue, Queue):
            keep = queue.keep
        if keep is None:
            raise UsageError(
                f"queue {name!r} keeps its jobs for ever: declare it with keep=m25.Keep(…), or"
                " give one here"
            )
        jobs = 0
        try:
            async with aclosing(prune(self._runtime.store, name, keep)) as steps:
                async for pruned in steps:
                    jobs += pruned.jobs
        except StatementFailed as failure:
            raise_query_error(failure)
        return jobs

    async def queues(self) -> list[QueueRecord]:
        """See `M25.queues`."""
        try:
            rows = await self._runtime.store.operator.queues(MOST_COUNTED, SILENCE)
        except StatementFailed as failure:
            raise_query_error(failure)
        return [_record(row) for row in rows]


def name_of(queue: BaseQueue[Any, Any, Any] | str) -> str:
    """The name of a queue that is given as such, or by its name.

    Raises:
        TypeError: it is neither.
        InvalidQueue: no queue can have this name.
    """
    if isinstance(queue, BaseQueue):
        return queue.name
    if not isinstance(queue, str):
        raise TypeError(f"a m25.Queue, or the name of one, is needed; not {queue!r:.80}")
    return check_text(queue, "a queue's name", InvalidQueue)


def _record(row: QueueState) -> QueueRecord:
    timeout = row.default_job_timeout
    return QueueRecord(
        name=row.name,
        default_job_timeout=None if timeout is None else duration_from_text(timeout),
        default_max_attempts=row.default_max_attempts,
        on_failure=row.on_failure,
        paused_at=None if row.paused_at is None else timestamp_from_text(row.paused_at),
        pause_reason=row.pause_reason,
        limiter=row.limiter,
        limit=row.limit,
        due=row.due,
        due_since=None if row.due_since is None else time_of(row.due_since),
        scheduled=row.scheduled,
        waiting=row.waiting,
        running=row.running,
        failed=row.failed,
        workers=row.workers,
    )
