"""The enqueuer: puts jobs into the table, one by one or many at once.

Calls of `enqueue` at the same time share a statement and a commit, and each has its own answer.
`enqueue_many` is one transaction of many statements: a batch is made while the one before is
written.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeAlias

import trio

from .. import pg
from .._base_queue import BaseQueue
from .._batcher import Batcher
from .._completion import complete
from .._errors import InvalidJob
from .._groups import unwrapped
from .._job import Error, Input, Job, JobId, JobRecord, Output
from .._lock_waits import FIRST_WAIT, LockWaits
from .._query import check_connection
from .._runtime import Runtime
from .._store.failures import RowRefused, StatementFailed, sort_error
from .._store.protocol import (
    AnyJob,
    NewJob,
    Twin,
    UniqueAnswer,
    UniqueJob,
    row_of,
)
from .._tracer import carry, sending
from ..pg._backoff import Backoff
from ..pg._wire import CLEAN_UP
from .answers import EnqueuedMany
from .batch import size_of
from .batches import make_batches
from .conflicts import batch_refused, enqueue_failed
from .many import Many
from .notifier import Notifier
from .rows import make_job, record_of, split

#: How long `enqueue_many` waits for a lock before it rolls back and begins again: less than the
#: second after which PostgreSQL looks for deadlocks.
_LOCK_WAIT_OF_MANY: Final = timedelta(seconds=0.5)
#: The first and the longest pause before it begins again, in seconds.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
#: How long notifying may take after the commit of `enqueue_many`, in seconds.
_NOTIFY_TIMEOUT: Final = 1.0


#: A job to be inserted, its row, and whether workers are to be notified. To make a bare tuple calls
#: nothing.
_Request: TypeAlias = tuple[AnyJob, NewJob, bool]


class Enqueuer:
    """One for each client."""

    def __init__(
        self, runtime: Runtime, lock_waits: LockWaits, closed: Callable[[], Exception]
    ) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._lock_waits = lock_waits
        self._notifier = Notifier(runtime.store)
        # An insert waits while another open transaction holds its unique key or its id. Jobs with
        # neither a key nor an id of the caller's meet nobody's, and go in statements of their own:
        # these need no bound for their waits. Those with a `Unique` are a transaction of several
        # statements.
        self._batcher, self._named_batcher, self._unique_batcher = (
            Batcher[_Request, UniqueAnswer](
                partial(self._enqueue_batch, lock_wait),
                closed,
                unanswered=_unanswered,
                size=_size_of,
            )
            for lock_wait in (None, FIRST_WAIT, FIRST_WAIT)
        )

    async def run(self) -> None:
        """Write the jobs that are waiting, and notify workers of them, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._batcher.run)
            nursery.start_soon(self._named_batcher.run)
            nursery.start_soon(self._unique_batcher.run)
            nursery.start_soon(self._notifier.run)

    def enqueue(
        self,
        queue: BaseQueue[Input, Output, Error],
        job: Input | Job[Input],
        connection: pg.AsyncConnection[Any] | None,
        notify: bool,
        *,
        id: str | None = None,
        waiter: str | None = None,
    ) -> Awaitable[JobRecord[Input, Output, Error]]:
        """Put a job on a queue; see `M25.enqueue`.

        `id` is a new one of the runtime's, where the caller is to know it before the job is there.
        `waiter` is the channel on which the job's end is notified.
        """
        if connection is not None:
            check_connection(connection)
        # Returned as it is: another coroutine around it would slow down each of its steps.
        enqueue = self._enqueue if self._runtime.tracer is None else self._enqueue_traced
        return enqueue(queue, job, connection, notify, id, waiter)

    async def _enqueue_traced(
        self, queue: BaseQueue[Input, Output, Error], job: Input | Job[Input], *rest: Any
    ) -> JobRecord[Input, Output, Error]:
        with sending(self._runtime.tracer, queue.name) as sent:
            record = await self._enqueue(queue, job, *rest)
            sent(1, record.id)
        return record

    async def _enqueue(
        self,
        queue: BaseQueue[Input, Output, Error],
        job: Input | Job[Input],
        connection: pg.AsyncConnection[Any] | None,
        notify: bool,
        id: str | None,
        waiter: str | None,
    ) -> JobRecord[Input, Output, Error]:
        runtime = self._runtime
        value, options = self._split(job)
        new = make_job(queue, value, options, runtime.make_id, id=id, waiter=waiter)
        row = row_of(new)
        try:
            if connection is None:
                answer = await self._ask((new, row, notify), is_named=options.id is not None)
            else:
                channels = [queue.name] if notify else []
                (answer,) = await self._insert([new], channels, connection)
        except StatementFailed as failure:
            enqueue_failed(failure, [JobId(row.id)], in_transaction=connection is not None)
        record = record_of(answer, new, value, options, queue)
        if record.unique_outcome is not None:
            # A job that is there may be due earlier than it was.
            runtime.hints.work(queue.name, rewind=isinstance(answer, Twin))
        return record

    async def _ask(self, request: _Request, *, is_named: bool) -> UniqueAnswer:
        """Have a job inserted together with others; alone, once it has met a lock."""
        job, row, _ = request
        names = [row.id] if is_named else []
        if row.unique_key is not None:
            names.append(row.unique_key)
        batcher = self._named_batcher if names else self._batcher
        if isinstance(job, UniqueJob):
            names.append(f"{row.queue_name}\0{job.key}")
            batcher = self._unique_batcher
        if not names or not self._lock_waits.is_waited_for(names):
            try:
                return await batcher.ask(request)
            except StatementFailed as failure:
                if not failure.waits_for_lock:
                    raise
        return await self._lock_waits.run(partial(self._enqueue_alone, request), names)

    async def _enqueue_alone(self, request: _Request, lock_wait: timedelta) -> UniqueAnswer:
        job, row, notify = request
        (answer,) = await self._insert([job], [], lock_wait=lock_wait)
        if notify:
            self._notifier.notify_soon([row.queue_name])
        self._runtime.hints.enqueued([row])
        return answer

    def _insert(
        self,
        jobs: Sequence[Any],
        channels: Sequence[str],
        connection: pg.AsyncConnection[Any] | None = None,
        *,
        lock_wait: timedelta | None = None,
    ) -> Awaitable[Sequence[UniqueAnswer]]:
        """Insert jobs that all have a `Unique`, or none of which has one."""
        # Returned as it is: another coroutine around it would slow down each of its steps.
        insert = (
            self._store.enqueue_unique if isinstance(jobs[0], UniqueJob) else self._store.enqueue
        )
        return insert(jobs, channels, connection, lock_wait=lock_wait)

    async def enqueue_many(
        self,
        queue: BaseQueue[Input, Output, Error],
        jobs: Iterable[Input | Job[Input]] | AsyncIterable[Input | Job[Input]],
        skip_conflicts: bool,
        connection: pg.AsyncConnection[Any] | None,
        notify: bool,
    ) -> EnqueuedMany:
        """Put many jobs on a queue, or none; see `M25.enqueue_many`."""
        check_connection(connection)
        with sending(self._runtime.tracer, queue.name) as sent:
            if connection is not None:
                channels = [queue.name] if notify else []
                many = Many(queue, skip_conflicts)
                await self._insert_many(many, jobs, channels, connection)
            else:
                many = await self._insert_many_until_no_lock_is_met(queue, jobs, skip_conflicts)
            sent(len(many.found.ids) - len(many.found.conflicts), None)
        if connection is not None:
            return many.found
        self._runtime.hints.work(queue.name)
        if many.is_scheduled:
            self._runtime.hints.survey.set()
        if notify and many.found.ids:
            # The jobs are there: a cancellation must not say otherwise.
            with trio.move_on_after(_NOTIFY_TIMEOUT, shield=True):
                await self._notifier.notify([queue.name])
        return many.found

    async def _insert_many_until_no_lock_is_met(
        self,
        queue: BaseQueue[Any, Any, Any],
        jobs: Iterable[Any] | AsyncIterable[Any],
        skip_conflicts: bool,
    ) -> Many:
        # A transaction that waits for a key holds those that it has inserted, and another one may
        # wait for these: a deadlock. So it gives up all of them, and begins again. What can be
        # iterated once only cannot begin again; it waits as long as it takes.
        is_repeatable = isinstance(jobs, Collection)
        lock_wait = _LOCK_WAIT_OF_MANY if is_repeatable else None
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            many = Many(queue, skip_conflicts)
            try:
                await self._insert_many(many, jobs, [], None, lock_wait)
            except StatementFailed as failure:
                if not is_repeatable or not (failure.waits_for_lock or failure.is_transactions):
                    enqueue_failed(failure, many.found.ids)
            else:
                return many
            await trio.sleep(backoff.failed())

    async def _insert_many(
        self,
        many: Many,
        jobs: Iterable[Any] | AsyncIterable[Any],
        channels: Sequence[str],
        connection: pg.AsyncConnection[Any] | None,
        lock_wait: timedelta | None = None,
    ) -> None:
        def make(job: Any) -> AnyJob:
            return self._make(many.queue, *self._split(job))

        try:
            with unwrapped():
                # With room for none: while a batch is written, the next one is made, and no more.
                made, batches = trio.open_memory_channel[list[AnyJob]](0)
                with made, batches:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(make_batches, jobs, make, made)
                        await self._store.enqueue_all(
                            batches, channels, many.add, connection, lock_wait=lock_wait
                        )
        except RowRefused as refused:
            batch_refused(refused, len(many.found.ids))
        except StatementFailed as failure:
            if connection is None:
                raise
            enqueue_failed(failure, many.found.ids, in_transaction=True)

    def new_job(
        self, queue: BaseQueue[Any, Any, Any], job: object, *, id: str, waiter: str | None
    ) -> NewJob:
        """The row of a job that is to have this id.

        Raises:
            ValueRefused: the input cannot be kept as JSON.
            InvalidJob: the job has a `Unique`.
        """
        new = self._make(queue, *self._split(job), id=id, waiter=waiter)
        if isinstance(new, UniqueJob):
            raise InvalidJob(
                "a job of a nursery belongs to the job that starts it, and cannot have a Unique;"
                " enqueue it, and wait for it by its id"
            )
        return new

    def _split(self, job: Input | Job[Input]) -> tuple[Input, Job[Any]]:
        value, options = split(job)
        tracer = self._runtime.tracer
        return value, options if tracer is None else carry(options, tracer.carried())

    def _make(
        self,
        queue: BaseQueue[Any, Any, Any],
        value: Any,
        options: Job[Any],
        *,
        id: str | None = None,
        waiter: str | None = None,
    ) -> AnyJob:
        return make_job(queue, value, options, self._runtime.make_id, id=id, waiter=waiter)

    async def _enqueue_batch(
        self, lock_wait: timedelta | None, requests: Sequence[_Request]
    ) -> Sequence[UniqueAnswer | Exception]:
        jobs: list[AnyJob] = []
        rows: list[NewJob] = []
        names: dict[str, None] = {}
        for job, row, notify in requests:
            jobs.append(job)
            rows.append(row)
            if notify:
                names[row.queue_name] = None
        answers: Sequence[UniqueAnswer | Exception]
        channels = self._notifier.in_statement(names)
        try:
            try:
                answers = await self._insert(jobs, channels, lock_wait=lock_wait)
            except StatementFailed as failure:
                if not channels or not failure.is_about_notifying:
                    raise
                # A notification is a hint. That the database cannot take it is no reason not to
                # enqueue.
                self._notifier.notify_soon(channels)
                answers = await self._insert(jobs, [], lock_wait=lock_wait)
        except RowRefused as error:
            if len(jobs) == 1:
                return [error]
            # One of the rows is the reason; each is tried alone, so that the others are written.
            # What was written is to be known, also if this is cancelled in between.
            try:
                one_by_one = partial(self._enqueue_one_by_one, lock_wait, requests)
                return await complete(one_by_one, CLEAN_UP)
            except trio.TooSlowError:
                raise _unanswered() from error
        self._runtime.hints.enqueued(rows)
        return answers

    async def _enqueue_one_by_one(
        self, lock_wait: timedelta | None, requests: Sequence[_Request]
    ) -> list[UniqueAnswer | Exception]:
        answers: list[UniqueAnswer | Exception] = []
        for request in requests:
            try:
                answers += await self._enqueue_batch(lock_wait, [request])
            except StatementFailed as failure:
                answers.append(failure)
        return answers


def _size_of(request: _Request) -> int:
    return size_of(request[0])


def _unanswered() -> StatementFailed:
    reason = f"the database did not answer to an enqueue within {CLEAN_UP:g} s"
    return sort_error("enqueue", pg.OutcomeUnknown(reason))
