"""m25: background jobs for Trio, with PostgreSQL as the only infrastructure.

A job is a typed value put on a queue inside your own database; a handler, an ordinary `async def`,
turns it into a typed output or a typed error, later and surely:

    @m25.queue("emails")
    async def emails(email: Email) -> None: ...

    async with m25.open(conn) as m:
        m.add_queue(emails)
        await m.start()
        await m.enqueue(emails, Email(to="ada@example.org"))
"""

from . import pg
from ._client import M25, open
from ._decorator import QueueOptions, queue
from ._enqueue.answers import EnqueuedMany, JobIds
from ._errors import (
    AlreadyStarted,
    ClientClosed,
    DatabaseNotMigrated,
    DatabaseTooNew,
    DatabaseUnavailable,
    DuplicateQueue,
    InvalidJob,
    InvalidQueue,
    InvalidState,
    JobCancelError,
    JobCancelFetchError,
    JobRecordDecodeError,
    JobRecordFetchDecodeErrors,
    JobRecordFetchError,
    JobRecordFetchInvalidFailureReason,
    JobRecordFetchInvalidStatusError,
    JobRecordFetchJsonDecodeError,
    JobRecordFetchQueryError,
    M25Error,
    MigrationError,
    NoJobRecordFound,
    NotInJob,
    QueueStartError,
    UniqueKeyConflict,
    ValueRefused,
)
from ._job import FailureReason, Job, JobId, JobRecord, JobStatus
from ._queue import Queue
from ._signals import until_signal
from ._worker.executor import current_job

__all__ = [
    "M25",
    "AlreadyStarted",
    "ClientClosed",
    "DatabaseNotMigrated",
    "DatabaseTooNew",
    "DatabaseUnavailable",
    "DuplicateQueue",
    "EnqueuedMany",
    "FailureReason",
    "InvalidJob",
    "InvalidQueue",
    "InvalidState",
    "Job",
    "JobCancelError",
    "JobCancelFetchError",
    "JobId",
    "JobIds",
    "JobRecord",
    "JobRecordDecodeError",
    "JobRecordFetchDecodeErrors",
    "JobRecordFetchError",
    "JobRecordFetchInvalidFailureReason",
    "JobRecordFetchInvalidStatusError",
    "JobRecordFetchJsonDecodeError",
    "JobRecordFetchQueryError",
    "JobStatus",
    "M25Error",
    "MigrationError",
    "NoJobRecordFound",
    "NotInJob",
    "Queue",
    "QueueOptions",
    "QueueStartError",
    "UniqueKeyConflict",
    "ValueRefused",
    "current_job",
    "open",
    "pg",
    "queue",
    "until_signal",
]
