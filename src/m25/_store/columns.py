"""The columns of the job table, a line for each: what reads and writes them is made from here.

`JobRow` is the table. The type of a field is what a row read from the database has there, and its
`Column` says the rest. From them come parts of the SQL (`statements.py`), the parameters of an
enqueue (`steps.py`), the rows of the store in memory, and what users get (`_record.py`).

To add a column: a migration, a field of `JobRecord` with a default, and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias, get_args, get_type_hints

#: How `_record.py` reads a column, where its type does not say it: by a codec of the queue, as a
#: JSON object, or as one of our enumerations.
ReadAs: TypeAlias = Literal["input", "output", "error", "object", "status", "failure reason"]

#: Whether a claim says what is in a column: always; rarely, that is of a job with more than the
#: default in one of these columns; or not, since it follows from the rest.
InClaim: TypeAlias = Literal["always", "rarely", "implied"]


class Column(NamedTuple):
    """What is known of a column beside its name."""

    #: Its type in SQL.
    type: str
    read_as: ReadAs | None = None
    #: Whoever enqueues a job says what is in it: a field of `NewJob`, in the same order.
    given: bool = False
    #: The next attempt of a chain has the same.
    inherited: bool = False
    #: A claim says what is in it. In what a claim returns others are null, whatever they hold: for
    #: them the job's life has only begun.
    claimed: InClaim | None = None
    #: It is about the present claim, or was before it, and null once the job is released.
    of_claim: bool = False
    #: What is in it where a job is inserted and nothing was given.
    default: object = None
    #: PostgreSQL computes it from others.
    generated: bool = False
    #: It is m25's own affair: a `JobRecord` does not have it.
    internal: bool = False


#: What is held up is scheduled for later than this, 8000-01-01 in UTC: seconds since the epoch.
HELD_UP_SINCE: Final = 190_288_396_800


class JobRow(NamedTuple):
    """A row of the job table, as `get`, `cancel` and `claim` return it.

    Ids are text, JSON is text, and times and durations are seconds as decimal text, those of times
    since the epoch: what the database holds may be more than Python's own types can.
    """

    # fmt: off
    id: Annotated[str, Column("uuid", given=True, claimed="always")]
    queue_name: Annotated[str, Column("text", given=True, inherited=True, claimed="implied")]
    created_at: Annotated[str, Column("timestamptz", claimed="rarely")]
    scheduled_at: Annotated[str | None, Column("timestamptz", given=True, claimed="rarely")]
    input: Annotated[str, Column("jsonb", "input", given=True, inherited=True, claimed="always")]
    reserved_at: Annotated[str | None, Column("timestamptz", claimed="implied", of_claim=True)]
    started_at: Annotated[str | None, Column("timestamptz", claimed="implied", of_claim=True)]
    cancelled_at: Annotated[str | None, Column("timestamptz")]
    finished_at: Annotated[str | None, Column("timestamptz")]
    timeout: Annotated[str, Column("interval", given=True, inherited=True, claimed="always")]
    status: Annotated[str, Column("text", "status", claimed="implied", generated=True)]
    output: Annotated[str | None, Column("jsonb", "output")]
    deadline: Annotated[str | None, Column("timestamptz", claimed="implied", of_claim=True)]
    latest_heartbeat_at: Annotated[str | None, Column("timestamptz", of_claim=True)]
    failure_reason: Annotated[str | None, Column("text", "failure reason")]
    error_data: Annotated[str | None, Column("jsonb", "error")]
    attempt: Annotated[int, Column("integer", claimed="always", default=1)]
    max_attempts: Annotated[int, Column("integer", given=True, inherited=True, claimed="always")]
    original_attempt_id: Annotated[str | None, Column("uuid", claimed="rarely")]
    previous_attempt_id: Annotated[str | None, Column("uuid", claimed="rarely")]
    retry_delay: Annotated[str, Column("interval", given=True, inherited=True, claimed="always")]
    unique_key: Annotated[str | None, Column("text", given=True, inherited=True, claimed="rarely")]
    priority: Annotated[int, Column("smallint", given=True, inherited=True, claimed="always")]
    losses: Annotated[int, Column("integer", inherited=True, claimed="rarely", default=0)]
    crash_type: Annotated[str | None, Column("text")]
    crash_message: Annotated[str | None, Column("text")]
    crash_traceback: Annotated[str | None, Column("text")]
    meta: Annotated[
        str | None, Column("jsonb", "object", given=True, inherited=True, claimed="rarely")
    ]
    expires_at: Annotated[
        str | None, Column("timestamptz", given=True, inherited=True, claimed="rarely")
    ]
    own_retry: Annotated[
        bool | None, Column("boolean", given=True, inherited=True, claimed="rarely", internal=True)
    ]
    cancel_requested_at: Annotated[str | None, Column("timestamptz")]
    cancelled_by: Annotated[str | None, Column("text")]
    cancel_reason: Annotated[str | None, Column("text")]
    setup_failures: Annotated[int | None, Column("integer", claimed="rarely", internal=True)]
    progress: Annotated[
        str | None, Column("jsonb", inherited=True, claimed="rarely", internal=True)
    ]
    waiter: Annotated[str | None, Column("text", given=True, inherited=True, internal=True)]
    parent_id: Annotated[str | None, Column("uuid", given=True, inherited=True, claimed="rarely")]
    has_children: Annotated[
        bool | None, Column("boolean", inherited=True, claimed="rarely", internal=True)
    ]
    has_begun: Annotated[
        bool | None, Column("boolean", inherited=True, claimed="rarely", internal=True)
    ]
    follows: Annotated[str | None, Column("uuid")]
    unknown_since: Annotated[str | None, Column("timestamptz", claimed="rarely", internal=True)]
    session_losses: Annotated[int | None, Column("integer", claimed="rarely", internal=True)]
    lane: Annotated[str | None, Column("text", given=True, of_claim=True, internal=True)]
    order_key: Annotated[str | None, Column("text", given=True, inherited=True, internal=True)]
    was_due_at: Annotated[str | None, Column("timestamptz", internal=True)]
    # fmt: on

    @property
    def job_id(self) -> str:
        """The id of the chain's first attempt."""
        return self.original_attempt_id or self.id

    @property
    def scheduled_for(self) -> str | None:
        """`scheduled_at`, or what it was before the job was held up, and will be again."""
        if self.was_due_at is None or self.scheduled_at is None:
            return self.scheduled_at
        # An older m25 left `was_due_at` where it put the job off to another time.
        if float(self.scheduled_at) < HELD_UP_SINCE:
            return self.scheduled_at
        return None if self.was_due_at == self.created_at else self.was_due_at


