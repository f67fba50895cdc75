"""A job: what is asked for (`Job`), what the database keeps of it (`JobRecord`), and its life.

The names and the fields are those of the original m25. Its life is the table `MOVES` below: what is
not in it cannot happen, and the SQL, the documentation and the tests are checked against it.

    pending ──claim──▶ reserved ──start──▶ executing ──settle──▶ succeeded | failed
       │  ▲               │                    │
       │  └───release─────┴────────release─────┘
       └──cancel──▶ cancelled
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import attrs

from ._duration import Duration, as_timedelta
from ._errors import InvalidJob

Input = TypeVar("Input")
Output = TypeVar("Output")
Error = TypeVar("Error", bound=Exception)

#: A unique key longer than this in UTF-8 does not fit into a PostgreSQL index entry.
_LONGEST_UNIQUE_KEY: Final = 2_000


class JobStatus(enum.Enum):
    """Where a job is in its life; the values are those in the database."""

    PENDING = "pending"
    RESERVED = "reserved"
    EXECUTING = "executing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FailureReason(enum.Enum):
    """Why an attempt failed; the values are those in the database."""

    #: The handler raised one of the queue's declared errors; it is kept in `error_data`.
    ERRORED = "error"
    #: The handler's process, or its executor, stopped answering heartbeats.
    HEARTBEAT_TIMEOUT = "heartbeat_timeout"
    #: The handler was still running at the deadline.
    JOB_TIMEOUT = "job_timeout"
    #: The handler raised anything else, or its input or output could not be decoded or encoded.
    CRASH = "crash"


#: Every legal move, and the verb (the statement in `_store/sql`) that makes it.
MOVES: Final[Mapping[tuple[JobStatus, JobStatus], frozenset[str]]] = {
    (JobStatus.PENDING, JobStatus.RESERVED): frozenset({"claim"}),
    (JobStatus.PENDING, JobStatus.EXECUTING): frozenset({"claim", "confirm"}),
    (JobStatus.PENDING, JobStatus.CANCELLED): frozenset({"cancel"}),
    (JobStatus.RESERVED, JobStatus.EXECUTING): frozenset({"start"}),
    (JobStatus.RESERVED, JobStatus.PENDING): frozenset({"release", "release_claims", "sweep"}),
    (JobStatus.EXECUTING, JobStatus.PENDING): frozenset({"release", "release_claims"}),
    (JobStatus.EXECUTING, JobStatus.SUCCEEDED): frozenset({"settle"}),
    (JobStatus.EXECUTING, JobStatus.FAILED): frozenset({"settle", "sweep"}),
}


def has_next_attempt(
    reason: FailureReason, *, attempt: int, max_attempts: int, losses: int, allowed_losses: int
) -> bool:
    """Whether a failed attempt is followed by another.

    `losses` counts the attempts of the chain that were lost with their process, this one included.
    A lost attempt was not the job's fault: it is followed by the next up to `allowed_losses` times
    in a chain, whatever `max_attempts` says, and not counted against it.
    """
    if reason is FailureReason.HEARTBEAT_TIMEOUT:
        return losses <= allowed_losses
    return attempt - losses < max_attempts


def check_text(value: object, name: str, error: type[ValueError]) -> str:
    """Return `value`, which must be text that PostgreSQL can hold.

    Raises:
        error: it is no string, is empty, or holds NUL or a lone surrogate.
    """
    if not isinstance(value, str):
        raise error(f"{name} must be a string, not {value!r:.80}")
    if not value:
        raise error(f"{name} must not be empty")
    if "\0" in value:
        raise error(f"{name} must not hold the character NUL, as {value[:80]!r} does")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise error(f"{name} must not hold a lone surrogate, as {value[:80]!r} does")
    return value


def _as_uuid(value: UUID | str) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidJob(f"a job id is a UUID or its text, not {value!r:.80}") from error


@attrs.frozen
class JobId:
    """The id of a job: of one attempt, to be exact, since a retry is a job of its own.

    Takes a `UUID`, or its text.

    Raises:
        InvalidJob: the text is not that of a UUID.
    """

    value: UUID = attrs.field(converter=_as_uuid)

    def __str__(self) -> str:
        return str(self.value)


def _timeout(value: Duration | None) -> timedelta | None:
    return None if value is None else as_timedelta(value, "timeout", InvalidJob)


def _retry_delay(value: Duration) -> timedelta:
    return as_timedelta(value, "retry_delay", InvalidJob, zero=True)


def _check_scheduled_at(_job: object, _field: object, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, datetime):
        raise InvalidJob(f"scheduled_at must be a datetime, not {value!r:.80}")
    if value.utcoffset() is None:
        raise InvalidJob(
            f"scheduled_at must be aware of its time zone, not {value!r}; "
            "datetime.now(timezone.utc) is"
        )
    try:
        value.astimezone(UTC)
    except OverflowError as error:
        raise InvalidJob("scheduled_at must lie within the years 1 to 9999 in UTC") from error


def _check_whole(low: int, high: int) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(_job: object, field: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidJob(f"{field.name} must be a whole number, not {value!r:.80}")
        if not low <= value <= high:
            raise InvalidJob(f"{field.name} must be from {low} to {high}")

    return check


def _check_id(_job: object, _field: object, value: Any) -> None:
    if not isinstance(value, JobId):
        raise InvalidJob(f"id must be a JobId, not {value!r:.80}")


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
    scheduled_at: datetime | None = attrs.field(
        default=None, kw_only=True, validator=_check_scheduled_at
    )
    #: How long the handler may run, in seconds or as a `timedelta`; `None` takes the queue's
    #: `default_job_timeout`.
    timeout: timedelta | None = attrs.field(default=None, kw_only=True, converter=_timeout)
    #: How many attempts there are at most, the first included.
    max_attempts: int = attrs.field(default=1, kw_only=True, validator=_check_whole(1, 2**31 - 1))
    #: How long after a failed attempt the next may run, in seconds or as a `timedelta`.
    retry_delay: timedelta = attrs.field(default=timedelta(0), kw_only=True, converter=_retry_delay)
    #: At most one job that is neither failed nor cancelled holds a key, whatever its queue.
    unique_key: str | None = attrs.field(default=None, kw_only=True, validator=_check_unique_key)
    #: Lower runs first; -32768 to 32767.
    priority: int = attrs.field(
        default=0, kw_only=True, validator=_check_whole(-(2**15), 2**15 - 1)
    )
    #: The enqueuer's notes, a JSON object; m25 hands them on and never reads them.
    meta: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True, converter=_meta)
    #: An id of the caller's choosing. Enqueueing the same id again changes nothing and returns the
    #: job as it is, which makes it safe to repeat an `enqueue` whose answer was lost.
    id: JobId | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(_check_id)
    )

    def schedule(self, at: datetime) -> Job[Input]:
        """Return a copy that is not run before `at`, an aware datetime."""
        return attrs.evolve(self, scheduled_at=at)

    def with_timeout(self, timeout: Duration) -> Job[Input]:
        """Return a copy that may run for `timeout`, in seconds or as a `timedelta`."""
        return attrs.evolve(self, timeout=timeout)

    def retry(self, max_attempts: int, delay: Duration | None = None) -> Job[Input]:
        """Return a copy of at most `max_attempts` attempts, `delay` after each failure.

        `delay` is in seconds or a `timedelta`; without one the next attempt may run at once.
        """
        return attrs.evolve(
            self, max_attempts=max_attempts, retry_delay=0.0 if delay is None else delay
        )

    def with_unique_key(self, key: str) -> Job[Input]:
        """Return a copy that is refused while another job holds `key`."""
        return attrs.evolve(self, unique_key=key)

    def with_priority(self, priority: int) -> Job[Input]:
        """Return a copy of this priority; lower runs first."""
        return attrs.evolve(self, priority=priority)


@attrs.frozen(kw_only=True)
class JobRecord(Generic[Input, Output, Error]):
    """A job as the database has it: one attempt, and how it stands.

    The first 22 fields are the original's. Times are aware, in UTC, and the database's own.
    """

    id: JobId
    queue_name: str
    created_at: datetime
    scheduled_at: datetime | None
    input: Input
    #: When it was claimed.
    reserved_at: datetime | None
    #: When its handler began.
    started_at: datetime | None
    cancelled_at: datetime | None
    finished_at: datetime | None
    #: How long its handler may run.
    timeout: timedelta
    status: JobStatus
    #: What its handler returned.
    output: Output | None
    #: `started_at` plus `timeout`.
    deadline: datetime | None
    latest_heartbeat_at: datetime | None
    failure_reason: FailureReason | None
    #: The declared error its handler raised.
    error_data: Error | None
    #: 1 for the first attempt.
    attempt: int
    max_attempts: int
    #: The first attempt of this chain; `None` for the first attempt itself.
    original_attempt_id: JobId | None
    #: The attempt before this one.
    previous_attempt_id: JobId | None
    retry_delay: timedelta
    unique_key: str | None
    #: Lower runs first.
    priority: int
    #: How many attempts of this chain were lost with their process so far.
    losses: int
    #: The type of what was raised, where the failure reason is a crash.
    crash_type: str | None
    crash_message: str | None
    crash_traceback: str | None
    #: The enqueuer's notes.
    meta: Mapping[str, Any] | None
