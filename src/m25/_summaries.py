"""Jobs as an operator sees them, who has not their queues: JSON stays text, and no row is refused.

What Python cannot hold is as near as it can be: a row that somebody made by hand must not hide the
others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import attrs

from ._errors import JobRecordFetchJsonDecodeError
from ._job import JobId
from ._lifecycle import JobStatus
from ._progress import Progress, read_report
from ._store.operator import FoundJob, Look
from ._store.protocol import JobRow, StepRow
from ._timestamps import duration_from_text, timestamp_from_text

_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)
#: What is due later than in this year is woken by something else than its time.
WOKEN: Final = 8_000


@attrs.frozen(kw_only=True)
class JobSummary:
    """A job in a list: how its latest attempt stands."""

    #: Of the job: of its first attempt.
    id: JobId
    #: Of its latest attempt.
    attempt_id: JobId
    queue_name: str
    status: JobStatus
    #: The number of the latest attempt, counted from 1.
    attempt: int
    #: How many attempts there are at most; those that were lost do not count.
    max_attempts: int
    #: How many attempts were lost with their process.
    losses: int
    #: Lower runs first.
    priority: int
    #: When the latest attempt was created, is or was due, began, and ended.
    created_at: datetime
    due_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    #: Why it failed: one of the values of `FailureReason`.
    failure_reason: str | None
    #: What it left, in a line that may be cut after 300 characters: the declared error as JSON; of
    #: a crash the type and the message; of a cancel the reason, in the words of who asked for it.
    error: str | None
    #: Its input as JSON, cut after 300 characters.
    input: str
    unique_key: str | None
    #: The job that has started it.
    parent_id: JobId | None
    #: It is claimed, and somebody has asked to cancel it.
    is_to_be_cancelled: bool


@attrs.frozen(kw_only=True)
class JobPage:
    """Jobs that were found, the youngest first, as far as ids go by time."""

    jobs: Sequence[JobSummary]
    #: What to give as `after` for those that follow; `None` is that all were looked at.
    after: JobId | None
    #: The time was up before the page was full.
    is_out_of_time: bool
    #: How far the look went, if it did not come to the end: when the last job was created, of
    #: whatever kind, that was looked at.
    looked_back_to: datetime | None


@attrs.frozen(kw_only=True)
class JobCounts:
    """How many jobs were found."""

    #: Of those statuses of which there are any.
    by_status: Mapping[JobStatus, int]
    #: The time was up before all were looked at; and how far the look went, as in a `JobPage`.
    is_out_of_time: bool
    looked_back_to: datetime | None

    @property
    def total(self) -> int:
        """Of all statuses."""
        return sum(self.by_status.values())


@attrs.frozen(kw_only=True)
class AttemptDetails:
    """One attempt of a job. JSON is text."""

    id: JobId
    attempt: int
    status: JobStatus
    created_at: datetime
    due_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    failure_reason: str | None
    #: The declared error that its handler raised, as JSON.
    error_data: str | None
    #: Of a crash.
    crash_type: str | None
    crash_message: str | None
    crash_traceback: str | None
    output: str | None


@attrs.frozen(kw_only=True)
class StepDetails:
    """What a job's handler has done once. JSON is text."""

    #: "step", "sleep" or "receive".
    kind: str
    name: str
    #: Which of the steps of that name.
    key: str
    #: Until when the job sleeps, or waits, if it does.
    until: datetime | None
    output: str | None


@attrs.frozen(kw_only=True)
class JobDetails:
    """All that is known of a job. JSON is text."""

    job: JobSummary
    #: What a pending job waits for, in words: "a message 'answer'", "a worker: none serves queue
    #: 'emails'". Several must all have come.
    waits_for: Sequence[str]
    #: Whether it has failed for good, and those of its key wait that are behind it in its queue's
    #: order: until it is retried, skipped or deleted.
    holds_others: bool
    input: str
    #: The enqueuer's notes.
    meta: str | None
    timeout: timedelta
    expires_at: datetime | None
    #: Who cancelled it, or asked for that, and why, in their words.
    cancelled_by: str | None
    cancel_reason: str | None
    #: What its handler has reported last, if it has.
    progress: Progress | None
    #: In order.
    attempts: Sequence[AttemptDetails]
    #: In the order in which they were done.
    steps: Sequence[StepDetails]
    #: What it has started, and that has started, down to the last, up to a thousand; `parent_id`
    #: says who has started whom.
    children: Sequence[JobSummary]

    @property
    def is_by_time(self) -> bool:
        """Whether it has not begun, and there is a time at which it is due: what waits for a
        message, or for others of its key, is due once that has come.
        """
        job = self.job
        return job.started_at is None and job.ended_at is None and job.due_at.year < WOKEN


