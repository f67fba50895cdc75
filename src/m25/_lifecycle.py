"""The life of a job: its statuses, every legal move with the verb that makes it, and its rules.

What is not in these tables cannot happen. The SQL, both stores, the simulation's checker and
docs/lifecycle.md, which is generated from here, are checked against them.

    pending ──claim──▶ reserved ──start──▶ executing ──settle──▶ succeeded | failed
       │  ▲               │                    │
       │  └───release─────┴────────release─────┘
       └──cancel──▶ cancelled ◀─release─┘ where somebody has asked for that

A row is one attempt of a job; a retry is a row of its own. What follows is told of a row (statuses,
verbs), of a claim on it (`ClaimState`), and of a chain of attempts (`has_next_attempt`).
"""

from __future__ import annotations

import enum
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import attrs


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


#: A claim looks after the job.
LIVE: Final = frozenset({JobStatus.RESERVED, JobStatus.EXECUTING})
#: The same, as a row has them.
LIVE_VALUES: Final = frozenset(status.value for status in LIVE)
#: Nothing leads out of these.
FINAL: Final = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})
#: The same, as a row has them.
FINAL_VALUES: Final = frozenset(status.value for status in FINAL)
#: Of these, the ones that are no success.
UNSUCCESSFUL_VALUES: Final = FINAL_VALUES - {JobStatus.SUCCEEDED.value}
#: With these a job gives its unique key up.
KEYLESS: Final = frozenset({JobStatus.FAILED, JobStatus.CANCELLED})


def derive_status(
    *,
    cancelled_at: object,
    reserved_at: object,
    started_at: object,
    finished_at: object,
    failure_reason: object,
) -> JobStatus:
    """The status of a row, by which of its columns are null, which is `None` here.

    The table's generated column says the same.
    """
    if cancelled_at is not None:
        return JobStatus.CANCELLED
    if reserved_at is None:
        return JobStatus.PENDING
    if started_at is None:
        return JobStatus.RESERVED
    if finished_at is None:
        return JobStatus.EXECUTING
    return JobStatus.SUCCEEDED if failure_reason is None else JobStatus.FAILED


# The verbs


class Token(enum.Enum):
    """What a verb demands of the row's claim token."""

    #: It asks for none, and leaves none to the row's owner where it ends or releases the row.
    NONE = "none"
    #: It gives the row a new one.
    NEW = "gives a new one"
    #: The row must carry the caller's.
    OWN = "the caller's own"
    #: A live row must carry the caller's; a pending row is given it.
    OWN_OR_NEW = "the caller's own; a pending row is given it"


@attrs.frozen
class Verb:
    """What one statement does with a row: from which status to which, and on what conditions.

    Where the row is in another status, or the token or the time is not as demanded, the verb
    changes nothing.
    """

    moves: Mapping[JobStatus, frozenset[JobStatus]]
    token: Token = Token.OWN
    #: What else must be true by the database's clock, in words; empty if nothing.
    time: str = ""


def _to(*statuses: JobStatus) -> frozenset[JobStatus]:
    return frozenset(statuses)


