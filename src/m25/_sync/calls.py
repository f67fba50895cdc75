"""The calls of `m25.sync`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, nullcontext
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from .._base_queue import BaseQueue
from .._cancel_asks import Ask, Asks, ask_to_cancel, cancel_errors, check_words, reason_below
from .._duration import Duration, as_timedelta
from .._enqueue.answers import EnqueuedMany
from .._enqueue.batch import Batch
from .._enqueue.conflicts import batch_refused, enqueue_failed
from .._enqueue.many import Many
from .._enqueue.rows import make_job, record_of, split
from .._errors import UsageError
from .._ids import IdSource
from .._job import Error, Input, Job, JobId, JobRecord, Output
from .._lifecycle import FINAL
from .._query import as_job_id, check_is_queue, raise_query_error
from .._record import decode_record, found_row, read_output
from .._store.failures import RowRefused, StatementFailed
from .._store.protocol import AnyJob, JobRow, UniqueJob
from .._store.steps import Calls, Steps
from .._store.tree_steps import TreeCalls
from .._store.unique_steps import UniqueCalls
from ..pg._backoff import Backoff
from .database import Database, database_of

T = TypeVar("T")

#: The pauses between two looks at a job that is waited for, in seconds.
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5

_FINAL: Final = frozenset(status.value for status in FINAL)


def enqueue(
    connection: Any,
    queue: BaseQueue[Input, Output, Error],
    job: Input | Job[Input],
    *,
    notify: bool = True,
    schema: str = "m25",
) -> JobRecord[Input, Output, Error]:
    """Put a job on a queue, in the transaction of a connection of yours.

    The job exists if and only if that transaction commits. Where the job is refused, the
    transaction stays usable, if its isolation level is READ COMMITTED. A unique key or an id that
    another open transaction holds is waited for.

    Args:
        connection: a `psycopg.Connection`, a `Connection` or `Session` of SQLAlchemy, or Django's
            `connection`.
        queue: where the job goes.
        job: an input or a `Job`. With an `id` of your own it is safe to enqueue it again.
        notify: whether workers are notified at the commit. Without it they find the job at the next
            poll. Notifying excludes `PREPARE TRANSACTION`.
        schema: the one that m25's tables are in.

    Raises:
        ValueRefused: the input cannot be kept as JSON.
        UniqueKeyConflict: another job holds the unique key.
        JobIdConflict: another job has the id: on another queue, of another input or of other
            options.
        EnqueueQueryError: the database failed. Where the connection was lost, and commits each
            statement by itself, the job may exist.
        TypeError: the connection is none of these.
        UsageError: there is another driver than psycopg beneath it; or its `client_encoding` is
            `SQL_ASCII`.
    """
    check_is_queue(queue)
    database = database_of(connection, schema)
    value, options = split(job)
    new = make_job(queue, value, options, IdSource())
    calls = UniqueCalls(Calls(schema))
    channels = [queue.name] if notify else []
    try:
        # A `Unique` is looked at and kept by several statements.
        with database.atomic() if isinstance(new, UniqueJob) else nullcontext():
            (answer,) = database.run(calls.enqueue_any([new], channels, None))
    except StatementFailed as failure:
        id = new.job.id if isinstance(new, UniqueJob) else new.id
        enqueue_failed(failure, [JobId(id)], in_transaction=True)
    return record_of(answer, new, value, options, queue)


def enqueue_many(
    connection: Any,
    queue: BaseQueue[Input, Output, Error],
    jobs: Iterable[Input | Job[Input]],
    *,
    skip_conflicts: bool = False,
    notify: bool = True,
    schema: str = "m25",
) -> EnqueuedMany:
    """Put any number of jobs on a queue, all of them or none, in the transaction of a connection.

    Jobs are taken from `jobs`, and written some hundreds at a time. With `skip_conflicts`, a job
    whose unique key is held is left out, and `conflicts` of the answer names it. All else is as in
    `enqueue`.

    Raises:
        ValueRefused: an input cannot be kept as JSON; a note on the error says the position of its
            job. None of the jobs was written, as with the errors below.
        UniqueKeyConflict: another job holds a unique key, and `skip_conflicts` is not set.
        JobIdConflict: another job has the id of one of them.
        EnqueueQueryError, TypeError, UsageError: as `enqueue` does.
    """
    check_is_queue(queue)
    database = database_of(connection, schema)
    calls = UniqueCalls(Calls(schema))
    make_id = IdSource()
    batch = Batch(lambda job: make_job(queue, *split(job), make_id))
    many = Many(queue, skip_conflicts)
    channels = [queue.name] if notify else []

    def insert(jobs: list[AnyJob]) -> None:
        if jobs:
            # Once is enough: workers are notified at the commit.
            notified = [] if many.found.ids else channels
            many.add(jobs, database.run(calls.enqueue_any(jobs, notified, None)))

    try:
        with database.atomic():
            for job in jobs:
                insert(batch.add(job))
            insert(batch.rest())
    except RowRefused as refused:
        batch_refused(refused, len(many.found.ids))
    except StatementFailed as failure:
        enqueue_failed(failure, many.found.ids, in_transaction=True)
    return many.found


def get(
    connection: Any,
    queue: BaseQueue[Input, Output, Error],
    id: JobId | UUID | str,
    *,
    schema: str = "m25",
) -> JobRecord[Input, Output, Error]:
    """Read a job of this queue, in the transaction of a connection of yours.

    Raises:
        NoJobRecordFound: the queue has no such job.
        InvalidJob: the id is given as a text, and that is not the text of a UUID.
        JobRecordFetchDecodeErrors: the row holds values that are not of the queue's types.
        JobRecordFetchQueryError: the database failed.
        TypeError, UsageError: as `enqueue` does.
    """
    check_is_queue(queue)
    id = as_job_id(id)
    database = database_of(connection, schema)
    answer = _asked(database, Calls(schema).get([str(id)]))
    return decode_record(found_row(answer.get(str(id)), queue, id), queue)


def attempt_rows(connection: Any, id: JobId | UUID | str, schema: str) -> list[JobRow]:
    """Read all attempts of a job, in order, whatever its queue; none if there is no such job.

    Raises:
        InvalidJob: the id is given as a text, and that is not the text of a UUID.
        JobRecordFetchQueryError: the database failed.
        TypeError, UsageError: as `enqueue` does.
    """
    return _asked(database_of(connection, schema), Calls(schema).attempts(str(as_job_id(id))))


def result(
    connection: Any,
    queue: BaseQueue[Any, Output, Any],
    id: JobId | UUID | str,
    *,
    timeout: Duration | None = None,
    schema: str = "m25",
) -> Output:
    """Block until a job of this queue has ended; return its output, or raise its error.

    The job is its whole chain of attempts, and `id` that of any of them. It is looked for at first
    every 20 ms, and then every half second.

    Args:
        connection: one of yours in which no transaction is open: a job that was enqueued in it does
            not run before the commit. None is left open.
        queue: the job's queue.
        id: the job's, or that of any of its attempts.
        timeout: how long to wait at most, in seconds or as a `timedelta`; without one, for as long
            as it takes.
        schema: the one that m25's tables are in.

    Raises:
        Exception: the declared error with which the job ended.
        JobFailed, JobCancelled: it ended otherwise.
        TimeoutError: it has not ended by then.
        UsageError: a transaction is open on the connection; or as `enqueue` does.
        NoJobRecordFound, InvalidJob, JobRecordFetchDecodeErrors, JobRecordFetchQueryError,
            TypeError: as `get` does.
    """
    check_is_queue(queue)
    id = as_job_id(id)
    database = database_of(connection, schema)
    with _query_errors():
        has_transaction = database.has_transaction
    if has_transaction:
        raise UsageError(
            "m25.sync.result waits for a job, and a transaction is open on its connection: a job"
            " that was enqueued in it runs after the commit; commit first, or roll back"
        )
    ends_at = None
    if timeout is not None:
        seconds = as_timedelta(timeout, "timeout", ValueError, zero=True).total_seconds()
        ends_at = time.monotonic() + seconds
    backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
    while True:
        with _query_errors(), database.looking() as looking:
            answer = looking.run(Calls(schema).latest([str(id)]))
        row = found_row(answer.get(str(id)), queue, id)
        if row.status in _FINAL:
            return read_output(row, queue)
        pause = backoff.failed()
        if ends_at is not None:
            left = ends_at - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"job {id} has not ended within {timeout} s: it is {row.status}")
            pause = min(pause, left)
        time.sleep(pause)


def cancel(
    connection: Any,
    queue: BaseQueue[Input, Output, Error],
    id: JobId | UUID | str,
    *,
    running: bool = False,
    by: str | None = None,
    reason: str | None = None,
    schema: str = "m25",
) -> JobRecord[Input, Output, Error]:
    """Cancel a job, in the transaction of a connection of yours, and return it.

    A pending job is cancelled at once; with `running` one that a worker has claimed is asked for,
    as `M25.cancel_job` has it. A row that another open transaction has locked is waited for.

    Raises:
        InvalidState: the job has ended; or it is claimed, without `running` or by a worker of the
            original m25.
        JobCancelNotFound: the queue has no such job. It is a `NoJobRecordFound`, too.
        JobCancelFetchError: the job's row cannot be read; the error's `error` says why.
        JobCancelQueryError: the database failed.
        InvalidJob: the id is given as a text, and that is not the text of a UUID.
        ValueError: `by` or `reason` is no text that the database can hold, or is too long.
        TypeError, UsageError: as `enqueue` does.
    """
    check_is_queue(queue)
    check_words("by", by)
    check_words("reason", reason)
    id = as_job_id(id)
    database = database_of(connection, schema)
    calls = Calls(schema)

    def answer(ask: Ask) -> JobRow | None:
        match ask.call:
            case "cancel":
                steps = calls.cancel(
                    ask.id, queue.name, by, reason, with_children=ask.with_children
                )
                return database.run(steps)
            case "request_cancel":
                return database.run(calls.request_cancel(ask.id, queue.name, by, reason))
            case "latest":
                return database.run(calls.latest([ask.id])).get(ask.id)

    # What the job has started is cancelled with it.
    with cancel_errors(), database.atomic():
        row = _answered(ask_to_cancel(queue, id, running=running), answer)
        if row.has_children:
            _cancel_descendants(database, row, by, reason or reason_below(row), schema)
        return decode_record(row, queue)


def _answered(asks: Asks, answer: Callable[[Ask], JobRow | None]) -> JobRow:
    ask = next(asks)
    while True:
        row = answer(ask)
        try:
            ask = asks.send(row)
        except StopIteration as done:
            return cast("JobRow", done.value)


def _cancel_descendants(
    database: Database, row: JobRow, by: str | None, reason: str, schema: str
) -> None:
    calls = TreeCalls(Calls(schema))
    backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
    # What others have locked is looked at again.
    while database.run(calls.cancel_descendants([row.job_id], (), by, reason)).is_unfinished:
        time.sleep(backoff.failed())


def _asked(database: Database, steps: Steps[T]) -> T:
    with _query_errors():
        return database.run(steps)


@contextmanager
def _query_errors() -> Generator[None]:
    try:
        yield
    except StatementFailed as failure:
        raise_query_error(failure)
