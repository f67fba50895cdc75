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

from . import errors, pg
from ._client import M25, open
from ._decorator import QueueOptions, queue
from ._enqueue.answers import EnqueuedMany, JobIds
from ._errors import (
    DatabaseError,
    EnqueueError,
    InvalidState,
    JobCancelError,
    JobCancelled,
    JobFailed,
    JobRecordFetchError,
    M25Error,
    NoJobRecordFound,
    UniqueKeyConflict,
    UsageError,
    ValueRefused,
)
from ._job import FailureReason, Job, JobId, JobRecord, JobStatus
from ._progress import Progress
from ._queue import Queue
from ._running_job import RunningJob, current_job
from ._signals import until_signal

__all__ = [
    "M25",
    "DatabaseError",
    "EnqueueError",
    "EnqueuedMany",
    "FailureReason",
    "InvalidState",
    "Job",
    "JobCancelError",
    "JobCancelled",
    "JobFailed",
    "JobId",
    "JobIds",
    "JobRecord",
    "JobRecordFetchError",
    "JobStatus",
    "M25Error",
    "NoJobRecordFound",
    "Progress",
    "Queue",
    "QueueOptions",
    "RunningJob",
    "UniqueKeyConflict",
    "UsageError",
    "ValueRefused",
    "current_job",
    "errors",
    "open",
    "pg",
    "queue",
    "until_signal",
]
