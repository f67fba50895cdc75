"""The enqueuer: puts jobs into the table, one by one or many at once.

Calls of `enqueue` at the same time share a statement and a commit, and each has its own answer.
`enqueue_many` is one transaction of many statements: a batch is made while the one before is
written.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from typing import Any, Final, cast

import trio

from .. import pg
from .._batcher import Batcher
from .._errors import EnqueueQueryError, InvalidJob, UniqueKeyConflict
from .._groups import unwrapped
from .._job import Error, Input, Job, JobId, JobRecord, Output
from .._query import check_connection, raise_query_error
from .._queue import Queue
from .._record import META, decode_record, new_record
from .._runtime import Runtime
from .._store.failures import RowRefused, StatementFailed
from .._store.protocol import Enqueued, Exists, Held, NewJob
from .answers import EnqueuedMany
from .notifier import Notifier

#: How many jobs one statement of `enqueue_many` inserts.
_BATCH: Final = 500
#: After `enqueue_many` has prepared this many jobs, other tasks have a turn.
_PREPARED_AT_ONCE: Final = 100


class Enqueuer:
    """One for each client."""

    def __init__(self, runtime: Runtime, closed: Callable[[], Exception]) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._notifier = Notifier(runtime.store)
        # An insert waits while another open transaction holds its unique key. Jobs without a key go
        # in statements of their own, so that they need not wait, too.
        self._batcher, self._keyed_batcher = (
            Batcher[NewJob, Enqueued | Exists | Held](self._enqueue_batch, closed) for _ in range(2)
        )

    async def run(self) -> None:
        """Write the jobs that are waiting, and notify workers of them, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._batcher.run)
            nursery.start_soon(self._keyed_batcher.run)
            nursery.start_soon(self._notifier.run)

    async def enqueue(
        self,
        queue: Queue[Input, Output, Error],
        job: Input | Job[Input],
        connection: pg.AsyncConnection[Any] | None,
    ) -> JobRecord[Input, Output, Error]:
        """Put a job on a queue; see `M25.enqueue`."""
        asked = _as_job(job)
        new = self._new_job(queue, asked)
        try:
            if connection is None:
                batcher = self._batcher if new.unique_key is None else self._keyed_batcher
                answer = await batcher.ask(new)
            else:
                check_connection(connection)
                (answer,) = await self._store.enqueue([new], [queue.name], connection)
        except StatementFailed as failure:
            raise_query_error(failure, kind=EnqueueQueryError)
        match answer:
            case Held():
                raise _conflict(new, answer)
            case Exists(row):
                _check_queue(answer, queue)
                return decode_record(row, queue)
            case Enqueued(created_at):
                return new_record(new, asked, created_at)

    async def enqueue_many(
        self,
        queue: Queue[Input, Output, Error],
        jobs: Iterable[Input | Job[Input]] | AsyncIterable[Input | Job[Input]],
        skip_conflicts: bool,
        connection: pg.AsyncConnection[Any] | None,
    ) -> EnqueuedMany:
        """Put many jobs on a queue, or none; see `M25.enqueue_many`."""
        check_connection(connection)
        found = EnqueuedMany()
        scheduled = False

        def on_batch(batch: Sequence[NewJob], answers: Sequence[Enqueued | Exists | Held]) -> None:
            nonlocal scheduled
            before = len(found.ids)
            for position, (new, answer) in enumerate(zip(batch, answers, strict=True), before):
                scheduled = scheduled or new.scheduled_at is not None
                if isinstance(answer, Held):
                    conflict = _conflict(new, answer)
                    if not skip_conflicts:
                        conflict.add_note(_which(position))
                        raise conflict
                    found.conflicts[position] = conflict
                elif isinstance(answer, Exists):
                    try:
                        _check_queue(answer, queue)
                    except InvalidJob as error:
                        error.add_note(_which(position))
                        raise
            found.ids._add(
                answer.id if isinstance(answer, Held) else new.id
                for new, answer in zip(batch, answers, strict=True)
            )

        try:
            with unwrapped():
                # With room for one: the next batch is made while the one before is written.
                made, batches = trio.open_memory_channel[list[NewJob]](1)
                with made, batches:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._make_batches, queue, jobs, made)
                        await self._store.enqueue_all(batches, [queue.name], on_batch, connection)
        except RowRefused as refused:
            raise_query_error(
                refused,
                f"in enqueue_many: one of up to {_BATCH} jobs from position {len(found.ids)} on;"
                " none was enqueued",
                kind=EnqueueQueryError,
            )
        except StatementFailed as failure:
            raise_query_error(failure, kind=EnqueueQueryError)
        if connection is None:
            self._enqueued([queue.name], scheduled=scheduled)
        return found

    async def _make_batches(
        self,
        queue: Queue[Any, Any, Any],
        jobs: Iterable[Any] | AsyncIterable[Any],
        made: trio.MemorySendChannel[list[NewJob]],
    ) -> None:
        batch: list[NewJob] = []
        position = 0

        async def add(job: Any) -> None:
            nonlocal position, batch
            try:
                batch.append(self._new_job(queue, _as_job(job)))
            except Exception as error:
                error.add_note(_which(position))
                raise
            position += 1
            if len(batch) == _BATCH:
                await made.send(batch)
                batch = []
            elif position % _PREPARED_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

        if isinstance(jobs, AsyncIterable):
            async for job in jobs:
                await add(job)
        else:
            for job in jobs:
                await add(job)
        if batch:
            await made.send(batch)
        # Closed only here: the channel's end means that these were all jobs. After an error the
        # channel stays open, and the task that waits for the next batch is cancelled.
        made.close()

    def _new_job(self, queue: Queue[Any, Any, Any], job: Job[Any]) -> NewJob:
        return NewJob(
            id=self._runtime.make_id() if job.id is None else str(job.id),
            queue_name=queue.name,
            input=queue.input_codec.encode(job.input, "input"),
            scheduled_at=job.scheduled_at,
            timeout=queue.default_job_timeout if job.timeout is None else job.timeout,
            max_attempts=job.max_attempts,
            retry_delay=job.retry_delay,
            unique_key=job.unique_key,
            priority=job.priority,
            meta=None if job.meta is None else META.encode(job.meta, "meta"),
        )

    def _enqueued(self, queue_names: Iterable[str], *, scheduled: bool) -> None:
        """Leave hints: this process's own workers need not wait for a notification."""
        for name in queue_names:
            self._runtime.hints.work(name)
        if scheduled:
            self._runtime.hints.survey.set()

    async def _enqueue_batch(
        self, jobs: Sequence[NewJob]
    ) -> Sequence[Enqueued | Exists | Held | Exception]:
        names = list(dict.fromkeys(job.queue_name for job in jobs))
        answers: Sequence[Enqueued | Exists | Held | Exception]
        try:
            answers = await self._store.enqueue(jobs, self._notifier.in_statement(names))
        except RowRefused as error:
            if len(jobs) == 1:
                return [error]
            # One of the rows is the reason; each is tried alone, so that the others are written.
            answers = [(await self._enqueue_batch([job]))[0] for job in jobs]
        self._enqueued(names, scheduled=any(job.scheduled_at is not None for job in jobs))
        return answers


def _as_job(job: Input | Job[Input]) -> Job[Input]:
    return cast("Job[Input]", job) if isinstance(job, Job) else Job(job)


def _conflict(new: NewJob, held: Held) -> UniqueKeyConflict:
    assert new.unique_key is not None
    return UniqueKeyConflict(new.unique_key, JobId(held.id))


def _check_queue(exists: Exists, queue: Queue[Any, Any, Any]) -> None:
    row = exists.row
    if row.queue_name != queue.name:
        raise InvalidJob(f"job {row.id} exists, and is on queue {row.queue_name!r}")


def _which(position: int) -> str:
    return f"in enqueue_many: the job at position {position}, counted from 0; none was enqueued"
