"""`Operator`: what whoever looks after the jobs asks of a database, beside `Store`.

No worker makes these calls. They find jobs by what they are, and not by id or claim; and what they
change, they change by the thousand. So each call does a part of its work that is bounded, and says
where the next is to go on.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

#: How many of the keys of which as many run as may are named.
MOST_KEYS_NAMED: Final = 10


class JobFilter(NamedTuple):
    """Which jobs are meant: those of which all holds that is said.

    A job is the whole chain of its attempts, and stands as the latest of them does.
    """

    queue_name: str | None = None
    #: As stored.
    statuses: Sequence[str] | None = None
    #: Its latest attempt was created at this time, or later.
    since: datetime | None = None
    #: It had ended before this time.
    ended_before: datetime | None = None
    #: What its input contains, as JSON: see `@>` of `jsonb`.
    where: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked of a job but its queue and how it stands."""
        return self.since is None and self.ended_before is None and self.where is None


class FoundJob(NamedTuple):
    """A job in a list: its latest attempt. Times are as in a `JobRow`."""

    #: Of the latest attempt.
    id: str
    #: Of the first.
    job_id: str
    queue_name: str
    status: str
    attempt: int
    max_attempts: int
    losses: int
    priority: int
    created_at: str
    #: When it is, or was, due.
    run_at: str
    started_at: str | None
    #: When it succeeded, failed or was cancelled.
    ended_at: str | None
    failure_reason: str | None
    #: What the attempt left, in a line that may be cut: the declared error as JSON, or of a crash
    #: its type and message, or why it was cancelled.
    error: str | None
    #: The beginning of its input, as JSON.
    input: str
    unique_key: str | None
    parent_id: str | None
    #: Somebody wants it cancelled that is claimed.
    is_to_cancel: bool


class Look(NamedTuple):
    """How far a call has looked."""

    #: Behind which attempt the next call goes on; `None` is that this was the last.
    after: str | None
    #: When that attempt was created.
    until: str | None


class FoundJobs(NamedTuple):
    """Jobs that were found, by the ids of their latest attempts, the greatest first."""

    jobs: Sequence[FoundJob]
    look: Look


class CountedJobs(NamedTuple):
    """How many were found, by status."""

    counts: Mapping[str, int]
    look: Look


class QueueState(NamedTuple):
    """A queue, and what is on it. Times and durations are as in a `JobRow`.

    Each number of jobs is counted up to the `most` of the call.
    """

    name: str
    #: How long a handler may run where its job does not say; `None` where nobody has said so.
    default_job_timeout: str | None
    #: How many attempts a job has at most that does not say; `None` where no worker has said so.
    default_max_attempts: int | None
    on_failure: str | None
    paused_at: str | None
    pause_reason: str | None
    limiter: str | None
    #: How many may run at once under it.
    limit: int | None
    #: How many pending jobs are due; are not due yet; wait for a message, or for others of their
    #: key under a limit.
    due: int
    scheduled: int
    waiting: int
    #: How many are reserved or executing.
    running: int
    #: How many have failed and were not retried.
    failed: int
    #: Since when the oldest has been due.
    due_since: str | None
    #: How many live workers serve it.
    workers: int


class LimitState(NamedTuple):
    """A limit, a rate, or both of one name. Times and durations are as in a `JobRow`.

    What waits is counted up to the `most` of the call, of each queue.
    """

    name: str
    #: Those that have it.
    queues: Sequence[str]
    #: The path into the input, with dots, where so many run of each key.
    key: str | None
    #: How many may run at once.
    size: int | None
    #: Whether an operator has set that.
    is_set: bool
    #: How many seconds lie between two jobs that begin, where there is a rate.
    interval: str | None
    burst: int | None
    #: The path into the input, with dots, where so many begin of each key.
    rate_key: str | None
    #: When the next may begin by the rate, if that is the same for all.
    next_start_at: str | None
    #: How many jobs are reserved or executing, each in a place of its own.
    running: int
    #: How many places are held outside of jobs.
    held: int
    #: How many jobs are due, held up by others of their key, or claimed for the place of one that
    #: runs.
    waiting: int
    #: Of how many keys as many run as may, and the first ten of these.
    full_keys: int
    named_keys: Sequence[str]


class WorkerState(NamedTuple):
    """A worker that is there. Times are as in a `JobRow`."""

    id: str
    #: Of m25.
    version: str
    queues: Sequence[str]
    started_at: str
    #: For how many seconds nothing was heard of it.
    silent_for: float


class QueueRate(NamedTuple):
    """What has ended on a queue lately."""

    queue_name: str
    #: How many attempts have ended, and how many of these have failed.
    ended: int
    failed: int
    #: How many seconds they waited once they were due, and ran, on average.
    waited: float
    ran: float


