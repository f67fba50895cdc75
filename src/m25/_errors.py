"""The exception tree, from `M25Error` on; long, since each class says when it is raised.

    M25Error
    ├─ UsageError        m25 is not to be used like this
    ├─ ValueRefused      a value cannot be kept as JSON
    ├─ DatabaseError     the database failed; beside the call's own error, which it is as well
    ├─ MigrationError    its schema does not fit
    ├─ UnsupportedServer it is no PostgreSQL, or is too old, or spreads the tables over several
    ├─ EnqueueError, JobRecordFetchError, JobCancelError      a call's own
    ├─ JobFailed, JobCancelled                                what a job that is waited for came to
    └─ JobRecordDecodeError                                   what a stored job's field holds

The names below `JobRecordFetchError`, `JobRecordDecodeError` and `JobCancelError` are those of the
original m25. A database error is never replaced: it is the `__cause__` of the one raised here.

They are plain classes, whose `args` are the message: those of attrs have their fields there, and
can be pickled only while each field is given by position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._job import JobId, JobStatus


class M25Error(Exception):
    """Base of every error m25 raises on its own account.

    Each can be copied, and pickled: it comes back with its message, its fields and its notes.
    """

    # Tracebacks, crash columns and pickles name these classes by where they are to be imported
    # from, whether anybody has imported that yet or not.
    __module__ = "m25.errors"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__.startswith("m25._") and cls.__module__.endswith("_errors"):
            cls.__module__ = "m25.errors"

    def __reduce__(self) -> tuple[Any, ...]:
        # By default an exception is made anew from its `args`. Those are the message, and not what
        # the classes below are made from; so their `__init__` is left out.
        return _without_init, (type(self), self.args), self.__dict__


def _without_init(cls: type[M25Error], args: tuple[Any, ...]) -> M25Error:
    return cls.__new__(cls, *args)


class UsageError(M25Error):
    """m25 cannot be used like this: a mistake in the program that calls it."""


class DatabaseError(M25Error):
    """The database could not be reached, or did not do what it was asked to.

    It may work when it is tried again. A schema of another version is no such failure; that is a
    `MigrationError`.
    """


class InvalidQueue(UsageError, ValueError):
    """A queue cannot be declared like this; raised when it is declared, never later.

    The message names the queue, what is wrong, and the file and line of the handler.
    """


class InvalidJob(UsageError, ValueError):
    """A job's options are out of range; raised when the job is made. Nothing was written."""


