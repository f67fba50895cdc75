"""What becomes of a job, not of one attempt: its end, its result, its attempts, its progress.

Any attempt's id names the job, which is the whole chain. The calls are those of `M25`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, cast

from . import pg
from ._enqueue.enqueuer import Enqueuer
from ._errors import JobCancelled, JobFailed, NoJobRecordFound
from ._job import Error, Input, Job, JobId, JobRecord, JobStatus, Output
from ._progress import Progress, read_report
from ._query import check_connection, raise_query_error
from ._queue import Queue
from ._record import decode_record
from ._runtime import Runtime
from ._store.failures import StatementFailed
from ._store.protocol import JobRow
from ._waiters import Waiters


class Results:
    """One for each client."""

    def __init__(self, runtime: Runtime, enqueuer: Enqueuer, waiters: Waiters) -> None:
        self._runtime = runtime
        self._enqueuer = enqueuer
        self._waiters = waiters

    async def wait(
        self, queue: Queue[Input, Output, Error], id: JobId
    ) -> JobRecord[Input, Output, Error]:
        """Return how a chain has ended, once it has; see `M25.wait`."""
        with self._waiters.waiting(queue, id) as wait:
            row = await self._waiters.end_of(wait)
        return _as_record(row, queue, id)

    async def result(self, queue: Queue[Any, Output, Any], id: JobId) -> Output:
        """Return the output of a job, or raise its error; see `M25.result`."""
        return _output_of(await self.wait(queue, id))

    async def call(self, queue: Queue[Input, Output, Any], job: Input | Job[Input]) -> Output:
        """Put a job on a queue, and return its output; see `M25.call`."""
        waiters = self._waiters
        if _has_own_id(job):
            # It may be there already, and then nobody would be notified of its end.
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
            row = await waiters.end_of(wait)
        return _output_of(_as_record(row, queue, JobId(id)))

    async def current(
        self,
        queue: Queue[Input, Output, Error],
        id: JobId,
        connection: pg.AsyncConnection[Any] | None,
    ) -> JobRecord[Input, Output, Error]:
        """Read the latest attempt of a job; see `M25.current`."""
        check_connection(connection)
        try:
            rows = await self._runtime.store.latest([str(id)], connection)
        except StatementFailed as failure:
            raise_query_error(failure)
        return _as_record(rows.get(str(id)), queue, id)

    async def attempts(
        self,
        queue: Queue[Input, Output, Error],
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
        return [_as_record(row, queue, id) for row in rows]

    async def progress(self, queue: Queue[Any, Any, Any], id: JobId) -> AsyncGenerator[Progress]:
        """Yield what a job's handler reports, until the job has ended; see `M25.progress`."""
        waiters = self._waiters
        latest: Progress | None = None
        with waiters.waiting(queue, id) as wait, waiters.following(wait):
            while True:
                # The caller may take its time with a report, and miss a change.
                seen, row, is_answered = wait.seen, wait.row, wait.is_answered
                if row is not None:
                    report = read_report(row)
                    if report is not None and report != latest:
                        latest = report
                        yield report
                elif is_answered:
                    raise NoJobRecordFound(id, queue.name)
                if is_answered:
                    return
                if wait.seen is seen:
                    await waiters.change_of(wait)


def _has_own_id(job: object) -> bool:
    return isinstance(job, Job) and cast("Job[Any]", job).id is not None


def _as_record(
    row: JobRow | None, queue: Queue[Input, Output, Error], id: JobId
) -> JobRecord[Input, Output, Error]:
    if row is None or row.queue_name != queue.name:
        raise NoJobRecordFound(id, queue.name)
    return decode_record(row, queue)


def _output_of(record: JobRecord[Any, Output, Any]) -> Output:
    """The output of a job that has ended.

    Raises:
        Exception: the declared error that it ended with.
        JobFailed, JobCancelled: as they say.
    """
    if record.status is JobStatus.CANCELLED:
        raise JobCancelled(record)
    if record.status is JobStatus.SUCCEEDED:
        # Of a queue that returns nothing it is `None`.
        return record.output  # type: ignore[return-value]  # pyright: ignore[reportReturnType]
    if record.error_data is not None:
        raise record.error_data
    raise JobFailed(record)