def summary_of(found: FoundJob) -> JobSummary:
    """A job as the store has found it."""
    return JobSummary(
        id=JobId(found.job_id),
        attempt_id=JobId(found.id),
        queue_name=found.queue_name,
        status=JobStatus(found.status),
        attempt=found.attempt,
        max_attempts=found.max_attempts,
        losses=found.losses,
        priority=found.priority,
        created_at=time_of(found.created_at),
        due_at=time_of(found.run_at),
        started_at=_optional(found.started_at),
        ended_at=_optional(found.ended_at),
        failure_reason=found.failure_reason,
        error=found.error,
        input=found.input,
        unique_key=found.unique_key,
        parent_id=None if found.parent_id is None else JobId(found.parent_id),
        is_to_be_cancelled=found.is_to_cancel,
    )


class TreeRow(NamedTuple):
    """A job of a tree."""

    job: JobSummary
    #: Of each job on the way from the root to this one, and of this one, whether it is the last of
    #: those that one job has started: so many levels it is below the root.
    is_last: Sequence[bool]


def tree_below(root: JobId, jobs: Iterable[JobSummary]) -> Iterator[TreeRow]:
    """Jobs that were started by others, each below the one that has started it."""
    below = defaultdict[JobId | None, list[JobSummary]](list)
    for job in jobs:
        below[job.parent_id].append(job)

    def rows(parent: JobId, is_last: Sequence[bool]) -> Iterator[TreeRow]:
        """The next to be told comes last."""
        siblings = below.get(parent, [])
        for job in reversed(siblings):
            yield TreeRow(job, (*is_last, job is siblings[-1]))

    left = list(rows(root, ()))
    while left:
        row = left.pop()
        yield row
        left += rows(row.job.id, row.is_last)


def details_of(
    job: JobSummary,
    waits_for: Sequence[str],
    holds_others: bool,
    attempts: Sequence[JobRow],
    steps: Sequence[StepRow],
    children: Sequence[FoundJob],
) -> JobDetails:
    """What the store knows of a job."""
    latest = attempts[-1]
    return JobDetails(
        job=job,
        waits_for=waits_for,
        holds_others=holds_others,
        input=latest.input,
        meta=latest.meta,
        timeout=_duration(latest.timeout),
        expires_at=_optional(latest.expires_at),
        cancelled_by=latest.cancelled_by,
        cancel_reason=latest.cancel_reason,
        progress=_progress(latest),
        attempts=[_attempt(row) for row in attempts],
        steps=[
            StepDetails(
                kind=step.kind,
                name=step.name,
                key=step.key,
                until=_optional(step.until),
                output=step.output,
            )
            for step in steps
        ],
        children=[summary_of(child) for child in children],
    )


def as_found(row: JobRow) -> FoundJob:
    """An attempt that was read by its id, as it is in a list."""
    error = row.cancel_reason if row.cancelled_at is not None else None
    if row.error_data is not None:
        error = row.error_data
    if row.crash_type is not None:
        error = row.crash_type + ("" if row.crash_message is None else f": {row.crash_message}")
    ended_at = row.finished_at or row.cancelled_at
    return FoundJob(
        row.id,
        row.job_id,
        row.queue_name,
        row.status,
        row.attempt,
        row.max_attempts,
        row.losses,
        row.priority,
        row.created_at,
        row.scheduled_for or row.created_at,
        row.started_at,
        ended_at,
        row.failure_reason,
        error and error[:300],
        row.input[:300],
        row.unique_key,
        row.parent_id,
        row.cancel_requested_at is not None and ended_at is None,
    )


def look_of(look: Look) -> tuple[JobId | None, datetime | None]:
    """How far a look has gone."""
    return None if look.after is None else JobId(look.after), _optional(look.until)


def time_of(text: str) -> datetime:
    """A time of a row, or the nearest that Python can hold."""
    try:
        return timestamp_from_text(text)
    except (ValueError, OverflowError):
        return _EARLIEST if text.startswith("-") else _LATEST


def _optional(text: str | None) -> datetime | None:
    return None if text is None else time_of(text)


def _duration(text: str) -> timedelta:
    try:
        return duration_from_text(text)
    except (ValueError, OverflowError):
        return timedelta.min if text.startswith("-") else timedelta.max


def _progress(row: JobRow) -> Progress | None:
    try:
        return read_report(row)
    except JobRecordFetchJsonDecodeError:
        return None


def _attempt(row: JobRow) -> AttemptDetails:
    values: dict[str, Any] = {
        name: getattr(row, name)
        for name in (
            "attempt",
            "failure_reason",
            "error_data",
            "crash_type",
            "crash_message",
            "crash_traceback",
            "output",
        )
    }
    return AttemptDetails(
        id=JobId(row.id),
        status=JobStatus(row.status),
        created_at=time_of(row.created_at),
        due_at=time_of(row.scheduled_for or row.created_at),
        started_at=_optional(row.started_at),
        ended_at=_optional(row.finished_at or row.cancelled_at),
        **values,
    )