class JobWait(NamedTuple):
    """What a pending job may wait for. Times are as in a `JobRow`."""

    #: When it is due; late in the years 9000 for what is woken by something else.
    due_at: str
    is_due: bool
    #: Of its queue.
    is_paused: bool
    pause_reason: str | None
    #: How many live workers serve that.
    workers: int
    #: How often its setup has failed.
    setup_failures: int | None
    #: The name of the message that its handler waits for.
    awaits: str | None
    #: The job that it follows, if that has not ended.
    follows: str | None
    #: Its key, where its queue has an order; and the first job before it of that key which has
    #: failed and holds it, and the first that has not ended.
    order_key: str | None
    failed_before: str | None
    before: str | None
    #: It waits for others of its key under a limit, or for its key's turn by a rate.
    is_held_up: bool
    #: The limit or rate of its queue; its key there, if that has one; how many may run at once of
    #: that key, or of all, and do.
    limiter: str | None
    key: str | None
    size: int | None
    running: int | None
    #: How many such places are held outside of jobs.
    held: int
    #: When the next may begin by the rate, of its key if the rate has one, and unless that is now.
    next_start_at: str | None


class Refusal(enum.Enum):
    """Why nothing was done about a job."""

    #: There is none of this id.
    UNKNOWN = "unknown"
    #: It has not ended, or what it has started has not.
    LIVE = "live"
    #: It has ended.
    ENDED = "ended"
    #: It has succeeded.
    SUCCEEDED = "succeeded"
    #: Another job has started it.
    CHILD = "child"
    #: Another job has its key.
    KEY_HELD = "key held"
    #: A worker of the original m25 has claimed it, which knows of no requests to cancel.
    ORIGINALS = "originals"
    #: It holds no others of its key.
    HOLDS_NONE = "holds none"
    #: Somebody has locked one of its rows, or has just changed it: it is to be asked again.
    LOCKED = "locked"


class NewAttempt(NamedTuple):
    """That a job is to be tried once more."""

    #: Of any of its attempts.
    id: str
    #: That the next attempt will have.
    next_id: str


class Answer(NamedTuple):
    """What became of one job of a call."""

    #: The id that was asked, of any of its attempts.
    id: str
    #: `None` is that it was done.
    refusal: Refusal | None
    #: Of a retry, the id of the attempt that follows; where another job holds the key, that job's.
    other_id: str | None = None


class Operator(Protocol):
    """What is asked about jobs by whoever looks after them. Failures are as those of `Store`."""

    async def queues(self, most: int, silence: timedelta) -> list[QueueState]:
        """All queues that have jobs which have not ended, or of which somebody has heard, by name.

        A worker of which nothing was heard for `silence` is not counted.
        """
        ...

    async def limits(self, most: int) -> list[LimitState]:
        """The limits under which queues run, by name."""
        ...

    async def workers(self, silence: timedelta) -> list[WorkerState]:
        """The workers of which something was heard within `silence`, up to a thousand."""
        ...

    async def rates(self, within: timedelta, walk: int) -> list[QueueRate]:
        """What has ended within this time, among the `walk` youngest attempts; by queue."""
        ...

    async def find(
        self, wanted: JobFilter, *, after: str | None, limit: int, walk: int
    ) -> FoundJobs:
        """Find up to `limit` jobs among the next `walk` rows, in the order of ids downwards.

        With `after`, that is behind the attempt of this id. Ids that m25 makes begin with the time,
        so younger jobs come first. Jobs that have not ended are few, or an index has them: where
        all statuses that are asked for are of these, `walk` is of no interest.
        """
        ...

    async def count(self, wanted: JobFilter, *, after: str | None, walk: int) -> CountedJobs:
        """Count the jobs among the next `walk` rows, as `find` finds them."""
        ...

    async def find_below(self, id: str, most: int) -> list[FoundJob]:
        """Find what a job has started, and that has started, up to `most` jobs, in no order."""
        ...

    async def find_wait(self, id: str, silence: timedelta) -> JobWait | None:
        """What the pending attempt of this id may wait for; `None` is that it is not pending.

        A worker of which nothing was heard for `silence` is not counted.
        """
        ...

    async def retry(
        self, attempts: Sequence[NewAttempt], *, lock_wait: timedelta | None = None
    ) -> list[Answer]:
        """Have jobs that have failed, or were cancelled, tried once more, each in an attempt that
        follows the latest, and is due now; answer for each.

        Keys that others are just taking are waited for as in `Store.enqueue`.
        """
        ...

    async def holds_others(self, id: str) -> bool:
        """Whether the job of this id has failed for good, and holds those of its key behind it."""
        ...

    async def skip(self, ids: Sequence[str]) -> list[Answer]:
        """Let those go on that are behind jobs which have failed for good; answer for each."""
        ...

    async def delete(self, ids: Sequence[str]) -> list[Answer]:
        """Delete jobs that have ended, each with all its attempts and all that it has started, with
        steps and messages; answer for each. Nothing is waited for.
        """
        ...
