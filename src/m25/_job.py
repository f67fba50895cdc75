"""A job: what is asked for (`Job`), and what the database keeps of it (`JobRecord`).

The names and the fields are those of the original m25. Its life is told in `_lifecycle`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, Never, TypeVar
from uuid import UUID

import attrs

from ._duration import Duration, as_timedelta
from ._errors import InvalidJob
from ._ids import JobId as JobId  # noqa: PLC0414 - users know it from here
from ._lifecycle import FailureReason as FailureReason  # noqa: PLC0414
from ._lifecycle import JobStatus as JobStatus  # noqa: PLC0414
from ._text import check_text
from ._unique import Unique, UniqueOutcome

Input = TypeVar("Input")
Output = TypeVar("Output")
#: A queue's own. Covariant: else a checker that wants an `object` from `await m.result(queue, id)`,
#: as in a call of `print`, would want a queue of objects.
Output_co = TypeVar("Output_co", covariant=True)
if TYPE_CHECKING:
    # Before Python 3.13 only type checkers know of defaults.
    from typing_extensions import TypeVar as TypeVarWithDefault

    #: Of a queue that declares no errors: `Never`.
    Error = TypeVarWithDefault("Error", bound=Exception, default=Never)
else:
    Error = TypeVar("Error", bound=Exception)

#: A unique key longer than this in UTF-8 does not fit into a PostgreSQL index entry.
_LONGEST_UNIQUE_KEY: Final = 2_000


def _timeout(value: Duration | None) -> timedelta | None:
    return None if value is None else as_timedelta(value, "timeout", InvalidJob)


def _retry_delay(value: Duration | None) -> timedelta | None:
    return None if value is None else as_timedelta(value, "retry_delay", InvalidJob, zero=True)


def _check_time(_job: object, field: attrs.Attribute[Any], value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, datetime):
        raise InvalidJob(f"{field.name} must be a datetime, not {value!r:.80}")
    if value.utcoffset() is None:
        raise InvalidJob(
            f"{field.name} must be aware of its time zone, not {value!r}; "
            "datetime.now(timezone.utc) is"
        )
    try:
        value.astimezone(UTC)
    except OverflowError as error:
        raise InvalidJob(f"{field.name} must lie within the years 1 to 9999 in UTC") from error


def _check_whole(low: int, high: int) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(_job: object, field: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidJob(f"{field.name} must be a whole number, not {value!r:.80}")
        if not low <= value <= high:
            raise InvalidJob(f"{field.name} must be from {low} to {high}")

    return check


def _id(value: JobId | UUID | str | None) -> JobId | None:
    if value is None or isinstance(value, JobId):
        return value
    try:
        return JobId(value)
    except InvalidJob:
        raise InvalidJob(f"id must be a JobId, a UUID or its text, not {value!r:.80}") from None


def _meta(value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidJob(f"meta must be a mapping, not {value!r:.80}")
    # A copy: what is done to the caller's is not done to the job.
    notes = dict(value)
    for key in notes:
        if not isinstance(key, str):
            raise InvalidJob(f"meta must have strings as its keys, not {key!r:.80}")
    return notes


def _check_unique(_job: object, _field: object, value: Any) -> None:
    if value is not None and not isinstance(value, Unique):
        raise InvalidJob(f"unique must be a m25.Unique, not {value!r:.80}")


def _check_unique_key(_job: object, _field: object, value: Any) -> None:
    if value is None:
        return
    check_text(value, "unique_key", InvalidJob)
    if len(value.encode()) > _LONGEST_UNIQUE_KEY:
        raise InvalidJob(
            f"unique_key must be at most {_LONGEST_UNIQUE_KEY} bytes long in UTF-8, "
            f"and {value[:40]!r}… is longer; a hash of it would do"
        )


@attrs.frozen
class Job(Generic[Input]):
    """An input, with how it is to be run; `enqueue` takes one wherever it takes a bare input.

    Raises:
        InvalidJob: an option is out of range. It is raised here, not at `enqueue`.
    """

    input: Input
    #: Not to be run before this time, by the database's clock; a time in the past is now.
    scheduled_at: datetime | None = attrs.field(default=None, kw_only=True, validator=_check_time)
    #: Not to be started after this time, by the database's clock: a job that was not started by
    #: then ends as cancelled.
    expires_at: datetime | None = attrs.field(default=None, kw_only=True, validator=_check_time)
    #: How long the handler may run, in seconds or as a `timedelta`; `None` takes the queue's
    #: `default_job_timeout`.
    timeout: timedelta | None = attrs.field(default=None, kw_only=True, converter=_timeout)
    #: How many attempts there are at most, the first included; `None` takes what the queue's
    #: `retry` says, or else 1. A job of which this or the delay is given is retried by these two
    #: numbers, whatever its queue says.
    max_attempts: int | None = attrs.field(
        default=None,
        kw_only=True,
        validator=attrs.validators.optional(_check_whole(1, 2**31 - 1)),
    )
    #: How long after a failed attempt the next may run, in seconds or as a `timedelta`; 0 is at
    #: once, and `None` takes what the queue's `retry` says, or else at once.
    retry_delay: timedelta | None = attrs.field(default=None, kw_only=True, converter=_retry_delay)
    #: At most one job that is neither failed nor cancelled holds a key, whatever its queue.
    unique_key: str | None = attrs.field(default=None, kw_only=True, validator=_check_unique_key)
    #: A key of which the queue has one job at a time, and what becomes of this one where another
    #: holds it; see `Unique`. Not together with a `unique_key`.
    unique: Unique | None = attrs.field(default=None, kw_only=True, validator=_check_unique)
    #: Lower runs first; -32768 to 32767.
    priority: int = attrs.field(
        default=0, kw_only=True, validator=_check_whole(-(2**15), 2**15 - 1)
    )
    #: The enqueuer's notes, a JSON object; m25 hands them on and never reads them.
    meta: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True, converter=_meta)
    #: An id of the caller's choosing, given as a `JobId`, a `UUID` or its text. Enqueueing the same
    #: job with it again changes nothing and returns the job as it is by then, which makes it safe
    #: to repeat an `enqueue` whose answer was lost. Another job with that id is a `JobIdConflict`.
    id: JobId | None = attrs.field(default=None, kw_only=True, converter=_id)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.input, Job):
            raise InvalidJob("the input of a Job is a Job itself; attrs.evolve makes a changed one")
        if (
            self.expires_at is not None
            and self.scheduled_at is not None
            and self.expires_at < self.scheduled_at
        ):
            raise InvalidJob(
                f"expires_at ({self.expires_at}) is before scheduled_at ({self.scheduled_at}): the"
                " job would never be started"
            )

        if self.unique is not None:
            if self.unique_key is not None:
                raise InvalidJob("a job has a unique_key or a unique, not both")
            if self.unique.then == "debounce" and self.scheduled_at is None:
                raise InvalidJob(
                    'then="debounce" moves the time of the job that is there: give the job a'
                    " scheduled_at, the time to which it is moved"
                )

    def schedule(self, at: datetime) -> Job[Input]:
        """Return a copy that is not run before `at`, an aware datetime."""
        return attrs.evolve(self, scheduled_at=at)

    def with_timeout(self, timeout: Duration) -> Job[Input]:
        """Return a copy that may run for `timeout`, in seconds or as a `timedelta`."""
        return attrs.evolve(self, timeout=timeout)

    def retry(self, max_attempts: int, delay: Duration | None = None) -> Job[Input]:
        """Return a copy of at most `max_attempts` attempts, `delay` after each failure.

        `delay` is in seconds or a `timedelta`; without one the next attempt may run at once. Both
        go before what the queue's `retry` says.
        """
        return attrs.evolve(
            self, max_attempts=max_attempts, retry_delay=0.0 if delay is None else delay
        )

    @property
    def has_own_retry(self) -> bool:
        """Whether it says itself how it is retried."""
        return self.max_attempts is not None or self.retry_delay is not None

    def with_unique_key(self, key: str) -> Job[Input]:
        """Return a copy that is refused while another job holds `key`."""
        return attrs.evolve(self, unique_key=key)

    def with_unique(self, unique: Unique) -> Job[Input]:
        """Return a copy of which its queue has one of its key at a time."""
        return attrs.evolve(self, unique=unique)

    def with_priority(self, priority: int) -> Job[Input]:
        """Return a copy of this priority; lower runs first."""
        return attrs.evolve(self, priority=priority)


def may_be_there(job: object) -> bool:
    """Whether an `enqueue` of a job, or of what may be a bare input, may find one that is there."""
    return isinstance(job, Job) and (job.id is not None or job.unique is not None)


def has_own_id(job: object) -> bool:
    """Whether a job, or what may be a bare input, says which id it is to have."""
    return isinstance(job, Job) and job.id is not None


@attrs.frozen(kw_only=True)
class JobRecord(Generic[Input, Output, Error]):
    """A job as the database has it: one attempt, and how it stands.

    The first 22 fields are the original's. Times are aware, in UTC, and the database's own. The
    defaults are those of a job that was just enqueued: tests of your own that make records are not
    broken by a field that a later m25 adds.
    """

    id: JobId
    queue_name: str
    created_at: datetime
    scheduled_at: datetime | None = None
    input: Input
    #: When it was claimed.
    reserved_at: datetime | None = None
    #: When its handler began.
    started_at: datetime | None = None
    cancelled_at: datetime | None = None
    finished_at: datetime | None = None
    #: How long its handler may run.
    timeout: timedelta
    status: JobStatus = JobStatus.PENDING
    #: What its handler returned.
    output: Output | None = None
    #: `started_at` plus `timeout`.
    deadline: datetime | None = None
    latest_heartbeat_at: datetime | None = None
    failure_reason: FailureReason | None = None
    #: The declared error its handler raised.
    error_data: Error | None = None
    #: 1 for the first attempt. Those that were lost count, too: `counted_attempt` leaves them out.
    attempt: int = 1
    #: How many attempts there are at most; those that were lost do not count.
    max_attempts: int = 1
    #: The first attempt of this chain; `None` for the first attempt itself.
    original_attempt_id: JobId | None = None
    #: The attempt before this one.
    previous_attempt_id: JobId | None = None
    retry_delay: timedelta = timedelta(0)
    unique_key: str | None = None
    #: Lower runs first.
    priority: int = 0
    #: How many attempts of this chain were lost with their process so far.
    losses: int = 0
    #: The type of what was raised, where the failure reason is a crash.
    crash_type: str | None = None
    crash_message: str | None = None
    crash_traceback: str | None = None
    #: The enqueuer's notes.
    meta: Mapping[str, Any] | None = None
    #: Not to be started after this.
    expires_at: datetime | None = None
    #: When a cancel was asked for that its owner was to carry out, as the job was claimed by then.
    cancel_requested_at: datetime | None = None
    #: Who cancelled it, or asked for that, and why, in their words.
    cancelled_by: str | None = None
    cancel_reason: str | None = None
    #: The job that started this one, and waits for it.
    parent_id: JobId | None = None
    #: The job after whose end, with all its attempts, this one is run: it was put while that one
    #: had the same key, and `then="rerun_after"`.
    follows: JobId | None = None
    #: What an `enqueue` with a `Unique` has come to; it is about that call, and `None` in a record
    #: that was read.
    unique_outcome: UniqueOutcome | None = attrs.field(default=None, eq=False)

    @property
    def counted_attempt(self) -> int:
        """How many attempts of the chain count against `max_attempts`.

        All up to this one do, but those that were lost with their process.
        """
        return self.attempt - self.losses


@attrs.frozen(kw_only=True)
class FailedJob:
    """A job that has failed, for good: the input of a queue that others name as `on_failure`."""

    #: The id of the job's first attempt.
    job_id: JobId
    #: The name of its queue.
    queue: str
    #: How many attempts there were, those included that were lost with their process.
    attempts: int
    #: Why the last one failed.
    reason: FailureReason
    #: What the last attempt left: of a crash "type: message"; of a declared error its JSON, as in
    #: `{"args": ["a", 1], "type": "NoSuchMailbox"}`; of a deadline or a loss `None`.
    error: str | None
    #: The job's input, as JSON has it: dicts, lists, strings, numbers. Where Python cannot read it,
    #: which may be why the job has failed, it is the JSON text.
    input: Any