#: By the name of its statement in `_store/sql`. A verb that keeps the status renews the lease, but
#: for `change`, `request_cancel`, `cancel_descendants`, `report` and `send`.
VERBS: Final[Mapping[str, Verb]] = {
    "claim": Verb(
        {JobStatus.PENDING: _to(JobStatus.RESERVED, JobStatus.EXECUTING)},
        token=Token.NEW,
        time="`scheduled_at`, or else `created_at`, has come",
    ),
    "claim_limited": Verb(
        {JobStatus.PENDING: _to(JobStatus.RESERVED, JobStatus.EXECUTING)},
        token=Token.NEW,
        time="as for `claim`, and fewer run than its limit",
    ),
    "claim_by_key": Verb(
        {
            JobStatus.PENDING: _to(JobStatus.RESERVED, JobStatus.EXECUTING, JobStatus.PENDING),
        },
        token=Token.NEW,
        time="as for `claim`, and fewer of its key run than its limit; else it is held up",
    ),
    "claim_by_rate": Verb(
        {JobStatus.PENDING: _to(JobStatus.RESERVED, JobStatus.EXECUTING, JobStatus.PENDING)},
        token=Token.NEW,
        time="as for `claim_limited`, and its key's clock has come to its turn; else it is held up",
    ),
    "claim_fairly": Verb(
        {JobStatus.PENDING: _to(JobStatus.RESERVED, JobStatus.EXECUTING, JobStatus.PENDING)},
        token=Token.NEW,
        time="as for `claim_limited`, and others of its key have had no more than their share;"
        " or it is given its lane",
    ),
    "claim_in_order": Verb(
        {JobStatus.PENDING: _to(JobStatus.RESERVED, JobStatus.EXECUTING, JobStatus.PENDING)},
        token=Token.NEW,
        time="as for `claim_limited`, and all before it of its key have ended; or it is given its"
        " place",
    ),
    # It ends others, as `settle` does.
    "succeed_and_claim": Verb(
        {JobStatus.PENDING: _to(JobStatus.EXECUTING)},
        token=Token.NEW,
        time="as for `claim`, and another job of its limit ends",
    ),
    "confirm": Verb(
        {
            JobStatus.PENDING: _to(JobStatus.EXECUTING),
            JobStatus.EXECUTING: _to(JobStatus.EXECUTING),
        },
        token=Token.OWN_OR_NEW,
    ),
    "cancel": Verb({JobStatus.PENDING: _to(JobStatus.CANCELLED)}, token=Token.NONE),
    "change": Verb({JobStatus.PENDING: _to(JobStatus.PENDING)}, token=Token.NONE),
    "request_cancel": Verb(
        {
            JobStatus.RESERVED: _to(JobStatus.RESERVED),
            JobStatus.EXECUTING: _to(JobStatus.EXECUTING),
        },
        token=Token.NONE,
    ),
    "cancel_descendants": Verb(
        {
            JobStatus.PENDING: _to(JobStatus.CANCELLED),
            # Asked for.
            JobStatus.RESERVED: _to(JobStatus.RESERVED),
            JobStatus.EXECUTING: _to(JobStatus.EXECUTING),
        },
        token=Token.NONE,
    ),
    # It is counted on the row, and a job that is set aside for it is due at once.
    "send": Verb(
        {
            JobStatus.PENDING: _to(JobStatus.PENDING),
            JobStatus.RESERVED: _to(JobStatus.RESERVED),
            JobStatus.EXECUTING: _to(JobStatus.EXECUTING),
        },
        token=Token.NONE,
    ),
    "start": Verb(
        {
            JobStatus.RESERVED: _to(JobStatus.EXECUTING),
            JobStatus.EXECUTING: _to(JobStatus.EXECUTING),
        }
    ),
    "heartbeat": Verb(
        {
            JobStatus.RESERVED: _to(JobStatus.RESERVED),
            JobStatus.EXECUTING: _to(JobStatus.EXECUTING),
        }
    ),
    "report": Verb(
        {
            JobStatus.RESERVED: _to(JobStatus.RESERVED),
            JobStatus.EXECUTING: _to(JobStatus.EXECUTING),
        }
    ),
    "settle": Verb({JobStatus.EXECUTING: _to(JobStatus.SUCCEEDED, JobStatus.FAILED)}),
    # Cancelled where that was asked for. A job whose handler sleeps, or waits for a message, is
    # released, too: pending until that time, or that message.
    "release": Verb(
        {
            JobStatus.RESERVED: _to(JobStatus.PENDING, JobStatus.CANCELLED),
            JobStatus.EXECUTING: _to(JobStatus.PENDING, JobStatus.CANCELLED),
        }
    ),
    # Cancelled where that was asked for.
    "release_claims": Verb(
        {
            JobStatus.RESERVED: _to(JobStatus.PENDING, JobStatus.CANCELLED),
            JobStatus.EXECUTING: _to(JobStatus.PENDING, JobStatus.CANCELLED),
        }
    ),
    "sweep": Verb(
        {
            # Cancelled where that was asked for.
            JobStatus.RESERVED: _to(JobStatus.PENDING, JobStatus.CANCELLED),
            JobStatus.EXECUTING: _to(JobStatus.FAILED, JobStatus.CANCELLED),
        },
        token=Token.NONE,
        time="the row is dead",
    ),
}


