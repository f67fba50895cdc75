"""`Store`: everything m25 asks of a database, in plain values; long, since all calls are here.

Each call is one statement, or a transaction of its own, and each transition in it is guarded by the
status it expects and, once a job is claimed, by the claim's token. All may be repeated after an
answer was lost: a repeat changes nothing twice. Times that decide anything are the database's.

Ids and tokens are UUIDs as text, JSON is text, and in a `JobRow` times are seconds since the epoch
as decimal text: what the database holds may be more than Python's own types can, and that is to be
the trouble of whoever reads that row, not of the batch it came in.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import attrs

from .._keep import Keep
from .._unique import Holding, Then
from .columns import JobRow as JobRow  # noqa: PLC0414 - a part of the protocol
from .operator import Operator


class NewJob(NamedTuple):
    """A job to be inserted: the columns that are given, in the table's order."""

    id: str
    queue_name: str
    scheduled_at: datetime | None
    input: str
    timeout: timedelta
    max_attempts: int
    retry_delay: timedelta
    unique_key: str | None
    priority: int
    meta: str | None
    expires_at: datetime | None = None
    own_retry: bool | None = None
    #: The channel of whoever waits for the job from the beginning.
    waiter: str | None = None
    parent_id: str | None = None
    #: The key of a job that is due at once, where its queue is fair between keys.
    lane: str | None = None
    #: The key of a job whose queue runs the jobs of one key in order.
    order_key: str | None = None


class UniqueJob(NamedTuple):
    """A job to be put on a queue that has one of its key at a time."""

    job: NewJob
    key: str
    #: For how long it holds the key.
    holding: Holding
    #: Until when, counted from now, if it is within some time.
    within: timedelta | None
    #: What happens where another job holds the key.
    then: Then


@attrs.frozen
class Enqueued:
    """The job was inserted."""

    created_at: str
    #: The job after whose end it is run.
    follows: str | None = None


@attrs.frozen
class Exists:
    """A job of this id was there already; nothing was inserted."""

    row: JobRow
    #: The columns that are given in which it differs from what was asked.
    differs: tuple[str, ...] = ()


@attrs.frozen
class Held:
    """Another job holds the unique key; nothing was inserted."""

    id: str
    #: How that job stands, where its key is one of a `UniqueJob`, and its row is there.
    status: str | None = None


@attrs.frozen
class Twin:
    """Another job holds the key; it is what the caller gets, and nothing was inserted."""

    row: JobRow
    #: Whether the input and the options of the new job were written to it.
    is_changed: bool


@attrs.frozen
class Refused:
    """The claim of a job's parent is lost, or its cancel asked for; nothing was inserted."""


#: What a caller puts on a queue.
AnyJob: TypeAlias = NewJob | UniqueJob
#: What has become of it; of a `NewJob` it is no `Twin`.
UniqueAnswer: TypeAlias = Enqueued | Exists | Held | Twin


def row_of(job: AnyJob) -> NewJob:
    """What is to be inserted of it."""
    return job.job if isinstance(job, UniqueJob) else job


class NewChild(NamedTuple):
    """A job to be inserted that another one starts, and waits for."""

    job: NewJob
    #: The claim under which the other one is executing.
    parent: ClaimedJob
    #: In which of the other one's nurseries it is.
    nursery: str | None = None


class Position(NamedTuple):
    """Where the latest claim in a priority ended: at the last row that it took."""

    priority: int
    #: Seconds since the epoch, as in a `JobRow`.
    run_at: str
    id: str


class LimitedClaim(NamedTuple):
    """What is asked of the queue of a limiter, whatever its claims go by."""

    queue_name: str
    limiter: str
    token: str
    #: How many jobs at most.
    limit: int
    lease: timedelta
    #: Whether they begin at once, or are reserved.
    start: bool


class Claimed(NamedTuple):
    """What a claim under a limit has brought."""

    rows: list[JobRow]
    #: Jobs may wait until one of those that run has ended: as many run as may, or of some key.
    is_full: bool
    #: There may be more to claim now, also where this claim was not filled.
    has_more: bool
    #: The key from which the next claim goes on, where this one did not come to all of them.
    last_key: str | None = None
    #: In how many seconds the next job may begin by the rate, if none may now.
    room_in: float | None = None


class Walked(NamedTuple):
    """How far a queue's pending jobs were looked at for those that have no lane, or no place."""

    priority: int
    #: As the database writes it.
    run_at: str
    id: str


class WalkedHeldUp(NamedTuple):
    """How far a queue's jobs were looked at that are held up."""

    key: str
    priority: int
    #: As the database writes it.
    was_due_at: str
    id: str


class LetGo(NamedTuple):
    """What was held up by a former key, among some jobs."""

    #: How many were let go.
    number: int
    #: Whether there was any; somebody may have it locked.
    found: bool
    #: How far the walk has come; `None` is to its end.
    walked: WalkedHeldUp | None


class FairClaim(NamedTuple):
    """What a claim is told that is to be fair between keys."""

    #: By key, how many jobs of it have ended here of late; a key that is not here had none.
    used: Mapping[str, float]
    #: By key, how much of the workers it has; a key that is not here has 1.
    weights: Mapping[str, float]
    #: From which lane on it looks; "" is the first.
    from_lane: str
    #: Behind which job it looks for jobs that have no lane; `None` is from the first on.
    after: Walked | None


class FairlyClaimed(NamedTuple):
    """What a claim that is fair between keys has brought."""

    rows: list[JobRow]
    #: Jobs may wait until the limit has room for them, or the rate a token.
    is_full: bool
    #: There is more in the lanes that were looked at, or was given a lane just now.
    has_more: bool
    #: From which lane the next claim goes on; `None` where this one came to the last.
    next_lane: str | None
    #: The last job that was looked at for its lane; `None` where it was the last of all.
    walked: Walked | None
    #: As of a `Claimed`.
    room_in: float | None = None


