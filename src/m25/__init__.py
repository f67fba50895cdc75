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

from typing import TYPE_CHECKING

from .pg._lazy import lazy_names

if TYPE_CHECKING:
    from . import errors, pg, sync
    from ._activity import QueueRate, WorkerRecord
    from ._base_queue import QueueSchema
    from ._batch import Batch
    from ._child_job import ChildJob
    from ._client import M25, open
    from ._declare import DeclaredQueue, declare
    from ._decorator import QueueOptions, queue
    from ._enqueue.answers import EnqueuedMany, JobIds
    from ._errors import (
        DatabaseError,
        EnqueueError,
        InvalidState,
        JobCancelError,
        JobRecordFetchError,
        M25Error,
        NoJobRecordFound,
        UniqueKeyConflict,
        UsageError,
        ValueRefused,
    )
    from ._fair import Fair
    from ._handler_errors import GiveUp, JobTimeout, RetryAfter, Snooze
    from ._job import FailedJob, FailureReason, Job, JobId, JobRecord, JobStatus
    from ._job_filter import JobFilter
    from ._job_nursery import JobNursery
    from ._keep import Keep
    from ._limit_records import LimitRecord
    from ._limiter import Limiter
    from ._limits import Limit, Rate
    from ._operations import ChangedJobs, RefusedJob
    from ._operator import QueueRecord
    from ._progress import Progress
    from ._queue import Queue
    from ._result_errors import JobCancelled, JobFailed
    from ._retry import GIVE_UP, Retry, RetryDecision, exponential
    from ._running_job import RunningJob, current_job, current_jobs
    from ._schedule_calls import ScheduleRecord
    from ._signals import until_signal
    from ._stack import JobStack
    from ._summaries import (
        AttemptDetails,
        JobCounts,
        JobDetails,
        JobPage,
        JobSummary,
        StepDetails,
    )
    from ._ticks import next_ticks
    from ._unique import Unique
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "._activity": ("QueueRate", "WorkerRecord"),
            "._base_queue": ("QueueSchema",),
            "._batch": ("Batch",),
            "._child_job": ("ChildJob",),
            "._client": ("M25", "open"),
            "._declare": ("DeclaredQueue", "declare"),
            "._decorator": ("QueueOptions", "queue"),
            "._enqueue.answers": ("EnqueuedMany", "JobIds"),
            "._errors": (
                "DatabaseError",
                "EnqueueError",
                "InvalidState",
                "JobCancelError",
                "JobRecordFetchError",
                "M25Error",
                "NoJobRecordFound",
                "UniqueKeyConflict",
                "UsageError",
                "ValueRefused",
            ),
            "._handler_errors": ("GiveUp", "JobTimeout", "RetryAfter", "Snooze"),
            "._job": ("FailedJob", "FailureReason", "Job", "JobId", "JobRecord", "JobStatus"),
            "._job_filter": ("JobFilter",),
            "._job_nursery": ("JobNursery",),
            "._keep": ("Keep",),
            "._fair": ("Fair",),
            "._limit_records": ("LimitRecord",),
            "._limiter": ("Limiter",),
            "._limits": ("Limit", "Rate"),
            "._operations": ("ChangedJobs", "RefusedJob"),
            "._operator": ("QueueRecord",),
            "._progress": ("Progress",),
            "._queue": ("Queue",),
            "._result_errors": ("JobCancelled", "JobFailed"),
            "._retry": ("GIVE_UP", "Retry", "RetryDecision", "exponential"),
            "._running_job": ("RunningJob", "current_job", "current_jobs"),
            "._schedule_calls": ("ScheduleRecord",),
            "._signals": ("until_signal",),
            "._stack": ("JobStack",),
            "._summaries": (
                "AttemptDetails",
                "JobCounts",
                "JobDetails",
                "JobPage",
                "JobSummary",
                "StepDetails",
            ),
            "._ticks": ("next_ticks",),
            "._unique": ("Unique",),
        },
        submodules=("errors", "pg", "sync"),
    )


__all__ = [
    "GIVE_UP",
    "M25",
    "AttemptDetails",
    "Batch",
    "ChangedJobs",
    "ChildJob",
    "DatabaseError",
    "DeclaredQueue",
    "EnqueueError",
    "EnqueuedMany",
    "FailedJob",
    "FailureReason",
    "Fair",
    "GiveUp",
    "InvalidState",
    "Job",
    "JobCancelError",
    "JobCancelled",
    "JobCounts",
    "JobDetails",
    "JobFailed",
    "JobFilter",
    "JobId",
    "JobIds",
    "JobNursery",
    "JobPage",
    "JobRecord",
    "JobRecordFetchError",
    "JobStack",
    "JobStatus",
    "JobSummary",
    "JobTimeout",
    "Keep",
    "Limit",
    "LimitRecord",
    "Limiter",
    "M25Error",
    "NoJobRecordFound",
    "Progress",
    "Queue",
    "QueueOptions",
    "QueueRate",
    "QueueRecord",
    "QueueSchema",
    "Rate",
    "RefusedJob",
    "Retry",
    "RetryAfter",
    "RetryDecision",
    "RunningJob",
    "ScheduleRecord",
    "Snooze",
    "StepDetails",
    "Unique",
    "UniqueKeyConflict",
    "UsageError",
    "ValueRefused",
    "WorkerRecord",
    "current_job",
    "current_jobs",
    "declare",
    "errors",
    "exponential",
    "next_ticks",
    "open",
    "pg",
    "queue",
    "sync",
    "until_signal",
]
