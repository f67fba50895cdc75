"""What becomes of a job, not of one attempt: its end, its result, its attempts, its progress.

Any attempt's id names the job, which is the whole chain. The calls are those of `M25`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import trio

from . import pg
from ._base_queue import BaseQueue
from ._enqueue.enqueuer import Enqueuer
from ._errors import NoJobRecordFound
from ._in_transaction import refuse_in_transaction
from ._job import Error, Input, Job, JobId, JobRecord, Output, may_be_there
from ._progress import Progress, read_report
from ._query import check_connection, raise_query_error
from ._record import decode_record, found_row, read_output
from ._runtime import Runtime
from ._store.failures import StatementFailed
from ._store.protocol import JobRow
from ._waiters import Wait, Waiters
from ._without_slot import without_slot


class Results:
    """One for each client."""

    def __init__(self, runtime: Runtime, enqueuer: Enqueuer, waiters: Waiters) -> None:
        self._runtime = runtime
        self._enqueuer = enqueuer
        self._waiters = waiters

    async def wait(
        self, queue: BaseQueue[Input, Output, Error], id: JobId
    ) -> JobRecord[Input, Output, Error]:
        """Return how a chain has ended, once it has; see `M25.wait`."""
        return decode_record(await self._end_of(queue, id), queue)

    async def result(self, queue: BaseQueue[Any, Output, Any], id: JobId) -> Output:
        """Return the output of a job, or raise its error; see `M25.result`."""
        return read_output(await self._end_of(queue, id), queue)

    async def _end_of(self, queue: BaseQueue[Any, Any, Any], id: JobId) -> JobRow:
        refuse_in_transaction("M25.wait()")
        with self._waiters.waiting(queue, id) as wait:
            async with without_slot():
                row = await self._waiters.end_of(wait)
        return found_row(row, queue, id)

    async def call(self, queue: BaseQueue[Input, Output, Any], job: Input | Job[Input]) -> Output:
        """Put a job on a queue, and return its output; see `M25.call`."""
        refuse_in_transaction("M25.call()")
        waiters = self._waiters
        if may_be_there(job):
            # Then nobody would be notified of its end.
            record = await self._enqueuer.enqueue(
                queue, job, None, notify=True, waiter=waiters.channel
            )
            return await self.result(queue, record.id)
        id = self._runtime.make_id()
        with waiters.waiting(queue, JobId(id), is_coming=True) as wait:
            await self._enqueuer.enqueue(
                queue, job, None, notify=True, id=id, waiter=waiters.channel
            )
            waiters.came(wait)
            async with without_slot():
                row = await waiters.end_of(wait)
        return read_output(found_row(row, queue, JobId(id)), queue)

    async def current(
        self,
        queue: BaseQueue[Input, Output, Error],
        id: JobId,
        connection: pg.AsyncConnection[Any] | None,
    ) -> JobRecord[Input, Output, Error]:
        """Read the latest attempt of a job; see `M25.current`."""
        check_connection(connection)
        try:
            rows = await self._runtime.store.latest([str(id)], connection)
        except StatementFailed as failure:
            raise_query_error(failure)
        return decode_record(found_row(rows.get(str(id)), queue, id), queue)

    async def attempts(
        self,
        queue: BaseQueue[Input, Output, Error],
        id: JobId,
        connection: pg.AsyncConnection[Any] | None,
    ) -> list[JobRecord[Input, Output, Error]]:
        """Read all attempts of a job; see `M25.attempts`."""
        check_connection(connection)
        try:
            rows = await self._runtime.store.attempts(str(id), connection)
        except StatementFailed as failure:
            raise_query_error(failure)
        if not rows:
            raise NoJobRecordFound(id, queue.name)
        return [decode_record(found_row(row, queue, id), queue) for row in rows]

    def progress(self, queue: BaseQueue[Any, Any, Any], id: JobId) -> AsyncIterator[Progress]:
        """Follow what a job's handler reports; see `M25.progress`."""
        refuse_in_transaction("M25.progress()")
        return _Reports(self._waiters, queue, id)


class _Reports(AsyncIterator[Progress]):
    """What is reported of one job, until it has ended.

    It is no generator: a loop that is left by `break` would leave one behind that nobody closes.
    """

    def __init__(self, waiters: Waiters, queue: BaseQueue[Any, Any, Any], id: JobId) -> None:
        self._waiters = waiters
        self._queue = queue
        self._id = id
        self._stack = ExitStack()
        self._wait: Wait | None = None
        #: Set once there is something else to see than what was seen last.
        self._changed: trio.Event | None = None
        self._latest: Progress | None = None
        self._has_ended = False

    async def __anext__(self) -> Progress:
        if self._wait is None:
            self._wait = self._stack.enter_context(self._waiters.waiting(self._queue, self._id))
            self._stack.enter_context(self._waiters.following(self._wait))
        wait = self._wait
        await trio.lowlevel.checkpoint()
        while not self._has_ended:
            # The caller may take its time with a report, and the job change meanwhile.
            if wait.seen is self._changed or wait.is_abandoned:
                await self._waiters.change_of(wait)
            self._changed, self._has_ended = wait.seen, wait.is_answered
            if wait.row is None:
                if wait.is_answered:
                    self._stack.close()
                    raise NoJobRecordFound(self._id, self._queue.name)
                continue
            report = read_report(wait.row)
            if report is not None and report != self._latest:
                self._latest = report
                return report
        self._stack.close()
        raise StopAsyncIteration

    def __del__(self) -> None:
        self._stack.close()