class ClaimedInOrder(NamedTuple):
    """What a claim in order has brought."""

    rows: list[JobRow]
    #: Jobs may wait until the limit has room for them, or the rate a token.
    is_full: bool
    #: Jobs were given their places just now.
    has_more: bool
    #: Jobs are due that were not claimed: they wait for those before them, it seems.
    has_waiting: bool
    #: In how many seconds the first head is due of those that are not yet, if there is one.
    next_in: float | None
    #: From which key the next claim goes on; `None` where this one came to the last.
    next_key: str | None
    #: The last job that was looked at for its place; `None` where it was the last of all.
    walked: Walked | None
    #: As of a `Claimed`.
    room_in: float | None = None


class PassedOn(NamedTuple):
    """What became of attempts that have ended, and the jobs that have their places."""

    results: dict[str, WriteResult]
    rows: list[JobRow]
    #: A place was left to others, which were told.
    has_turned: bool
    #: A place that is left to others once the jobs that wait for it have run.
    leaving: str | None
    #: A place is empty beside those that are left.
    has_room: bool
    #: By id, the place of each of `rows`, where others are claimed for the same. A job that is not
    #: here is alone in its place.
    places: dict[str, str]


class ClaimedJob(NamedTuple):
    """One claim on one job; every later write of the attempt names both."""

    id: str
    token: str


class Started(NamedTuple):
    """A job that is executing now."""

    id: str
    started_at: str
    deadline: str


class RateHold(NamedTuple):
    """That no job of a key is to begin for a while, by the rate of its queue."""

    #: What the rate's path leads to in the job's input; empty where all jobs have one clock.
    key: str
    delay: timedelta


class Turn(NamedTuple):
    """What became of a try to take a turn of a rate."""

    #: Whether the rate has a clock for each key.
    has_key: bool
    #: In how many seconds the turn comes; `None` where none was taken, since a key was given and
    #: the rate has none, or the other way round.
    wait: float | None


class AskedPlace(NamedTuple):
    """A place of a limit that is asked for outside of a job."""

    #: By which it is known from then on; made by who asks.
    id: str
    #: Of which key; `None` where the limit has none.
    key: str | None
    #: For how long it is held without a renewal.
    lease: timedelta


class TakenPlaces(NamedTuple):
    """What became of places that were asked for outside of jobs."""

    #: Whether it says how many may run at once; it may be a rate alone.
    has_limit: bool
    #: Whether it counts by a key. What was asked for in the other way is not given.
    has_key: bool
    #: A place was left to jobs, whose turn it is; they have it until it is asked for again.
    has_turned: bool
    #: The ids of those that are held now.
    ids: AbstractSet[str]


class LostHolder(NamedTuple):
    """A place that is held outside of a job, and whose lease is over, or soon will be."""

    limiter: str
    id: str
    #: Seconds since the epoch, as in a `JobRow`.
    lease_expires_at: str
    is_expired: bool
    #: How long the lease was, in seconds.
    length: float


class Outcome(NamedTuple):
    """How an attempt ended."""

    id: str
    token: str
    #: As stored; `None` for success.
    failure_reason: str | None
    output: str | None
    error_data: str | None
    crash_type: str | None
    crash_message: str | None
    crash_traceback: str | None
    #: The id that the next attempt will have, if there is to be one. `None` for success, and where
    #: this attempt is the last, whatever the retry rule says.
    next_attempt_id: str | None
    #: After how many seconds the next attempt may run, as text; `None` is as the row has it.
    retry_after: str | None = None
    #: The id of the job's first attempt, if the job may have started others: where its chain ends,
    #: they are cancelled with it.
    children_of: str | None = None
    #: What its handler has asked for all others; it is written by a call of its own.
    rate_hold: RateHold | None = None


class SetAside(NamedTuple):
    """How a handler's job is to wait without its handler."""

    #: When it is due: seconds since the epoch, as in a `JobRow`.
    until: str
    #: The name of the message by which it is due before that, if it waits for one.
    awaits: str | None = None
    #: How many messages were sent to the job when the handler last looked: with more it is due now.
    messages: int = 0


#: When a job is due that waits for a message, however long that takes. Not infinity, which no
#: `datetime` can hold: 9000-01-01 in UTC.
FOREVER: Final = "221845392000.000000"

#: For how long a job is left to newer workers, in seconds: a rolling deploy takes minutes. It is in
#: release.sql, too.
LONGEST_UNKNOWN: Final = 15 * 60

#: A worker of which nothing was heard for this long is not taken for live. Each says every 30
#: seconds that it is there.
SILENCE: Final = timedelta(minutes=2)


class Release(NamedTuple):
    """A claim that is given up without an outcome; the attempt is not counted."""

    id: str
    token: str
    #: In how many seconds the job is due again, as text; `None` is as it was.
    delay: str | None = None
    #: Whether it is since its setup failed: that is counted on the row.
    setup_failed: bool = False
    #: Why it is cancelled, and not pending again; it also is where somebody has asked for that.
    cancel_reason: str | None = None
    #: As for an `Outcome`.
    children_of: str | None = None
    #: That it is set aside.
    set_aside: SetAside | None = None
    #: Whether its input has what this worker does not know: it is left to newer ones. It is due
    #: again within five seconds, at the same moment as all others of which that is said.
    is_newer: bool = False
    #: Whether it is since the session of its handler's transaction was lost: it is counted on the
    #: row how often in a row.
    session_lost: bool = False
    #: Whether it was claimed ahead of a slot, and has not begun: then it expires as if it had not
    #: been claimed.
    claimed_ahead: bool = False


class Locked(NamedTuple):
    """A job whose row somebody has locked for now: nothing was written, and it is still ours."""

    id: str


