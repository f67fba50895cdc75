"""Cancels a job for a caller: at once while it is pending, else by asking whoever runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import trio
from psycopg.pq import TransactionStatus

from . import pg
from ._base_queue import BaseQueue
from ._cancel_asks import Asks, ask_to_cancel, reason_below
from ._job import JobId
from ._lock_waits import LockWaits, lock_pauses
from ._runtime import Runtime
from ._store.protocol import JobRow
from ._worker.outcomes import emit_cancelled, emit_descendants


class CancelCall:
    """One call of `cancel_job`."""

    def __init__(
        self,
        runtime: Runtime,
        lock_waits: LockWaits,
        queue: BaseQueue[Any, Any, Any],
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

        Raises:
            InvalidState: it has ended; or it is claimed, and cannot be asked for.
            NoJobRecordFound: the queue has no such job.
            JobRecordFetchDecodeErrors: its status is not one that m25 knows.
            StatementFailed: the database failed.
        """
        row = await self._answer(ask_to_cancel(self._queue, self._id, running=running))
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
        while True:
            done = await self._runtime.store.cancel_descendants(
                [row.job_id],
                (),
                self._connection,
                by=self._by,
                reason=self._reason or reason_below(row),
            )
            emit_descendants(self._runtime, done.reached)
            if not done.is_unfinished:
                return
            await trio.sleep(backoff.failed())

    async def _answer(self, asks: Asks) -> JobRow:
        ask = next(asks)
        while True:
            row: JobRow | None
            match ask.call:
                case "cancel":
                    call = partial(self._cancel_at_once, with_children=ask.with_children)
                    row = await self._on_row(call, ask.id)
                case "request_cancel":
                    row = await self._on_row(self._request_cancel, ask.id)
                case "latest":
                    found = await self._runtime.store.latest([ask.id], self._connection)
                    row = found.get(ask.id)
            try:
                ask = asks.send(row)
            except StopIteration as done:
                return cast("JobRow", done.value)

    async def _on_row(
        self, call: Callable[..., Awaitable[JobRow | None]], id: str
    ) -> JobRow | None:
        """Call the store about one row; somebody's lock of it is waited for."""
        call = partial(call, id, self._queue.name)
        return await self._lock_waits.update(call, id, self._connection)