def _moves() -> Mapping[tuple[JobStatus, JobStatus], frozenset[str]]:
    found = defaultdict[tuple[JobStatus, JobStatus], set[str]](set)
    for name, verb in VERBS.items():
        for before, afters in verb.moves.items():
            for after in afters - {before}:
                found[before, after].add(name)
    # In one order, whatever order sets have.
    moves = itertools.product(JobStatus, JobStatus)
    return {move: frozenset(found[move]) for move in moves if move in found}


#: Every legal move, and the verbs that make it.
MOVES: Final = _moves()


# A claim


class ClaimState(enum.Enum):
    """What a process knows of one of its claims: of all jobs that one `claim` took."""

    #: The statement is under way. Its jobs may have begun already, once the rows have come.
    ASKED = "asked"
    #: The answer to its commit was lost: what it took may be its own, or pending still.
    UNANSWERED = "unanswered"
    #: The database has it: results and heartbeats may be written.
    CONFIRMED = "confirmed"
    #: The database says that the row is not, or no longer, its own: nothing may be written.
    FENCED = "fenced"


#: Every legal move of a claim, and what makes it.
CLAIM_MOVES: Final[Mapping[tuple[ClaimState, ClaimState], str]] = {
    (ClaimState.ASKED, ClaimState.CONFIRMED): "the commit is answered",
    (ClaimState.ASKED, ClaimState.UNANSWERED): "the answer is lost",
    (ClaimState.UNANSWERED, ClaimState.CONFIRMED): "`confirm` returns the row",
    (
        ClaimState.UNANSWERED,
        ClaimState.FENCED,
    ): "`confirm` does not, or it was released, or it stays locked",
    (
        ClaimState.CONFIRMED,
        ClaimState.FENCED,
    ): "a write finds that the row is not its own",
}


# The rules


def has_next_attempt(
    reason: FailureReason, *, attempt: int, max_attempts: int, losses: int, allowed_losses: int
) -> bool:
    """Whether a failed attempt is followed by another: the retry rule.

    `losses` counts the attempts of the chain that were lost with their process, this one included.
    A lost attempt was not the job's fault: it is followed by the next up to `allowed_losses` times
    in a chain, whatever `max_attempts` says, and not counted against it.

    A job whose cancel was asked for has no next attempt, nor one that its worker gave up: that is
    not this rule's affair.

    `_store/sql/parts/has_next_attempt.sql` says the same.
    """
    if reason is FailureReason.HEARTBEAT_TIMEOUT:
        return losses <= allowed_losses
    return attempt - losses < max_attempts


def seconds_apart(losses: Sequence[int]) -> list[float]:
    """How long each of the jobs that are lost together waits for its next attempt, in seconds.

    `losses` has for each of them, in the order of their ids, how often its chain was lost before.
    The first time a job goes on at once. Among those that are lost again there may be one that
    kills whatever process it runs in. Claimed together again and again, all would be lost as often
    as it is, and fail with it. So they begin a second after one another; and the third time five,
    since some take a while to kill. However many they are, the last waits for a minute at most.

    `_store/sql/sweep.sql` says the same.
    """
    again = sum(1 for each in losses if each)
    seconds: list[float] = []
    number = 0
    for each in losses:
        if not each:
            seconds.append(0.0)
            continue
        seconds.append(number * min(1.0 if each == 1 else 5.0, 60.0 / again))
        number += 1
    return seconds


def is_dead(
    status: JobStatus,
    *,
    has_token: bool,
    lease_expires_at: int | None,
    deadline: int | None,
    reserved_at: int | None,
    reserved_timeout: int,
    now: int,
) -> bool:
    """Whether nobody looks after a live row any more; all times are in the same unit.

    A row that we claimed has a token, and its lease decides. One without was claimed by a worker of
    the original m25, which knows no leases: it is given until its deadline if it is executing, and
    `reserved_timeout` if it is reserved.

    `_store/sql/sweep.sql` says the same.
    """
    if has_token:
        return lease_expires_at is not None and lease_expires_at < now
    if status is JobStatus.EXECUTING:
        return deadline is not None and deadline < now
    return reserved_at is not None and reserved_at < now - reserved_timeout


def reason_of_death(*, has_token: bool) -> FailureReason:
    """How a dead attempt failed, which was executing: with its worker, or by its own time."""
    return FailureReason.HEARTBEAT_TIMEOUT if has_token else FailureReason.JOB_TIMEOUT