@attrs.frozen
class Written:
    """What became of a write to several jobs. Those in neither set are fenced."""

    #: The ids of the jobs that it was written to.
    ids: AbstractSet[str]
    #: Of those whose rows somebody has locked for now: still ours, and to be tried again.
    locked: AbstractSet[str]
    #: Of `ids`, those whose cancel somebody has asked for; a release has cancelled them.
    to_cancel: AbstractSet[str] = frozenset()
    #: Of `ids`, those whose stack somebody has asked for, and has no answer yet.
    stacks_asked: AbstractSet[str] = frozenset()


class NewStep(NamedTuple):
    """What a handler has done once, and no later attempt of its job is to do again."""

    #: The claim of the attempt that has done it.
    id: str
    token: str
    #: The id of the job's first attempt.
    job_id: str
    #: What it is to the handler: "step", "sleep" or "receive".
    kind: str
    name: str
    #: Which of the steps of that name.
    key: str
    #: Of what the step was given.
    fingerprint: str | None = None
    #: In how long that is until which the job sleeps, or waits.
    until_in: timedelta | None = None
    #: As JSON.
    output: str | None = None


class StepRow(NamedTuple):
    """What is kept of a step."""

    kind: str
    name: str
    key: str
    fingerprint: str | None
    #: Seconds since the epoch, as in a `JobRow`.
    until: str | None
    #: How far ahead `until` was by the database's clock when it was read; negative once it is past.
    seconds_left: float | None
    output: str | None


class Kept(NamedTuple):
    """A step that is kept: by this call, or by an earlier one."""

    step: StepRow
    is_new: bool


@attrs.frozen
class Fenced:
    """The claim on a job is lost: nothing was written."""

    id: str


class NewReceive(NamedTuple):
    """That a handler waits for a message."""

    #: The claim of the attempt that waits.
    id: str
    token: str
    #: The id of the job's first attempt.
    job_id: str
    #: Of the message.
    name: str
    #: Which of the handler's waits for messages of that name.
    key: str
    #: For how long it waits, from when it first asks.
    timeout: timedelta | None = None


class NoMessage(NamedTuple):
    """None has come that is for this wait."""

    #: Until when the handler waits; `None` is for as long as it takes.
    step: StepRow | None
    #: How many messages were sent to the job by then, of whatever names.
    messages: int


class NewMessage(NamedTuple):
    """What is sent to a job."""

    #: That of the attempt to whose row it is sent.
    id: str
    #: By which it is known when it is sent again.
    key: str
    name: str
    #: As JSON.
    value: str


class Sent(enum.Enum):
    """What became of a message."""

    #: It was sent now.
    SENT = "sent"
    #: It was sent now, and the job, which was set aside for it, is due.
    WOKEN = "woken"
    #: It had been sent before, by a call whose answer was lost.
    REPEATED = "repeated"
    #: The attempt has ended, or the queue has none of this id. Nothing was written.
    NOT_LIVE = "not live"


class Change(NamedTuple):
    """What is to be different about a pending job."""

    #: Whether `scheduled_at` is to be written: `None` is a time, too, and says at once.
    reschedule: bool
    scheduled_at: datetime | None
    #: `None` leaves it as it is.
    priority: int | None


class Descendant(NamedTuple):
    """A job that was cancelled, or asked for, since one above it was."""

    id: str
    queue_name: str
    attempt: int
    max_attempts: int
    losses: int
    #: Whether it was pending, and has ended.
    is_cancelled: bool


@attrs.frozen
class Descendants:
    """What a cancel down a tree has come to."""

    #: Those that this call has reached.
    reached: Sequence[Descendant] = ()
    #: Whether there are others, whose rows somebody has locked for now: it is to be asked again.
    is_unfinished: bool = False


class CancelRequest(NamedTuple):
    """That somebody wants a job cancelled that is claimed."""

    id: str
    by: str | None
    reason: str | None


class Watched(NamedTuple):
    """How the chain stands whose end somebody waits for."""

    #: The latest attempt.
    row: JobRow
    #: Whether the end of the chain will be notified. If not, and it has not ended, somebody had the
    #: row locked, or it has just changed: it is to be asked again.
    is_watched: bool


class WriteResult(enum.Enum):
    """What became of an outcome."""

    #: It was written now, and ended the chain.
    SETTLED = "settled"
    #: The same, and the jobs of its key behind it are held, since it has failed.
    STOPPED = "stopped"
    #: It was written now, and a next attempt inserted.
    RETRIED = "retried"
    #: It had been written before, by a call whose answer was lost.
    REPEATED = "repeated"
    #: The claim was lost: somebody else has the attempt, or has ended it. Nothing was written.
    FENCED = "fenced"
    #: Somebody has locked the row for now. Nothing was written, and it is to be tried again.
    LOCKED = "locked"

    @property
    def ends_chain(self) -> bool:
        """Whether it was written now, and nothing follows."""
        return self in (WriteResult.SETTLED, WriteResult.STOPPED)


@attrs.frozen
class SweptQueue:
    """By which options a queue's dead work is judged."""

    name: str
    allowed_losses: int
    reserved_timeout: timedelta
    #: A job whose lease is over within this time is a suspect already.
    margin: timedelta = timedelta(0)


class Suspect(NamedTuple):
    """A live job that nobody may be looking after."""

    queue_name: str
    id: str
    #: The claim and its lease, as they were seen; `None` for a job of the original's worker.
    token: str | None
    lease_expires_at: str | None
    #: The lease is over; or the job is the original's, and dead.
    is_expired: bool
    #: None of its worker's sessions is there any more.
    is_abandoned: bool
    #: How long the lease was when it was given, in seconds: its owner's heartbeats come more often.
    length: float
    #: As for an `Outcome`.
    children_of: str | None = None
    #: When its worker has said last that it is there, if it is abandoned: seconds since the epoch.
    heard_at: str | None = None


