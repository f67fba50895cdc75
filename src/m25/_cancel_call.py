"""Cancels a job for a caller: at once while it is pending, else by asking whoever runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import trio
from psycopg.pq import TransactionStatus

from . import pg
from ._errors import InvalidState, NoJobRecordFound
from ._job import JobId, JobStatus
from ._lifecycle import LIVE
from ._lock_waits import LockWaits, lock_pauses
from ._queue import Queue
from ._record import decode_record
from ._runtime import Runtime
from ._store.protocol import JobRow
from ._text import check_text
from ._worker.outcomes import emit_cancelled, emit_descendants

#: Who asks and why, in characters: it goes into log lines.
_LONGEST_TEXT: Final = 1_000


_LIVE: Final = frozenset(status.value for status in LIVE)


def check_words(name: str, value: str | None) -> None:
    """Check what a caller says of a cancel.

    Raises:
        ValueError: it is no text that the database can hold, or is longer than 1,000 characters.
    """
    if value is not None and len(check_text(value, name, ValueError)) > _LONGEST_TEXT:
        raise ValueError(f"{name} must be at most {_LONGEST_TEXT} characters long")


class CancelCall:
    """One call of `cancel_job`."""

    def __init__(
        self,
        runtime: Runtime,
        lock_waits: LockWaits,
        queue: Queue[Any, Any, Any],
        id: JobId,
        connection: pg.AsyncConnection[Any] | None,
        *,
        by: str | None,
        reason: str | None,
    ) -> None:
        self._runtime = runtime
        self._lock_waits = lock_waits
        self._queue = queue
        self._id = id
        self._connection = connection
        self._by = by
        self._reason = reason
        store = runtime.store
        self._cancel_at_once = partial(store.cancel, by=by, reason=reason)
        self._request_cancel = partial(store.request_cancel, by=by, reason=reason)

    async def run(self, *, running: bool) -> JobRow:
        """Cancel the job, or with `running` ask for that; return its latest attempt.

        Whoever claims, releases, retries or ends the job meanwhile does so in one statement, and so
        do these calls: what was found is looked at again until one of them has an answer.

        Raises:
            InvalidState: it has ended; or it is claimed, and cannot be asked for.
            NoJobRecordFound: the queue has no such job.
            JobRecordFetchDecodeErrors: its status is not one that m25 knows.
            StatementFailed: the database failed.
        """
        # Most jobs have one attempt, and are pending: one statement is enough.
        row = await self._on_row(self._cancel_at_once, str(self._id))
        if row is None and running:
            row = await self._on_row(self._request_cancel, str(self._id))
        refused: JobRow | None = None
        while row is None:
            latest = await self._latest()
            if latest.status == JobStatus.PENDING.value:
                call = partial(self._cancel_at_once, with_children=bool(latest.has_children))
                row = await self._on_row(call, latest.id)
            elif latest.status not in _LIVE or not running:
                raise InvalidState(self._id, self._status(latest))
            elif refused is not None and _is_same_claim(refused, latest):
                # It was claimed all the while, and there was nobody to ask.
                raise InvalidState(self._id, self._status(latest), is_originals=True)
            else:
                row = await self._on_row(self._request_cancel, latest.id)
                refused = latest
        if row.has_children:
            await self._cancel_descendants(row)
        connection = self._connection
        # In a transaction of the caller's it may be rolled back still.
        if connection is None or connection.info.transaction_status is TransactionStatus.IDLE:
            emit_cancelled(self._runtime, row)
        return row

    async def _cancel_descendants(self, row: JobRow) -> None:
        """Cancel all that the job has started, at once and in whatever process. Else it would go
        down a floor at a time, by the handlers above.
        """
        backoff = lock_pauses()
        reason = f"job {row.job_id}, which is above it, was cancelled"
        while True:
            done = await self._runtime.store.cancel_descendants(
                [row.job_id],
                (),
                self._connection,
                by=self._by,
                reason=self._reason or reason,
            )
            emit_descendants(self._runtime, done.reached)
            if not done.is_unfinished:
                return
            await trio.sleep(backoff.failed())

    async def _latest(self) -> JobRow:
        found = await self._runtime.store.latest([str(self._id)], self._connection)
        row = found.get(str(self._id))
        if row is None or row.queue_name != self._queue.name:
            raise NoJobRecordFound(self._id, self._queue.name)
        return row

    def _status(self, row: JobRow) -> JobStatus:
        try:
            return JobStatus(row.status)
        except ValueError:
            return decode_record(row, self._queue).status

    async def _on_row(
        self, call: Callable[..., Awaitable[JobRow | None]], id: str
    ) -> JobRow | None:
        """Call the store about one row; somebody's lock of it is waited for."""
        call = partial(call, id, self._queue.name)
        return await self._lock_waits.update(call, id, self._connection)


def _is_same_claim(before: JobRow, after: JobRow) -> bool:
    return (before.id, before.reserved_at) == (after.id, after.reserved_at)