class DuplicateQueue(UsageError):
    """A queue of this name is already registered with the client.

    From the original's `add_queue`, which returns an error for the same.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"queue {name!r} is already registered; queue names are unique within one m25.open()"
        )
        self.name = name


class ClientClosed(UsageError):
    """The client was used after its `async with m25.open(...)` block had been left."""


class AlreadyStarted(UsageError):
    """`start` or `run` was called on a client whose queues are already running."""


class QueueStartError(DatabaseError):
    """A queue's manager did not initialise within `queue_init_timeout`.

    What its jobs share could not be opened, as by its `lifespan`, or its first claim was not
    answered; the latest error, if there was one, is the `__cause__`.
    """

    def __init__(self, queue_name: str, reason: str) -> None:
        super().__init__(f"queue {queue_name!r} did not start: {reason}")
        self.queue_name = queue_name


class DatabaseUnavailable(DatabaseError):
    """The database could not be reached, or refused the connection.

    The psycopg error is the `__cause__`. The message names host, port and database, and never the
    password.
    """


class MigrationError(M25Error):
    """The schema in the database and the one this version of m25 works with do not fit."""


class DatabaseNotMigrated(MigrationError):
    """The schema is missing or behind; `m25 migrate --apply` brings it up to date."""


class DatabaseTooNew(MigrationError):
    """A newer m25 has migrated the schema so that this one cannot use it; nothing was touched."""


class UnsupportedServer(M25Error):
    """The server is no PostgreSQL, or one that is too old; or Citus has spread m25's tables over
    several. The message says what does not work there, and what to do.
    """


class NotInJob(UsageError):
    """`current_job()` was called outside a handler."""


class CutShort(M25Error):
    """A handler was cut short, and its attempt must not begin again.

    So it is with `allowed_losses=0`, where the handler runs in a thread, which goes on, and where
    the connection of its transaction was lost several times in a row.

    It is not raised: it is the `crash_type` of such an attempt.
    """


class SetupSwallowed(M25Error):
    """A handler was ended by its queue's `setup`: a scope or a `suppress` around it, in the block.

    It is not raised: it is the `crash_type` of such an attempt, since the handler did not return.
    """


class AroundSwallowed(M25Error):
    """A handler was ended by one of its client's `around`: a scope or a `suppress` in its block.

    It is not raised: it is the `crash_type` of such an attempt, since the handler did not return.
    """


class ProcessDied(M25Error):
    """The process of a handler ended before the handler did: it was killed, or ended itself.

    It is not raised: it is the `crash_type` of such an attempt.
    """


class ProcessNotStarted(M25Error):
    """No process could be started for a queue's handlers, or it could not import their queue.

    The message says why; a note has the traceback, where there is one. It is not raised: it is the
    `crash_type` of an attempt, or the `__cause__` of a `QueueStartError`.
    """


class RaisedInProcess(M25Error):
    """What a handler raised in a process of its own, and its queue does not declare.

    An `around` sees it, and so does whoever listens to events. The crash columns have what was
    raised: `type_name`, `message` and `traceback` are those of the exception in the process.
    """

    def __init__(self, type_name: str, message: str, traceback: str | None) -> None:
        super().__init__(f"{type_name}: {message}\n\nin the process:\n{traceback}")
        self.type_name = type_name
        self.message = message
        self.traceback = traceback


class LifespanEnded(M25Error):
    """A queue's `lifespan` ended its block while the queue ran, by a scope of its own.

    It is not raised: an event has it. The jobs that ran are released, and the lifespan is entered
    again.
    """


class SetupTooSlow(M25Error):
    """A queue's `setup` took longer than `executor_init_timeout`, too often in a row.

    It is not raised: it is the `crash_type` of such an attempt.
    """


class SetupUnusable(M25Error):
    """A queue's `setup` returned what is no async context manager.

    It is not raised: it is the `crash_type` of such an attempt, since no other try could do better.
    """

    def __init__(self, returned: object) -> None:
        name = f"{type(returned).__module__}.{type(returned).__qualname__}"
        hint = ""
        if hasattr(returned, "__enter__"):
            hint = (
                ": a context manager that is not async; @contextlib.asynccontextmanager makes one"
            )
        elif hasattr(returned, "__await__"):
            hint = ", which would have to be awaited: a setup is called, and not awaited"
        super().__init__(f"setup must return an async context manager, and returned {name}{hint}")


class ValueRefused(M25Error, ValueError):
    """A value cannot be kept as JSON; nothing was written.

    `path` says where in the value, as Python would write it after the value's name:
    `.lines[3].price`; it is empty when the value itself is at fault. The keys of mappings are part
    of the path. Nothing else of what is in the value is in the error's text.
    """

    def __init__(self, what: str, path: str, reason: str) -> None:
        super().__init__(f"{what}{path}: {reason}")
        self.what = what
        self.path = path
        self.reason = reason


class EnqueueError(M25Error):
    """A job could not be put on its queue, although nothing is wrong with the job."""


class UniqueKeyConflict(EnqueueError):
    """The unique key is held by a job that is neither failed nor cancelled; nothing was written.

    `job_id` is the id of the job that holds the key.
    """

    def __init__(self, unique_key: str, job_id: JobId) -> None:
        super().__init__(
            f"unique key {unique_key!r} is held by job {job_id}; it is free again once that job "
            "has failed or been cancelled"
        )
        self.unique_key = unique_key
        self.job_id = job_id


class JobIdConflict(EnqueueError, InvalidJob):
    """A job of this id exists, and is not the same; nothing was written.

    The same is one on the same queue, with equal input and options. `differs` names the fields in
    which it is not: of a `Job`, or `queue_name`.
    """

    def __init__(self, job_id: JobId, queue_name: str, differs: Sequence[str]) -> None:
        if "queue_name" in differs:
            what = f"is on queue {queue_name!r}"
        else:
            what = f"differs from what was enqueued now: {', '.join(differs)}"
        super().__init__(f"job {job_id} exists, and {what}; nothing was written")
        self.job_id = job_id
        self.differs: tuple[str, ...] = tuple(differs)


class JobRecordFetchError(M25Error):
    """A job record could not be fetched from the database."""


class JobRecordFetchQueryError(JobRecordFetchError, DatabaseError):
    """The database refused or lost the statement; its error is the `__cause__`."""


class EnqueueQueryError(EnqueueError, JobRecordFetchQueryError):
    """The database refused or lost the statement that enqueues; its error is the `__cause__`.

    Nothing was written, unless it is an `OutcomeUnknown`.

    A `JobRecordFetchQueryError` as well: that is what the original raises here.
    """


class OutcomeUnknown(EnqueueQueryError):
    """Jobs were sent to the database, and no answer came: they are in the table, all, or none is.

    The call was cancelled and the server did not answer within five seconds, or the connection died
    at the commit. To repeat it is safe with these ids: what is there is not put a second time.
    """

    def __init__(self, reason: str, job_ids: Sequence[JobId]) -> None:
        which = f"job {job_ids[0]} is" if len(job_ids) == 1 else f"these {len(job_ids)} jobs are"
        super().__init__(
            f"{reason}; nobody knows whether {which} in the table: enqueue again with the same id,"
            " Job(…, id=…), which is safe to repeat"
        )
        #: The ids, also those that m25 has made.
        self.job_ids = job_ids


class NoJobRecordFound(JobRecordFetchError):
    """No job of this id is in this queue."""

    def __init__(self, job_id: JobId, queue_name: str | None) -> None:
        place = "no queue has a" if queue_name is None else f"queue {queue_name!r} has no"
        super().__init__(f"{place} job {job_id}")
        self.job_id = job_id
        self.queue_name = queue_name


class JobRecordDecodeError(M25Error):
    """One field of a stored job cannot be read as what it should be."""

    def __init__(self, job_id: JobId, field: str, reason: str) -> None:
        super().__init__(f"job {job_id}: {field}: {reason}")
        self.job_id = job_id
        self.field = field
        self.reason = reason


class JobRecordFetchInvalidStatusError(JobRecordDecodeError):
    """The row's status is none of `JobStatus`."""

    def __init__(self, job_id: JobId, status: str) -> None:
        super().__init__(job_id, "status", f"unknown status {status!r}")
        self.status = status