@attrs.frozen
class DeclaredQueue:
    """What a queue's declaration says that others must know."""

    name: str
    #: How long a handler may run where its job does not say.
    default_job_timeout: timedelta
    #: How many attempts a job has at most that does not say.
    default_max_attempts: int = 1
    #: The queue that is told of each chain that has failed.
    on_failure: str | None = None
    #: The limit under which its jobs run, how many may at once, and where in their inputs the key
    #: is by which they are counted.
    limiter: str | None = None
    limit_size: int | None = None
    limit_path: Sequence[str] | None = None
    #: By the limit, how much time lies between two jobs that begin, and how many may beyond that.
    rate_interval: timedelta | None = None
    rate_burst: int | None = None
    #: How long after a failed attempt the next may run, of jobs that do not say.
    default_retry_delay: timedelta = timedelta(0)
    #: Where in their inputs the key is between whose values the queue is fair.
    lane_path: Sequence[str] | None = None
    #: Where the key is that has a clock of its own by the rate, and where what a job costs of it.
    rate_path: Sequence[str] | None = None
    cost_path: Sequence[str] | None = None
    #: Where in their inputs the key is whose jobs run in order, and whether one of them that has
    #: failed for good holds those behind it; `None` of a queue without such a key.
    order_path: Sequence[str] | None = None
    holds_failed: bool | None = None

    @property
    def held_by(self) -> Sequence[str] | None:
        """Where the key is by which jobs are held up, if any are."""
        return self.limit_path or self.rate_path


@attrs.frozen
class Worker:
    """What a worker says of itself."""

    id: str
    #: Of m25.
    version: str
    queues: Sequence[DeclaredQueue]


class Swept(NamedTuple):
    """A job that was taken from whoever stopped looking after it."""

    queue_name: str
    id: str
    #: As stored; `None` for a reserved job that went back to pending.
    failure_reason: str | None
    has_next_attempt: bool
    attempt: int
    max_attempts: int
    #: Whether it ended as cancelled, since somebody had asked for that.
    is_cancelled: bool = False
    #: Whether the jobs of its key behind it are held, since it has failed.
    stops_key: bool = False

    @property
    def ends_chain(self) -> bool:
        """Whether nothing follows: it was neither released nor is there a next attempt."""
        return self.is_cancelled or (self.failure_reason is not None and not self.has_next_attempt)


class CancelAsked(NamedTuple):
    """A hint that a job of a queue is to be cancelled, which some process has claimed."""

    queue_name: str
    job_id: str


class QueueChanged(NamedTuple):
    """A hint that somebody has paused a queue, or resumed it."""

    queue_name: str


class StackAsked(NamedTuple):
    """A hint that somebody asks where the handler of a job waits."""

    queue_name: str
    job_id: str


#: What the workers of a queue are told: its name says that there may be work.
Hinted: TypeAlias = str | CancelAsked | QueueChanged | StackAsked


class StackAnswer(NamedTuple):
    """What has become of a request for a job's stack."""

    #: That of the attempt that was asked.
    status: str
    #: When it was asked last, as in a `JobRow`; `None` where nobody waits for an answer.
    asked_at: str | None
    #: The answer, once it is there.
    stack: str | None


class Pause(NamedTuple):
    """That somebody has paused a queue."""

    #: Since when: seconds since the epoch, as in a `JobRow`.
    paused_at: str
    #: Why, in their words.
    reason: str | None


class Due(NamedTuple):
    """When a queue's next pending job is due."""

    #: In how many seconds; zero is now. It is a day at most, also where there is no job.
    seconds: float
    #: A job that nobody scheduled was created more than a second from now: the database's clock was
    #: set back afterwards.
    misdated: bool = False
    #: None of its jobs is claimed, due or not.
    pause: Pause | None = None


class Pruned(NamedTuple):
    """What a step of a walk over old jobs has come to."""

    #: Where the next step goes on; `None` is that this was the last.
    after: str | None
    #: How many jobs were deleted that no other had started, and how many rows with them.
    jobs: int
    attempts: int


class Unserved(NamedTuple):
    """A queue whose jobs wait, and that no live worker serves."""

    name: str
    #: For how many seconds the oldest of them has been due.
    seconds: float
    #: How many workers are live, and serve others.
    workers: int


class NewSchedule(NamedTuple):
    """What a client declares of a schedule."""

    name: str
    queue_name: str
    #: One of the two is `None`.
    expression: str | None
    every: timedelta | None
    timezone: str
    catch_up: str
    overlap: str


class ScheduleRow(NamedTuple):
    """A schedule as it is. Times and durations are decimal text, in seconds."""

    name: str
    revision: int
    queue_name: str
    expression: str | None
    every: str | None
    timezone: str
    catch_up: str
    overlap: str
    #: When a process has last said that it has declared it like this.
    declared_at: str
    paused_at: str | None
    #: The latest that was claimed; at first, when the schedule was declared.
    last_tick: str
    #: The first attempt of the job of the latest tick that has one.
    last_job_id: str | None


class Schedules(NamedTuple):
    """What `find_schedules` has found."""

    #: The database's time, as decimal text in seconds.
    now: str
    rows: Sequence[ScheduleRow]


class NewTick(NamedTuple):
    """Ticks of one schedule that are to be claimed, with their jobs."""

    name: str
    #: The schedule's, and its latest tick, as they were seen.
    revision: int
    after: datetime
    #: The last of these ticks.
    until: datetime
    #: What is to be done while the latest job is live: with `allow`, the same; with `skip`, the
    #: ticks are claimed without a job; else they are left.
    overlap: str
    jobs: Sequence[NewJob]


class Ticked(NamedTuple):
    """What became of a `NewTick` that somebody else has not claimed."""

    name: str
    #: The latest job before has not ended, and `overlap` is not `allow`: so no job was inserted.
    is_live: bool
    #: The ticks are claimed.
    is_ticked: bool


