"""A row of the job table in memory: every column of the table of columns, and those hidden.

Times are microseconds since the epoch, and durations microseconds.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, TypeAlias

from ..._lifecycle import JobStatus, derive_status, is_dead
from ..columns import COLUMNS, COMPARED, GIVEN, HELD_UP_SINCE, HIDDEN, INHERITED
from ..jsonb import as_jsonb, is_same_jsonb
from ..protocol import JobRow, NewJob, SweptQueue

UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND
#: As far as a deadline or a retry may be put off.
_LONGEST: Final = 365_250 * DAY
#: What is held up, or waits for a message, is due later than the first of these: 8000-01-01, until
#: 9000-01-01.
FAR_AWAY: Final = HELD_UP_SINCE * SECOND
HELD_UP_UNTIL: Final = 221_845_392_000 * SECOND
#: What PostgreSQL's `integer` holds.
LARGEST_INTEGER: Final = 2**31 - 1

#: What pending jobs are ordered by: priority, when it may run, id.
Key: TypeAlias = tuple[int, int, str]

#: What a row holds: PostgreSQL computes the rest from it.
_HELD: Final = tuple(name for name, column in {**COLUMNS, **HIDDEN}.items() if not column.generated)
_DEFAULTS: Final = {
    name: column.default for name, column in COLUMNS.items() if not column.generated
} | dict.fromkeys(name for name, column in HIDDEN.items() if not column.generated)


class Row:
    """One row, made of what is given and the defaults of all else."""

    __slots__ = _HELD

    # Those that the store itself reads; others are carried along.
    id: str
    queue_name: str
    created_at: int
    scheduled_at: int | None
    reserved_at: int | None
    started_at: int | None
    cancelled_at: int | None
    finished_at: int | None
    timeout: int
    expires_at: int | None
    deadline: int | None
    latest_heartbeat_at: int | None
    failure_reason: str | None
    input: str
    error_data: str | None
    crash_type: str | None
    crash_message: str | None
    attempt: int
    max_attempts: int
    original_attempt_id: str | None
    previous_attempt_id: str | None
    retry_delay: int
    unique_key: str | None
    priority: int
    losses: int
    claim_token: str | None
    lease_expires_at: int | None
    cancel_requested_at: int | None
    cancelled_by: str | None
    cancel_reason: str | None
    setup_failures: int | None
    session_losses: int | None
    waiter: str | None
    parent_id: str | None
    has_children: bool | None
    messages: int | None
    awaits: str | None
    has_begun: bool | None
    follows: str | None
    limit_key: str | None
    was_due_at: int | None
    stack_asked_at: int | None
    stack: str | None
    nursery: str | None
    place: str | None
    unknown_since: int | None
    lane: str | None
    order_key: str | None
    order_number: int | None

    def __init__(self, **columns: Any) -> None:
        self.write({**_DEFAULTS, **columns})

    def write(self, columns: Mapping[str, Any]) -> None:
        """Set columns, by name."""
        for name, value in columns.items():
            setattr(self, name, value)

    @property
    def status(self) -> JobStatus:
        """As the table's generated column has it."""
        return derive_status(
            cancelled_at=self.cancelled_at,
            reserved_at=self.reserved_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            failure_reason=self.failure_reason,
        )

    @property
    def job_id(self) -> str:
        """The id of the chain's first attempt."""
        return self.original_attempt_id or self.id

    @property
    def key(self) -> Key:
        """Where it stands among the pending."""
        return self.priority, self.run_at, self.id

    @property
    def run_at(self) -> int:
        """When it may run, as the table's generated column has it."""
        return self.created_at if self.scheduled_at is None else self.scheduled_at

    @property
    def is_held_up(self) -> bool:
        """Whether it waits until another job of its key has ended, whatever the time."""
        return (
            self.was_due_at is not None
            and self.scheduled_at is not None
            and self.scheduled_at > FAR_AWAY
        )

    def deadline_from(self, now: int) -> int:
        """When its handler must have ended, if it begins now."""
        return now + within_bounds(self.timeout)

    def is_dead(self, queue: SweptQueue, now: int) -> bool:
        """Whether nobody looks after it any more, although it is live."""
        return is_dead(
            self.status,
            has_token=self.claim_token is not None,
            lease_expires_at=self.lease_expires_at,
            deadline=self.deadline,
            reserved_at=self.reserved_at,
            reserved_timeout=queue.reserved_timeout // MICROSECOND,
            now=now,
        )

    def differs(self, other: Row) -> tuple[str, ...]:
        """In which of the columns that are given it is not as the other."""
        return tuple(
            name
            for name, is_same in _COMPARED
            if not is_same(getattr(self, name), getattr(other, name))
        )

    def inherited(self) -> dict[str, Any]:
        """What the next attempt has of it."""
        return dict(zip(INHERITED, _get_inherited(self), strict=True))

    def answer(self) -> JobRow:
        """What `get`, `cancel` and `claim` return of it."""
        values: list[Any] = list(_get_all(self))
        for position, read in _READERS:
            if values[position] is not None:
                values[position] = read(values[position])
        return JobRow._make(values)


_get_all: Final = attrgetter(*COLUMNS)
_get_inherited: Final = attrgetter(*INHERITED)


def new_row(job: NewJob, now: int) -> Row:
    """The row of a job that is enqueued now.

    Raises:
        psycopg.DataError: it holds what no `jsonb` column would take.
    """
    given: dict[str, Any] = job._asdict()
    for name, write in _WRITERS:
        if given[name] is not None:
            given[name] = write(given[name])
    return Row(created_at=now, **given)


def seconds(microseconds: int) -> str:
    """As `extract(epoch from …)` writes it."""
    whole, fraction = divmod(abs(microseconds), SECOND)
    return f"{'-' if microseconds < 0 else ''}{whole}.{fraction:06d}"


def microseconds(text: str) -> int:
    """The same read again."""
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(6, "0"))


def within_bounds(duration: int) -> int:
    """A duration within what a time that is so far ahead can hold."""
    return max(0, min(duration, _LONGEST))


def since_epoch(at: datetime | None) -> int | None:
    """A time as a row holds it."""
    return None if at is None else (at - UNIX_EPOCH) // MICROSECOND


def _length(duration: timedelta) -> int:
    return duration // MICROSECOND


def _status_text(status: JobStatus) -> str:
    return status.value


def _is_same_json(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is other
    return is_same_jsonb(one, other)


#: By type, where it is not kept as it is: how what is given is kept.
_KEPT: Final[Mapping[str, Callable[[Any], Any]]] = {
    "timestamptz": since_epoch,
    "interval": _length,
    "jsonb": as_jsonb,
}
#: By type, or by what it is read as: how what is kept is answered.
_ANSWERED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "timestamptz": seconds,
    "interval": seconds,
    "status": _status_text,
}
#: The columns that are given but for the id, each with how two values of it are compared.
_COMPARED: Final[Sequence[tuple[str, Callable[[Any, Any], bool]]]] = tuple(
    (name, _is_same_json if COLUMNS[name].type == "jsonb" else operator.eq) for name in COMPARED
)
_WRITERS: Final = tuple(
    (name, _KEPT[COLUMNS[name].type]) for name in GIVEN if COLUMNS[name].type in _KEPT
)
_READERS: Final = tuple(
    (position, _ANSWERED[how])
    for position, column in enumerate(COLUMNS.values())
    if (how := column.read_as or column.type) in _ANSWERED
)