class JobRecordFetchInvalidFailureReason(JobRecordDecodeError):
    """The row's failure reason is none of `FailureReason`."""

    def __init__(self, job_id: JobId, failure_reason: str) -> None:
        super().__init__(job_id, "failure_reason", f"unknown reason {failure_reason!r}")
        self.failure_reason = failure_reason


class JobRecordFetchJsonDecodeError(JobRecordDecodeError):
    """The row's input, output, error or meta is not of the queue's type; why is the `__cause__`.

    `path` says where in the value, as in `ValueRefused`.
    """

    def __init__(self, job_id: JobId, field: str, path: str, reason: str) -> None:
        super().__init__(job_id, f"{field}{path}", reason)
        self.field = field
        self.path = path


class JobRecordFetchDecodeErrors(JobRecordFetchError):
    """The row was found, and `errors` says which of its fields cannot be read."""

    def __init__(self, errors: Sequence[JobRecordDecodeError]) -> None:
        super().__init__("; ".join(str(error) for error in errors))
        self.errors: tuple[JobRecordDecodeError, ...] = tuple(errors)


class JobCancelError(M25Error):
    """A job could not be cancelled."""


class JobCancelFetchError(JobCancelError):
    """The job to cancel could not be fetched; `error` says why, and is the `__cause__`."""

    def __init__(self, error: JobRecordFetchError) -> None:
        super().__init__(str(error))
        self.error = error


class JobCancelNotFound(JobCancelFetchError, NoJobRecordFound):
    """The queue has no such job to cancel: a `NoJobRecordFound`, as other calls raise it."""

    def __init__(self, error: NoJobRecordFound) -> None:
        NoJobRecordFound.__init__(self, error.job_id, error.queue_name)
        self.error = error


class JobCancelQueryError(JobCancelFetchError, DatabaseError):
    """The database refused or lost a statement: of the update, or of the look at the job."""


class InvalidState(JobCancelError):
    """The job cannot be cancelled, changed or sent to: it has ended, or is claimed: see `status`.

    A claimed job is cancelled with `running=True` alone, and not where a worker of the original
    m25 has claimed it. It is not changed.
    """

    def __init__(
        self,
        job_id: JobId,
        status: JobStatus,
        *,
        is_originals: bool = False,
        is_change: bool = False,
    ) -> None:
        if is_change:
            why = "only a pending job can be changed"
        elif is_originals:
            why = "a worker of the original m25 has claimed it, which cannot be asked to cancel it"
        elif status.value in ("reserved", "executing"):
            why = "only a pending job can be cancelled, or with running=True one that is claimed"
        else:
            why = "it has ended, and so it cannot be cancelled, nor be sent to"
        super().__init__(f"job {job_id} is {status.value}; {why}")
        self.job_id = job_id
        self.status = status