_TYPES: Final = {
    name: get_args(hint) for name, hint in get_type_hints(JobRow, include_extras=True).items()
}

#: Those that are read, in the order of a `JobRow`.
COLUMNS: Final[Mapping[str, Column]] = {name: column for name, (_, column) in _TYPES.items()}

#: Those that the statements alone read and write.
HIDDEN: Final[Mapping[str, Column]] = {
    "run_at": Column("timestamptz", generated=True),
    "claim_token": Column("uuid", of_claim=True),
    "lease_expires_at": Column("timestamptz", of_claim=True),
    "messages": Column("integer", inherited=True),
    "awaits": Column("text"),
    "limit_key": Column("text"),
    "stack_asked_at": Column("timestamptz", of_claim=True),
    "stack": Column("text", of_claim=True),
    "nursery": Column("text", inherited=True),
    "place": Column("uuid", of_claim=True),
    "order_number": Column("bigint", inherited=True),
}

#: What is null once a job is released.
OF_CLAIM: Final = tuple(name for name, column in {**COLUMNS, **HIDDEN}.items() if column.of_claim)
GIVEN: Final = tuple(name for name, column in COLUMNS.items() if column.given)
#: Of those that are given, what every job has, and what most jobs have nothing in.
REQUIRED: Final = tuple(name for name in GIVEN if not isinstance(None, _TYPES[name][0]))
OPTIONAL: Final = tuple(name for name in GIVEN if name not in REQUIRED)
#: What jobs that are given together may all have the same of: then it is sent once.
SHARED: Final = tuple(name for name in REQUIRED if name != "id")
#: Of those that are given, in which of them two jobs of one id must not differ: who waits for a job
#: is not a part of it, nor is whether its numbers are its own or its queue's, nor its lane and its
#: order's key, which follow from its input.
COMPARED: Final = tuple(
    name for name in GIVEN if name not in ("id", "waiter", "own_retry", "lane", "order_key")
)
INHERITED: Final = tuple(name for name, column in {**COLUMNS, **HIDDEN}.items() if column.inherited)
#: Of what is claimed, what comes for every job, and what comes only for jobs that have any of it.
ALWAYS_CLAIMED: Final = tuple(n for n, column in COLUMNS.items() if column.claimed == "always")
RARELY_CLAIMED: Final = tuple(n for n, column in COLUMNS.items() if column.claimed == "rarely")