class Transaction(Protocol):
    """A transaction for a handler: what it writes and what m25 writes of it are one commit."""

    @property
    def connection(self) -> Any:
        """The connection, for the handler; the transaction on it is not the handler's to end. It
        is closed once that has ended.
        """
        ...

    @property
    def is_lost(self) -> bool:
        """Whether the connection was lost: not closed by the handler, but by server or network."""
        ...

    async def keep_step(self, step: NewStep) -> Kept | Locked | Fenced:
        """Keep a step, as `Store.keep_steps` does: the attempt's row is locked from then on."""
        ...

    async def settle(self, outcome: Outcome, allowed_losses: int) -> WriteResult:
        """End an attempt, as `Store.settle` does: its row is locked from then on."""
        ...

    async def commit(self) -> None:
        """Commit. A cancellation that comes once it was sent waits for the answer.

        Raises:
            UsageError: the handler has ended the transaction itself, or has caught an error of the
                database's, after which there is nothing to commit.
        """
        ...


class Store(Protocol):
    """Everything m25 asks of a database.

    A call that fails raises `StatementFailed`, whose `kind` says whose affair that is; where it is
    a row of the caller's, `RowRefused`. Nothing else is raised, but for what a caller's own
    callback or iterator raises, and what a call says of itself.

    Anybody may lock any row of the table for as long as they like. No call about several jobs waits
    for that: it does its work on the others, and its answer tells of those that were locked.
    """

    #: What is asked by whoever looks after the jobs.
    operator: Operator

    async def check_version(self) -> None:
        """Refuse a schema of another version.

        Raises:
            DatabaseNotMigrated, DatabaseTooNew: as they say.
            UsageError: the connections have settings that m25 cannot work with.
        """
        ...

    def working(self) -> AbstractAsyncContextManager[None]:
        """Have what the calls of workers need, while queues run: nobody else can take it."""
        ...

    async def enqueue(
        self,
        jobs: Sequence[NewJob],
        notify: Sequence[str],
        connection: Any = None,
        *,
        lock_wait: timedelta | None = None,
    ) -> list[Enqueued | Exists | Held]:
        """Insert jobs, and answer for each, in order: as if each had come after the one before it.

        `notify` names the queues whose workers are notified in the same commit. With `connection`,
        it is part of that connection's transaction.

        A lock that somebody holds is waited for, at most for `lock_wait`: then nothing was written,
        and the failure says that it `waits_for_lock`.

        Cancelled, it has written nothing. A cancellation that comes once the statement was sent
        waits for the answer, and the call returns; without an answer within five seconds it fails,
        and the failure says that its `outcome_is_unknown`.
        """
        ...

    async def enqueue_unique(
        self,
        jobs: Sequence[UniqueJob],
        notify: Sequence[str],
        connection: Any = None,
        *,
        lock_wait: timedelta | None = None,
    ) -> list[UniqueAnswer]:
        """Put jobs on queues that have one of a key at a time; all else is as in `enqueue`.

        The keys are locked until the transaction ends: who puts another job of one waits for it.
        """
        ...

    async def enqueue_all(
        self,
        batches: AsyncIterable[Sequence[AnyJob]],
        notify: Sequence[str],
        on_batch: Callable[[Sequence[AnyJob], Sequence[UniqueAnswer]], None],
        connection: Any = None,
        *,
        lock_wait: timedelta | None = None,
    ) -> None:
        """Insert every batch, in one transaction; `on_batch` is given each with its answers.

        What `on_batch` raises, or the source of the batches, undoes all. With `connection`, that
        connection's transaction goes on as if nothing had been asked. Locks are waited for, and a
        cancellation ends it, as in `enqueue`.
        """
        ...

    async def start_children(
        self,
        children: Sequence[NewChild],
        notify: Sequence[str],
        *,
        lock_wait: timedelta | None = None,
    ) -> list[Enqueued | Exists | Held | Locked | Refused]:
        """Insert jobs that executing jobs start, and answer for each, in order.

        What is to be cancelled starts nothing. Where a parent's row is locked, the answer is that.
        All else is as in `enqueue`.
        """
        ...

    async def live_children(self, parent_id: str, nursery: str) -> set[str]:
        """Return which jobs have not ended of those that a job has started in a nursery; ids are
        those of first attempts.
        """
        ...

    async def cancel_descendants(
        self,
        parents: Sequence[str],
        ids: Sequence[str] = (),
        connection: Any = None,
        *,
        by: str | None = None,
        reason: str | None = None,
        holder: ClaimedJob | None = None,
    ) -> Descendants:
        """Cancel all that jobs have started, down to the last; and the jobs of `ids`, with all that
        these have started. What is claimed is asked for.

        Ids are those of first attempts. A job that has started others, and may start more, is
        asked for before these, or has ended: else what it starts meanwhile is not reached.
        With a `holder`, the jobs of `ids` are those that its attempt has started, and nothing is
        cancelled once the claim is lost.
        """
        ...

    async def get(self, ids: Sequence[str], connection: Any = None) -> dict[str, JobRow]:
        """Read jobs, by id; an unknown id is left out."""
        ...

    async def cancel(
        self,
        id: str,
        queue_name: str,
        connection: Any = None,
        *,
        by: str | None = None,
        reason: str | None = None,
        with_children: bool = False,
        lock_wait: timedelta | None = None,
    ) -> JobRow | None:
        """Cancel a job if it is pending, and return it; else `None`.

        A job that has started others is left alone but `with_children`: these are cancelled in the
        same transaction. In a `connection`'s, they are the caller's to cancel.

        Locks are waited for, and a cancellation ends it, as in `enqueue`. One of a descendant is
        not: the failure says that it `waits_for_lock`.
        """
        ...

    async def change(
        self,
        id: str,
        queue_name: str,
        change: Change,
        connection: Any = None,
        *,
        lock_wait: timedelta | None = None,
    ) -> JobRow | None:
        """Change a job if it is pending, and return it; else `None`.

        The workers of its queue are notified. Locks are waited for as in `enqueue`.
        """
        ...

    async def request_cancel(
        self,
        id: str,
        queue_name: str,
        connection: Any = None,
        *,
        by: str | None = None,
        reason: str | None = None,
        lock_wait: timedelta | None = None,
    ) -> JobRow | None:
        """Ask for the cancel of a job if it is claimed, and return it; else `None`.

        Its owner is notified. Of several requests the first counts. A job that a worker of the
        original m25 has claimed cannot be cancelled: `None`. Locks are waited for as in `enqueue`.
        """
        ...

    async def find_cancel_requests(self, claims: Sequence[ClaimedJob]) -> list[CancelRequest]:
        """Of claims that are still held, those whose cancel somebody has asked for."""
        ...

    async def request_stack(
        self, id: str, queue_name: str, *, lock_wait: timedelta | None = None
    ) -> str | None:
        """Ask the owner of an attempt for its stack, if it is claimed; return when, as in a
        `JobRow`, and else `None`.

        The owner is notified. A job that a worker of the original m25 has claimed has none that
        could answer: `None`. Locks are waited for as in `enqueue`.
        """
        ...

    async def answer_stack(self, claim: ClaimedJob, stack: str) -> bool:
        """Answer to the latest request; return whether somebody waits for that, and the claim is
        still held.
        """
        ...

    async def find_stack(self, id: str) -> StackAnswer | None:
        """What has become of the latest request to an attempt; `None` where it is gone."""
        ...

    async def forget_stack(
        self, id: str, asked_at: str, *, lock_wait: timedelta | None = None
    ) -> None:
        """Forget a request and its answer, unless there is a later one.

        Locks are waited for as in `enqueue`.
        """
        ...

    async def latest(self, ids: Sequence[str], connection: Any = None) -> dict[str, JobRow]:
        """Read the latest attempt of each chain, by the id that was asked, of any of its attempts.

        An unknown id is left out.
        """
        ...

    async def attempts(self, id: str, connection: Any = None) -> list[JobRow]:
        """Read all attempts of a chain, in order; `id` is that of any of them."""
        ...

    async def watch(self, ids: Sequence[str], waiter: str) -> dict[str, Watched]:
        """Have the ends of chains notified to `waiter`, a channel; by the id that was asked.

        An unknown id is left out.
        """
        ...

    async def claim(
        self,
        queue_name: str,
        *,
        token: str,
        limit: int,
        lease: timedelta,
        start: bool,
        after: Sequence[Position] = (),
        on_rows: Callable[[Sequence[JobRow]], None] | None = None,
    ) -> list[JobRow]:
        """Reserve up to `limit` due jobs, by priority and age, and return them in that order. Of a
        queue that is paused there are none.

        With `start` they are executing at once. Their leases end after `lease`. With `after`, in
        order of priority, only jobs of these priorities behind these positions are looked at, and
        those of priorities behind the last of them.

        `on_rows` is given them when nobody else can have them any more, which may be before the
        claim is committed. Where the call raises after that, the claim may have been committed, or
        not: `confirm` makes sure of it.
        """
        ...

    async def claim_limited(self, asked: LimitedClaim, *, from_key: str | None = None) -> Claimed:
        """Claim as `claim` does, but no more jobs than may run under the queue's limit, and begin
        by its rate, counted by the database over all processes, and over all queues that a worker
        has announced with it.

        With `from_key`, as many of each key may run. Jobs of keys with which as many run as may are
        held up: they are due again once there is room for them, and keep their places. Those that
        are held up already are looked at from this key on; "" is the first.
        """
        ...

    async def claim_by_rate(self, asked: LimitedClaim) -> Claimed:
        """Claim as `claim_limited` does without a key, by a rate that has a clock for each key, or
        of which jobs have their costs.

        Jobs of keys whose clocks say that it is too early are held up: they are due again at the
        time of their turns, by priority and age. Clocks that say nothing any more are dropped.
        """
        ...

    async def claim_fairly(self, asked: LimitedClaim, *, fair: FairClaim) -> FairlyClaimed:
        """Claim as `claim_limited` does without a key, but of a queue that is fair between keys.

        A key's next job comes the sooner, the fewer of it run, have ended here of late, or are
        claimed before it, measured by its weight; of keys that are alike in that, the older job.
        Within a key the order is that of priority and age. Some lanes are looked at; and some
        pending jobs, which are given their lanes if they are due and have none.
        """
        ...

    async def hold_rate(
        self, limiter: str, holds: Sequence[RateHold], *, reads_inputs: bool
    ) -> None:
        """Let no job begin by the clocks of these keys before the delays are over.

        `reads_inputs` says whether the rate has a key or a cost, and so clocks for `claim_by_rate`.
        Nothing is done where no worker has announced such a rate.
        """
        ...

    async def claim_in_order(
        self, asked: LimitedClaim, *, from_key: str, after: Walked | None
    ) -> ClaimedInOrder:
        """Claim as `claim_limited` does without a key, but of each key one job at a time, in order.

        A job waits until those before it have ended, down to their last attempts; where the queue
        holds what has failed for good, until that is retried, skipped or deleted. Between keys the
        order is that of priority and age, as far as it is seen: the keys of the first due jobs are
        looked at, and some more from `from_key` on; "" is the first. Some pending jobs behind
        `after` are looked at, and given their places if they have none.
        """
        ...

    async def take_turn(self, limiter: str, *, key: str | None, cost: int) -> Turn | None:
        """Take the next turn of a rate, for something that is no job; `None` if there is no such
        rate. It is paid for from now on, and before jobs that have not begun.
        """
        ...

    def holding(self) -> AbstractAsyncContextManager[None]:
        """A block in which places are held outside of jobs: renewals have their own connection."""
        ...

    async def declare_limit(
        self, limiter: str, size: int | None, path: Sequence[str] | None
    ) -> None:
        """Write down a limit of which places are held outside of jobs, as workers do theirs."""
        ...

    async def take_places(self, limiter: str, asked: Sequence[AskedPlace]) -> TakenPlaces | None:
        """Take places of a limit outside of jobs, in order, as far as there are any; `None` where
        nobody has declared such a limit.

        All who run and hold are counted, over all processes, as by `claim_limited`. What is held by
        one of these ids already has a new lease. Jobs and those who ask have turns: who has waited
        for a second, and asks every second, is left a place; and so are jobs.
        """
        ...

    async def renew_places(self, ids: Sequence[str]) -> Written:
        """Renew the leases of places; those that are neither written nor locked are lost."""
        ...

    async def release_places(self, limiter: str, ids: Sequence[str]) -> bool:
        """Give places back; return whether others may wait for them, who are notified."""
        ...

    async def find_lost_holders(self, limit: int) -> list[LostHolder]:
        """Find up to `limit` places whose holders may be gone, of any limit. Nothing is changed."""
        ...

    async def sweep_holders(self, lost: Sequence[LostHolder]) -> list[LostHolder]:
        """Give back those places whose leases are still as they were seen, and return them."""
        ...

    async def set_limit(self, limiter: str, size: int | None) -> bool:
        """Set how many may run at once under a limit; `None` is as its workers declare it.

        Return whether any worker has announced such a limit. Those that have are notified.
        """
        ...

    async def confirm(self, claims: Sequence[ClaimedJob], lease: timedelta) -> Written:
        """Make sure of jobs that a claim gave to its `on_rows`; those that are written are held.

        Those whose claim was not committed are claimed once more, if nobody else has them.
        """
        ...

    async def release_claims(self, queue_name: str, tokens: Sequence[str]) -> list[str]:
        """Release what claims took whose answers were lost; return the ids.

        What somebody has locked is left to its lease.
        """
        ...

    async def start(self, claims: Sequence[ClaimedJob], lease: timedelta) -> list[Started | Locked]:
        """Start reserved jobs: they are executing. Those that are not returned are fenced."""
        ...

    async def heartbeat(
        self, claims: Sequence[ClaimedJob], lease: timedelta, reserved_timeout: timedelta
    ) -> Written:
        """Record heartbeats and renew leases."""
        ...

    async def settle(
        self, outcomes: Sequence[Outcome], allowed_losses: int
    ) -> dict[str, WriteResult]:
        """End attempts, and insert the next where the retry rule says so, in one transaction.

        Where that ends the chain of a job that has started others, all that is below it is
        cancelled, or asked for, in the same transaction. While somebody has locked any of these
        rows, the answer is that the job's own row is locked.
        """
        ...

    async def succeed_and_claim(
        self,
        outcomes: Sequence[Outcome],
        queue_name: str,
        *,
        limiter: str,
        token: str,
        limit: int,
        ahead: int,
        leaving: str | None,
        lease: timedelta,
    ) -> PassedOn:
        """End attempts of a queue that have succeeded, as `settle` does, and start due jobs of the
        queue in their places, in one transaction: no more than end, and up to `limit`, so that no
        more run under the queue's limit than before. None of the outcomes has `children_of`.

        Where the limit is reached, `ahead` jobs are to be claimed for each of these places beside
        the one that runs, and count as one with it: no two jobs that have the same place may run at
        once. That is the caller's affair, whose they all are.

        The limit has no key, and there is no rate. Where others have waited for a place for a
        second, one is left to them; and so is the one that the caller is `leaving`, as the answer
        to an earlier call said.
        """
        ...

    async def report(self, claims: Sequence[ClaimedJob], progress: Sequence[str]) -> Written:
        """Write how far handlers have come, as JSON. No lease is renewed by it."""
        ...

    async def find_steps(self, job_ids: Sequence[str]) -> dict[str, list[StepRow]]:
        """Read what is kept of jobs, in order, by the ids of their first attempts.

        A job without steps is left out.
        """
        ...

    async def keep_steps(self, steps: Sequence[NewStep]) -> list[Kept | Locked | Fenced]:
        """Keep what handlers have done, and answer for each, in order.

        A step that is there already stays as it is, and is answered as it is. No two of `steps` are
        of one job, kind, name and key.
        """
        ...

    def transaction(self, claim: ClaimedJob) -> AbstractAsyncContextManager[Transaction]:
        """A transaction in which a handler writes, for the attempt that has this claim.

        One that is left without a commit is rolled back, in five seconds at most. What the block
        raises passes as it is.
        """
        ...

    async def end_transactions(self, suspects: Sequence[Suspect]) -> dict[str, bool]:
        """End the sessions that have transactions of these claims open, and so hold locks.

        By the job's id, whether the role was allowed to; jobs without such a session are left out.
        """
        ...

    async def receive(
        self, wanted: Sequence[NewReceive]
    ) -> list[Kept | NoMessage | Locked | Fenced]:
        """Receive messages, each kept as a step of kind "receive", and answer for each, in order.

        No two of `wanted` are of one job and name. What was received before, by the same wait of
        this attempt or an earlier one, is answered again. Where none has come, and it is to wait
        for some time only, until when that is is kept; a message that is sent after that is not
        received by it.
        """
        ...

    async def send(
        self,
        message: NewMessage,
        queue_name: str,
        connection: Any = None,
        *,
        lock_wait: timedelta | None = None,
    ) -> Sent:
        """Send a message to a job, by the id of its latest attempt.

        Where the job is set aside for it, the workers of its queue are notified. Locks are waited
        for, and a cancellation ends it, as in `enqueue`.
        """
        ...

    async def release(self, releases: Sequence[Release], notify: Sequence[str]) -> Written:
        """Release claimed jobs, their attempts not counted: they are pending again, or cancelled.

        `notify` names the queues whose workers are told in the same commit. With what is cancelled
        goes all that is below it, as in `settle`.
        """
        ...

    async def find_suspects(self, queues: Sequence[SweptQueue], limit: int) -> list[Suspect]:
        """Find up to `limit` live jobs whose owners may be gone. Nothing is changed."""
        ...

    async def sweep(self, queues: Sequence[SweptQueue], suspects: Sequence[Suspect]) -> list[Swept]:
        """End or release those suspects whose claims and leases are still as they were seen.

        Where that ends a chain, it ends what is below it, as in `settle`; a job of which a
        descendant's row is locked is left for another time.
        """
        ...

    async def announce(self, worker: Worker) -> list[str]:
        """Say that a worker is there: at its start, and now and then.

        What it declares of its queues is written down, but of those that another one runs, too, who
        was started later and is there. Those of its queues are returned whose jobs may be held up
        by a key that they have no more: `let_go` is for these.
        """
        ...

    async def let_go(
        self, queue_name: str, *, after: WalkedHeldUp | None, walk: int, is_clean: bool
    ) -> LetGo:
        """Let those of the next `walk` jobs of a queue go that are held up by a former key.

        `is_clean` is that the walk has found none before: at its end `announce` names the queue no
        more then, if its key has been as it is for a while.
        """
        ...

    async def dismiss(self, worker_id: str, silence: timedelta) -> None:
        """Note that a worker has ended, and those that are gone and unheard of for `silence`."""
        ...

    async def find_unserved(self, waiting: timedelta, silence: timedelta) -> list[Unserved]:
        """Find queues that no worker serves of which anything was heard within `silence`.

        One of their jobs has been due for longer than `waiting`, and none of them runs.
        """
        ...

    async def declare_schedules(self, schedules: Sequence[NewSchedule]) -> list[str]:
        """Write schedules down; return the names of those that were declared otherwise before."""
        ...

    async def renew_schedules(self, seen: Sequence[ScheduleRow]) -> None:
        """Say that schedules are still declared as they were seen; those that are not are left."""
        ...

    async def find_schedules(self, names: Sequence[str] | None = None) -> Schedules:
        """Read the schedules of these names, or all, in the order of names."""
        ...

    async def tick(self, ticks: Sequence[NewTick], notify: Sequence[str]) -> list[Ticked]:
        """Claim ticks, and insert their jobs, each schedule's both or neither.

        It is left out where the schedule or its latest tick are not as they were seen: another
        process was first, or it is paused, or was declared otherwise; or where a tick is still to
        come.
        """
        ...

    async def pause_schedule(self, name: str, *, is_paused: bool) -> bool:
        """Pause a schedule, or resume it from now on; return whether there is one."""
        ...

    async def survey(self, queue_names: Sequence[str]) -> dict[str, Due]:
        """When each queue's next pending job is due, and which queues are paused.

        A queue without pending jobs is left out, unless it is paused.
        """
        ...

    async def pause(
        self, queue_name: str, reason: str | None, default_job_timeout: timedelta
    ) -> None:
        """Pause a queue: no claim that begins from now on takes any of its jobs.

        Its workers are notified. Of a queue of which nobody has heard yet, the timeout is written
        down, too.
        """
        ...

    async def resume(self, queue_name: str) -> bool:
        """Resume a queue, and notify its workers; return whether it was paused."""
        ...

    async def take_pruning(self, queue_name: str, gap: timedelta) -> bool:
        """Take the turn to prune a queue; false where somebody has had it within `gap`."""
        ...

    async def prune(self, queue_name: str, keep: Keep, *, after: str | None, walk: int) -> Pruned:
        """Look at the next `walk` rows of the table, by id, that may be old enough; and delete
        those jobs of the queue that have been kept for their time since they ended: with all
        attempts, and all they have started. What is locked, or not ended as a whole, is left.
        """
        ...

    async def redate(self, queue_names: Sequence[str], limit: int) -> list[str]:
        """Date up to `limit` misdated jobs as if created now; return the queue of each, by name.

        Retries keep their delay. What somebody scheduled, or has locked, is left as it is.
        """
        ...

    async def recall_newer(self, queue_name: str, limit: int) -> int:
        """Make up to `limit` jobs of a queue due now that were left to newer workers; return how
        many there were. What somebody has locked is left as it is.
        """
        ...

    async def notify(self, queue_names: Sequence[str]) -> None:
        """Tell the workers of these queues, in whatever process, that there may be work."""
        ...

    def listen(
        self, queue_names: Sequence[str], heard: Callable[[Hinted | None], None]
    ) -> AbstractAsyncContextManager[None]:
        """A block in which `heard` is called with what the workers of these queues are told.

        The name of a queue says that there may be work, `CancelAsked` that a job is to be
        cancelled, `StackAsked` that its stack was asked for, and `QueueChanged` that a queue was
        paused or resumed. `None` says that something may have been missed; it comes first.

        `heard` neither waits nor raises: it is called by whoever listens, as soon as something has
        come, since somebody may be waiting for a job.
        """
        ...

    def listen_for_ends(
        self, waiter: str, heard: Callable[[str | None], None]
    ) -> AbstractAsyncContextManager[None]:
        """A block in which `heard` is called, as in `listen`, with the id of the first attempt of
        each chain that has ended and is watched.

        `waiter` is what `watch` is given: up to 40 lower-case letters, digits and underscores, and
        nobody else's. `None` says that something may have been missed; it comes first. Chains that
        others alone watch may come, too.
        """
        ...

    def listen_for_room(
        self, heard: Callable[[str | None], None]
    ) -> AbstractAsyncContextManager[None]:
        """A block in which `heard` is called, as in `listen`, with the name of each limit of which
        there may be room for who waits outside of jobs.

        `None` says that something may have been missed; it comes first.
        """
        ...
