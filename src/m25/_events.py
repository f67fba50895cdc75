"""The events that m25 emits, a class for each. Long, because all of them are here.

The code that sees something happen emits its event; the `Emitter` gives it to the listeners, of
which logging is one.
`docs/events.md` is written from these classes by `nox -s pages`. To add an event, add its class
here, and emit it where it happens; the rest follows from the class.

A template holds no payload, and nor does any field but `error`: types, ids, names, numbers. What a
handler raised goes along as `error`, and a listener decides what to do with its text.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import attrs

from ._crash import type_of
from ._groups import only_leaf

#: How the templates name a job, and an attempt that has just failed.
_JOB: Final = "job %(job_id)s of queue %(queue)r, %(which)s"
_FAILED: Final = f"{_JOB}; %(then)s"

#: How many jobs a line names in its text.
_JOBS_NAMED: Final = 5


def _type_of_error(
    event: JobCrashed
    | RaisedWhileCancelled
    | RetryUndecided
    | SetupFailed
    | SetupGivenUp
    | ServiceFailed
    | TickFailed
    | QueueUnready,
) -> str:
    return type_of(event.error)


_TYPE_OF_ERROR: Final[str] = attrs.Factory(_type_of_error, takes_self=True)


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened, which somebody may want to know."""

    #: The level of its log lines; where it is not always the same, the highest.
    level: ClassVar[int]
    #: The name of the logger that its lines go to.
    logger: ClassVar[str]
    #: What happened, in words: a %-style template over the fields and what is `derived`.
    message: ClassVar[str]
    #: Properties that only the template uses.
    derived: ClassVar[tuple[str, ...]] = ()

    @property
    def severity(self) -> int:
        """The level of this one's log line."""
        return self.level

    def in_words(self) -> str:
        """What happened, as the log has it."""
        derived = {name: getattr(self, name) for name in self.derived}
        return self.message % {**self.facts(), **derived}

    def facts(self) -> dict[str, Any]:
        """The fields by name, without `error`, which is no plain value."""
        return {
            field.name: getattr(self, field.name)
            for field in attrs.fields(type(self))
            if field.name != "error"
        }


@attrs.frozen(kw_only=True)
class QueueEvent(Event):
    """Something that happened to a queue, in this process."""

    #: The queue's name.
    queue: str


@attrs.frozen(kw_only=True)
class JobEvent(QueueEvent):
    """Something that happened to one attempt of a job."""

    #: The attempt's id: each attempt of a job has its own.
    job_id: str
    #: The attempt's number, from 1.
    attempt: int
    #: How many attempts the job may have. Those that were lost with their process do not count
    #: against it, and an operator may have one more made: so `attempt` can be larger.
    max_attempts: int
    #: How many attempts before this one were lost, as far as whoever emits the event knows.
    losses: int = 0

    derived: ClassVar[tuple[str, ...]] = ("which",)

    @property
    def which(self) -> str:
        """The attempt, in words."""
        if self.losses:
            return f"attempt {self.attempt} ({self.losses} lost), {self.max_attempts} allowed"
        if self.attempt > self.max_attempts:
            # An operator has had it tried once more: it is not said that a process was lost.
            return f"attempt {self.attempt}, {self.max_attempts} allowed"
        return f"attempt {self.attempt} of {self.max_attempts}"


@attrs.frozen(kw_only=True)
class AttemptFailed(JobEvent):
    """An attempt came to an end, and not to a good one."""

    #: The level while another attempt follows, where it is lower than `level`.
    retried_level: ClassVar[int | None] = None
    derived: ClassVar[tuple[str, ...]] = ("which", "then")

    #: Whether another attempt follows.
    next_attempt: bool
    #: In how many seconds that may run, as far as whoever emits the event knows.
    next_in: float | None = None
    #: Whether none follows although attempts are left: the handler or the queue's `retry` says so.
    given_up: bool = False
    #: How long the handler ran, in seconds; `None` if it did not, or not in this process.
    ran: float | None = None

    @property
    def then(self) -> str:
        """What follows, in words."""
        if not self.next_attempt:
            return "given up" if self.given_up else "no attempt is left"
        if self.next_in is None:
            return "another attempt follows"
        return (
            f"another attempt follows {f'in {self.next_in:.4g} s' if self.next_in else 'at once'}"
        )

    @property
    def severity(self) -> int:
        """The level of this one's log line."""
        if self.next_attempt and self.retried_level is not None:
            return self.retried_level
        return self.level


# An attempt, from its start to its end


@attrs.frozen(kw_only=True)
class JobStarted(JobEvent):
    """A handler is about to be called.

    Nothing is to be done.
    """

    level = logging.DEBUG
    logger = "m25.executor"
    message = f"started: {_JOB}"


@attrs.frozen(kw_only=True)
class JobSucceeded(JobEvent):
    """A handler returned its output, which is written next.

    Nothing is to be done. If it cannot be written after all, `OutcomeRefused` or `ResultDiscarded`
    follows.
    """

    level = logging.DEBUG
    logger = "m25.executor"
    message = f"succeeded after %(seconds).3f s: {_JOB}"

    #: How long the handler ran, in seconds.
    seconds: float


@attrs.frozen(kw_only=True)
class JobErrored(AttemptFailed):
    """A handler raised one of its queue's declared errors, which is written next.

    The job's record has the error in `error_data`. If that was the last attempt, it is for whoever
    looks after these jobs.
    """

    level = logging.WARNING
    retried_level = logging.INFO
    logger = "m25.executor"
    message = f"handler raised %(error_type)s, a declared error, in {_FAILED}"

    #: The name of the error's class.
    error_type: str
    #: How long the handler ran, in seconds.
    seconds: float


@attrs.frozen(kw_only=True)
class JobCrashed(AttemptFailed):
    """A handler raised what its queue does not declare.

    It is a mistake in the handler, or an error that should be declared with `errors=`. The record
    has type, message and traceback in the crash columns.
    """

    level = logging.ERROR
    logger = "m25.executor"
    message = f"handler crashed: %(error_type)s in {_FAILED}"

    #: What it raised.
    error: BaseException = attrs.field(repr=False)
    #: All jobs of its batch have failed by this exception, and the line of the first of them has
    #: the traceback.
    is_told: bool = False
    #: The name of the exception's class.
    error_type: str = attrs.field(init=False, default=_TYPE_OF_ERROR)


@attrs.frozen(kw_only=True)
class FailureRequested(AttemptFailed):
    """A handler raised `GiveUp` or `RetryAfter` by itself, to end its attempt as failed.

    It comes in place of `JobCrashed`, where the request was not raised from another exception. Its
    message is in the record, as a crash's, and not in the log, since it may hold payload.
    """

    level = logging.WARNING
    retried_level = logging.INFO
    logger = "m25.executor"
    message = f"handler raised m25.%(request)s: {_FAILED}"

    #: What it raised: `GiveUp` or `RetryAfter`.
    request: str


@attrs.frozen(kw_only=True)
class JobTimedOut(AttemptFailed):
    """A handler was still running at its deadline, and was cancelled.

    Give such jobs a longer `timeout`, or find out what the handler waited for: where it was is in
    the traceback, if it raised anything while it was being cancelled.
    """

    level = logging.WARNING
    logger = "m25.executor"
    message = f"handler reached its deadline of %(timeout).3f s: {_FAILED}"

    #: How long it was given, in seconds.
    timeout: float
    #: What it raised while it was being cancelled, if it did.
    error: BaseException | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class HandlerOverran(AttemptFailed):
    """A handler goes on past its deadline: its attempt is failed without waiting for it.

    It comes in place of `JobTimedOut`. The handler shields itself from cancellation, or catches it,
    or blocks Trio's loop; its slot stays taken until it ends. Let it pass on `trio.Cancelled`; what
    blocks belongs in `trio.to_thread.run_sync`.
    """

    level = logging.WARNING
    logger = "m25.manager"
    message = f"handler does not end at its deadline of %(timeout).3f s: {_FAILED}"

    #: How long it was given, in seconds.
    timeout: float


@attrs.frozen(kw_only=True)
class ThreadOverran(JobEvent):
    """A handler goes on past its deadline in a thread, which nothing can end.

    The job stays executing until the thread ends, and has timed out then. Have the handler look at
    its deadline, or run it in a process (`runs="process"`), which is killed.
    """

    level = logging.WARNING
    logger = "m25.executor"
    message = f"handler goes on in its thread, past %(timeout).3f s: {_JOB}"

    #: How long the handler was allowed to run, in seconds.
    timeout: float


@attrs.frozen(kw_only=True)
class TooManyWaiting(JobEvent):
    """A handler waits for jobs and keeps its slot, since `max_waiting` of this process's handlers
    wait without one. Others do the same until there are fewer; it is told once.

    If all slots of a queue are kept so, and what is waited for is on that queue, nothing of it runs
    here any more. Give `m25.open` a larger `max_waiting`, or start fewer such jobs at once.
    """

    level = logging.WARNING
    logger = "m25.executor"
    message = f"handler waits for jobs and keeps its slot, as %(most)d wait without one: {_JOB}"

    #: `max_waiting`.
    most: int


@attrs.frozen(kw_only=True)
class ThreadAbandoned(JobEvent):
    """A queue stopped while a handler ran in a thread: the thread goes on by itself.

    It ends by itself or with the program. Its attempt fails as a crash, `CutShort`, and what the
    handler returns is lost. A longer `shutdown_grace`, or a handler that looks at
    `current_job().stopping`, avoids it.
    """

    level = logging.WARNING
    logger = "m25.executor"
    message = f"thread of a handler goes on after its queue was stopped: {_JOB}"


@attrs.frozen(kw_only=True)
class JobUnresponsive(AttemptFailed):
    """An executor left too many heartbeats unanswered: its handler is cancelled.

    The attempt is failed. A handler kept Trio's loop busy, that of this job or of another:
    `LoopStalled` names them. `allowed_heartbeat_misses` and `heartbeat_interval` say how much is
    too much.
    """

    level = logging.WARNING
    logger = "m25.manager"
    message = f"executor left %(misses)d heartbeats unanswered: {_FAILED}"

    #: How many heartbeats in a row were not answered.
    misses: int


@attrs.frozen(kw_only=True)
class JobLeaseOver(AttemptFailed):
    """A handler of an exclusive queue was cancelled: its lease could not be renewed in time.

    The database was away, or the link to it was cut, or Trio's loop stood still, or somebody had
    the job's row locked. Another worker may start the job once the lease is over. The attempt
    counts as lost, and is followed by another up to `allowed_losses` times. A longer lease
    (`heartbeat_interval`, `allowed_heartbeat_misses`) outlasts longer outages.
    """

    level = logging.WARNING
    logger = "m25.executor"
    message = f"handler was cancelled, as no heartbeat was confirmed for %(seconds).3f s: {_FAILED}"

    #: How long a handler of its queue may run without a confirmed heartbeat.
    seconds: float
    #: What the handler raised while it was being cancelled, if it did.
    error: BaseException | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class LeaseOutrun(JobEvent):
    """A handler of an exclusive queue goes on, and its lease is over: another may have its job.

    It was cancelled a quarter of the lease ago. It shields itself from cancellation, or catches it,
    or its clean-up takes longer than that. What it still leaves is written only if nobody else has
    the job. Let it pass on `trio.Cancelled`, or give the queue a longer lease.
    """

    level = logging.ERROR
    logger = "m25.manager"
    message = f"handler goes on although its lease is over: {_JOB}"


@attrs.frozen(kw_only=True)
class HandlerHeldUp(JobEvent):
    """A handler of an exclusive queue goes on past its deadline: its job waits for it.

    In other queues the attempt is failed without waiting for its handler, as `HandlerOverran` says.
    Here the next attempt would run beside it: so this one stays executing until it ends, and has
    timed out then. Let it pass on `trio.Cancelled`.
    """

    level = logging.WARNING
    logger = "m25.manager"
    message = f"handler of an exclusive queue goes on past %(timeout).3f s: {_JOB}"

    #: How long it was given, in seconds.
    timeout: float


@attrs.frozen(kw_only=True)
class SessionsLost(AttemptFailed):
    """The database session of a transactional handler was lost several times in a row.

    Either the database was away each time, or the handler is what ends its session, or the whole
    server. So the attempt counts as lost, and is followed by another up to `allowed_losses` times.
    """

    level = logging.ERROR
    logger = "m25.executor"
    message = f"connection was lost under the handler %(sessions)d times in a row: {_FAILED}"

    #: How many sessions were lost in a row.
    sessions: int


@attrs.frozen(kw_only=True)
class JobInterrupted(AttemptFailed):
    """Ctrl-C came out of a handler, and ends the program: the attempt is lost with its process.

    Either somebody pressed Ctrl-C while the handler was computing, or the handler raises
    `KeyboardInterrupt` by itself, which would end each process that runs the job. It is followed by
    another attempt up to `allowed_losses` times.
    """

    level = logging.ERROR
    logger = "m25.executor"
    message = f"handler was interrupted, and its process ends: {_FAILED}"

    #: What came out of the handler.
    error: BaseException = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class InputUndecodable(AttemptFailed):
    """A stored input is not of the type that the queue's handler takes.

    The attempt fails as a crash. The job was enqueued by code of another version, or by hand. Bring
    the handler's type and the stored JSON together before the last attempt, or enqueue the job
    anew.
    """

    level = logging.ERROR
    logger = "m25.executor"
    message = f"input%(path)s cannot be decoded, %(reason)s: {_FAILED}"

    #: Where in the input, as Python would write it after the input's name: `.lines[3].price`.
    path: str
    #: Why it cannot be decoded.
    reason: str


@attrs.frozen(kw_only=True)
class InputNewer(QueueEvent):
    """A stored input has a field, a member of an Enum or a class of a union that this worker does
    not know: its job is released, for newer workers, and its attempt does not count.

    It is told once a minute for a queue. In a rolling deploy nothing is to be done: newer workers
    come. If none has taken the job in 15 minutes, it fails, with `InputUndecodable`. A field that
    was taken out of the type looks the same: `unknown_fields="ignore"` leaves it out.
    """

    level = logging.WARNING
    logger = "m25.executor"
    message = (
        "input%(path)s %(reason)s: job %(job_id)s of queue %(queue)r is left to newer workers;"
        " releases for this since the last such line: %(releases)d"
    )

    #: The id of the attempt that is told of.
    job_id: str
    #: Where in its input.
    path: str
    #: What is not known there.
    reason: str
    #: How often jobs of the queue were released for this in this process, since the event before.
    releases: int


@attrs.frozen(kw_only=True)
class OutputRefused(AttemptFailed):
    """What a handler returned or raised cannot be kept as JSON: the attempt fails as a crash.

    The handler has done its work, and will do it again in the next attempt. Correct what it
    returns, or the fields of the error it raises; the record's crash columns say more.
    """

    level = logging.ERROR
    logger = "m25.executor"
    message = f"handler's %(what)s%(path)s cannot be kept as JSON: {_FAILED}"

    #: `output`, or `error` for a declared error that it raised.
    what: str
    #: Where in the value, as for `InputUndecodable`.
    path: str
    #: The refusal; its cause is the declared error, if there was one.
    error: BaseException = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class RetryUndecided(JobEvent):
    """A retry function of the queue raised, or returned what is neither a delay nor `GIVE_UP`.

    The job's own numbers decide in its place: the next attempt follows after the row's
    `retry_delay`, while `max_attempts` allows. Correct the function.
    """

    level = logging.ERROR
    logger = "m25.executor"
    message = f"retry function failed: %(error_type)s, for {_JOB}; the row's own numbers decide"

    #: What it raised, or what is wrong with what it returned.
    error: BaseException = attrs.field(repr=False)
    #: The name of the exception's class.
    error_type: str = attrs.field(init=False, default=_TYPE_OF_ERROR)


@attrs.frozen(kw_only=True)
class RaisedWhileCancelled(JobEvent):
    """A handler turned its cancellation into an exception.

    Nothing is written of what it raised: why it was cancelled decides what becomes of the job.
    Have the handler pass on `trio.Cancelled`, and look into what its clean-up raises.
    """

    level = logging.WARNING
    logger = "m25.executor"
    message = f"handler raised %(error_type)s while being cancelled: {_JOB}"

    #: What it raised.
    error: BaseException = attrs.field(repr=False)
    #: The name of the exception's class.
    error_type: str = attrs.field(init=False, default=_TYPE_OF_ERROR)


@attrs.frozen(kw_only=True)
class JobCancelled(JobEvent):
    """A job has ended as cancelled, as somebody asked: it was pending, or its handler has ended.

    Nothing is to be done. Who asked for it, and why, is in the record as well. Where `cancel_job`
    cancels a pending job in a transaction of yours, there is no event: you may roll it back.
    """

    level = logging.INFO
    logger = "m25.manager"
    message = f"cancelled%(asked)s: {_JOB}"
    derived: ClassVar[tuple[str, ...]] = ("which", "asked")

    #: Who asked for it, in their words.
    by: str | None
    #: Why, in their words.
    reason: str | None

    @property
    def asked(self) -> str:
        """Who asked for it and why, in words."""
        by = "" if self.by is None else f", asked for by {self.by!r}"
        return by if self.reason is None else f"{by}, because {self.reason!r}"


@attrs.frozen(kw_only=True)
class JobCancelOverran(JobEvent):
    """A handler goes on past `cancel_grace`: its job ends as cancelled without waiting for it.

    `JobCancelled` follows. The handler shields itself from cancellation, or catches it; its slot
    stays taken until it ends, and what it leaves is discarded. Let it pass on `trio.Cancelled`, or
    give its clean-up a longer `cancel_grace`.
    """

    level = logging.WARNING
    logger = "m25.manager"
    message = f"handler does not end within %(grace).3f s of its cancel: {_JOB}"

    #: The queue's `cancel_grace`, in seconds.
    grace: float


@attrs.frozen(kw_only=True)
class RetryCancelled(JobEvent):
    """An attempt has failed, and no other follows, though the event of its end has said so.

    Somebody had asked for the job's cancel meanwhile: such a job is not tried again. Nothing is to
    be done.
    """

    level = logging.INFO
    logger = "m25.manager"
    message = f"no attempt follows after all, its cancel was asked for: {_JOB}"


@attrs.frozen(kw_only=True)
class KeyStopped(JobEvent):
    """A job of an ordered queue has failed for good, and the jobs of its key behind it are held.

    They wait until somebody retries the job (`m25 retry`), once what was wrong is mended, or gives
    it up (`m25 skip`, or `m25 delete`). `m25 doctor` lists the keys that stand still.
    """

    level = logging.ERROR
    logger = "m25.manager"
    message = (
        "jobs of its key wait until it is retried, skipped or deleted, it has failed for good:"
        f" {_JOB}"
    )


# Attempts that do not count


@attrs.frozen(kw_only=True)
class SetupEvent(JobEvent):
    """A queue's `setup` failed before its job began."""

    derived = ("which", "often")

    #: How often that has happened to this queue in this process, in the same way. The first time
    #: is told at once, and those that follow ever more seldom, but at least once in five minutes.
    failures: int

    @property
    def often(self) -> str:
        """How often, in words."""
        return "" if self.failures == 1 else f", {self.failures} times by now"


@attrs.frozen(kw_only=True)
class SetupFailed(SetupEvent):
    """A queue's `setup` raised: the job is released, its attempt not counted.

    The queue pauses, longer each time, and tries again. What `setup` opens is not there, or `setup`
    has a mistake.
    """

    level = logging.ERROR
    logger = "m25.executor"
    message = f"setup raised %(error_type)s%(often)s: {_JOB}; released, the attempt does not count"

    #: What it raised.
    error: BaseException = attrs.field(repr=False)
    #: The name of the exception's class.
    error_type: str = attrs.field(init=False, default=_TYPE_OF_ERROR)


@attrs.frozen(kw_only=True)
class SetupTimedOut(SetupEvent):
    """A queue's `setup` took longer than `executor_init_timeout`: the job is released, not counted.

    The queue pauses, longer each time, and tries again. What `setup` opens is slow, or the time is
    too short.
    """

    level = logging.WARNING
    logger = "m25.executor"
    message = (
        f"setup took longer than %(seconds).3f s%(often)s: {_JOB};"
        " released, the attempt does not count"
    )

    #: The queue's `executor_init_timeout`, in seconds.
    seconds: float


@attrs.frozen(kw_only=True)
class SetupGivenUp(AttemptFailed):
    """A queue's `setup` failed for a job `max_setup_failures` times in a row: the attempt fails.

    The handler was not called. The record has type, message and traceback of the latest failure in
    the crash columns. What `setup` opens is not there, or `setup` has a mistake.
    """

    level = logging.ERROR
    logger = "m25.executor"
    message = f"setup failed %(failures)d times in a row, now with %(error_type)s: {_FAILED}"

    #: What it raised; `SetupTooSlow` where it took too long.
    error: BaseException = attrs.field(repr=False)
    #: The name of the exception's class.
    error_type: str = attrs.field(init=False, default=_TYPE_OF_ERROR)
    #: How many times it has failed in a row.
    failures: int


@attrs.frozen(kw_only=True)
class SetupExitTimedOut(JobEvent):
    """After its handler, a queue's `setup` took longer to end than `executor_init_timeout`.

    Its end is cancelled. The job's outcome stands: the handler had returned.
    """

    level = logging.WARNING
    logger = "m25.executor"
    message = f"setup took longer than %(seconds).3f s to end, after its handler: {_JOB}"

    #: The queue's `executor_init_timeout`, in seconds.
    seconds: float


@attrs.frozen(kw_only=True)
class JobSnoozed(JobEvent):
    """A handler put its job off by `Snooze`: it is pending again, and its attempt does not count.

    Nothing is to be done. A job can be put off again and again, without an end.
    """

    level = logging.INFO
    logger = "m25.executor"
    message = f"put off for %(seconds).4g s: {_JOB}; the attempt does not count"

    #: In how many seconds the job is due again.
    seconds: float


@attrs.frozen(kw_only=True)
class JobSetAside(JobEvent):
    """A handler waits for a time or for a message: its job is pending until then.

    Nothing is to be done. Until a message comes, that can be for ever: the job waits until
    9000-01-01 then, and `awaits` says for what.
    """

    level = logging.INFO
    logger = "m25.executor"
    message = f"set aside until %(wait)s: {_JOB}; the attempt does not count"
    derived = ("which", "wait")

    #: When the job is due again, in UTC and ISO 8601.
    until: str
    #: The name of the message that has it go on before that, if there is one.
    awaits: str | None

    @property
    def wait(self) -> str:
        """What it waits for, in words."""
        return self.until if self.awaits is None else f"{self.until}, or a message {self.awaits!r}"


@attrs.frozen(kw_only=True)
class JobReleased(JobEvent):
    """A job was cut short, and goes back to pending; its attempt does not count.

    Whoever claims it next runs it from its beginning. If it happens at each stop, a longer
    `shutdown_grace` lets handlers finish.
    """

    level = logging.INFO
    logger = "m25.executor"
    message = f"released, %(reason)s: {_JOB}; the attempt does not count"

    #: Why, in words: "its queue is stopping".
    reason: str


@attrs.frozen(kw_only=True)
class JobExpired(JobEvent):
    """A job was not started by its `expires_at`: it is cancelled, and says so as its reason.

    Where it was wanted nevertheless, it waited too long: look at what the queue was doing.
    """

    level = logging.INFO
    logger = "m25.executor"
    message = f"expired before it was started, cancelled: {_JOB}"


# Claims and results that are no longer this process's


@attrs.frozen(kw_only=True)
class ClaimFenced(JobEvent):
    """The database says that this process no longer has the job: nothing more is written of it.

    Its handler is cancelled; one that is called with a batch, once each of its jobs is lost or was
    cancelled. Another process took the job over, or it was ended by hand. That happens where this
    process, or its way to the database, stood still for longer than the queue's lease.
    """

    level = logging.WARNING
    logger = "m25.manager"
    message = f"claim is no longer ours, nothing more is written of it: {_JOB}"


@attrs.frozen(kw_only=True)
class ResultDiscarded(JobEvent):
    """A result came too late: somebody else has the job, and nothing was written.

    The handler's work may have been done twice. It follows `ClaimFenced` or `HandlerOverran`, or
    stands alone where nobody noticed before the result was there.
    """

    level = logging.WARNING
    logger = "m25.manager"
    message = f"late result discarded, its claim is no longer ours: {_JOB}"


@attrs.frozen(kw_only=True)
class OutcomeRefused(AttemptFailed):
    """The database refuses what an attempt left: the attempt is failed as a crash instead.

    It comes after `JobSucceeded` or `JobErrored` of the same attempt, and takes its place. A rule
    of your own on the table, such as a trigger, refuses the row; the error says which.
    """

    level = logging.ERROR
    logger = "m25.manager"
    message = f"database refuses the outcome, failed as a crash instead: {_FAILED}"

    #: The database's error.
    error: BaseException = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class OutcomeUnstorable(JobEvent):
    """The database refuses even a crash in place of an outcome: the lease will end the attempt.

    Whatever on the table refuses the row must be mended, or no attempt of such a job can end.
    """

    level = logging.ERROR
    logger = "m25.manager"
    message = f"database refuses the outcome and a crash in its place, the lease ends it: {_JOB}"

    #: The database's error.
    error: BaseException = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class ProgressRefused(QueueEvent):
    """The database refuses what a handler reported of its progress: it is dropped.

    The attempt goes on. A rule of your own on the table, such as a trigger, refuses the row, or a
    cursor's key is too large; the error says which.
    """

    level = logging.ERROR
    logger = "m25.manager"
    message = "database refuses the progress, dropped: job %(job_id)s of queue %(queue)r"

    #: The attempt's id.
    job_id: str
    #: The database's error.
    error: BaseException = attrs.field(repr=False)


# Dead work of others


@attrs.frozen(kw_only=True)
class JobSwept(AttemptFailed):
    """This process ended an attempt whose owner is gone: its lease was over.

    A process was killed, or lost its way to the database. If it happens to the same job again and
    again, the job may be what kills its process.
    """

    level = logging.WARNING
    logger = "m25.poller"
    message = f"attempt without an owner ended, %(failure_reason)s: {_FAILED}"

    #: The failure reason that was written, as the database has it.
    failure_reason: str


@attrs.frozen(kw_only=True)
class HolderSwept(Event):
    """This process gave back a place of a limit that was held outside of a job by who is gone.

    A process was killed in a block of `M25.limiter`, or lost its way to the database. If it goes
    on, its block is cancelled.
    """

    level = logging.WARNING
    logger = "m25.poller"
    message = "place of limit %(limit)r without a holder was given back"

    #: The limit's name.
    limit: str


@attrs.frozen(kw_only=True)
class TransactionEnded(QueueEvent):
    """This process ended a session in which a handler's transaction was open: its owner is gone.

    What it had written is rolled back, and the attempt ends as one that was lost. A process that
    stood still finds its connection closed when it goes on.
    """

    level = logging.WARNING
    logger = "m25.poller"
    message = "session of a lost handler's transaction ended: job %(job_id)s of queue %(queue)r"

    #: The attempt's id.
    job_id: str


@attrs.frozen(kw_only=True)
class TransactionNotEnded(QueueEvent):
    """A handler's transaction is open though its owner is gone, and this role may not end it.

    It keeps what it has locked, perhaps its job's own row: then the job waits until the session
    ends. Run all workers as one role, or as members of one; or end it by `pg_terminate_backend`.
    """

    level = logging.ERROR
    logger = "m25.poller"
    message = (
        "session of a lost handler's transaction cannot be ended by this role: job %(job_id)s of"
        " queue %(queue)r"
    )

    #: The attempt's id.
    job_id: str


@attrs.frozen(kw_only=True)
class CommitUnanswered(JobEvent):
    """A handler's transaction was to be committed, and the server did not answer.

    The job is released, its attempt not counted, unless the server has committed: what became of it
    is told by `JobSucceeded` or `JobReleased`, once the database answers.
    """

    level = logging.WARNING
    logger = "m25.executor"
    message = f"no answer to the commit of a handler's transaction: {_JOB}"


@attrs.frozen(kw_only=True)
class ReservationSwept(JobEvent):
    """This process released a job that was reserved and never started; its attempt does not count.

    The process that had reserved it is gone, or its `setup` hangs.
    """

    level = logging.WARNING
    logger = "m25.poller"
    message = f"stuck reservation released: {_JOB}; the attempt does not count"


@attrs.frozen(kw_only=True)
class CancelSwept(JobEvent):
    """This process ended a job as cancelled whose owner is gone: its cancel had been asked for.

    The process that ran it was killed, or lost its way to the database, before it could end the
    job. Who asked for the cancel, and why, is in the record.
    """

    level = logging.WARNING
    logger = "m25.poller"
    message = f"job without an owner cancelled, as had been asked for: {_JOB}"


# A queue


@attrs.frozen(kw_only=True)
class ServiceFailed(Event):
    """A part of m25 failed, and is started again after a pause.

    It is a mistake in m25: please report it, with the traceback. Where it is a queue's manager, its
    jobs go on with the next one, or are released.
    """

    level = logging.ERROR
    logger = "m25.services"
    message = "%(service)s failed: %(error_type)s; restarting in %(pause).1f s"

    #: What failed, in words: "manager of queue 'emails'".
    service: str
    #: The queue's name, if it belongs to one.
    queue: str | None
    #: How long it pauses, in seconds.
    pause: float
    #: What it raised.
    error: BaseException = attrs.field(repr=False)
    #: The name of the exception's class.
    error_type: str = attrs.field(init=False, default=_TYPE_OF_ERROR)


@attrs.frozen(kw_only=True)
class ScheduleEvent(QueueEvent):
    """Something that happened to a schedule."""

    #: The schedule's name.
    schedule: str


@attrs.frozen(kw_only=True)
class ScheduleChanged(ScheduleEvent):
    """This process has declared a schedule otherwise than it was before.

    From now on it is as declared here; a pause stays. Where its times are others, it goes on with
    the next of these. Processes that have declared it as it was do not run it any more.
    """

    level = logging.INFO
    logger = "m25.schedules"
    message = "schedule %(schedule)r is declared otherwise than it was, and now as it is here"


@attrs.frozen(kw_only=True)
class ScheduleReplaced(ScheduleEvent):
    """Another process has declared a schedule otherwise than this one, which does not run it now.

    As processes are replaced one by one, it is as it should be. Else two programs use one name, or
    an older version was started after a newer one: whichever is started last has the schedule.
    """

    level = logging.WARNING
    logger = "m25.schedules"
    message = (
        "schedule %(schedule)r was declared otherwise by another process: this one leaves it alone"
    )


@attrs.frozen(kw_only=True)
class TicksPassedOver(ScheduleEvent):
    """Ticks of a schedule have no job: they were missed, or the job before them was live.

    Those are missed that come while no process with the schedule runs, or the database does not
    answer; `catch_up` says what is to run of them. With `overlap="skip"` a tick is passed over
    while the job of an earlier one has not ended.
    """

    level = logging.INFO
    logger = "m25.schedules"
    message = "schedule %(schedule)r passed over its ticks from %(first)s to %(last)s: %(reason)s"

    #: Why: "they were missed" or "the job before is live".
    reason: str
    #: The first of them, in UTC.
    first: str
    #: The last of them, in UTC, or a later one that has a job.
    last: str


@attrs.frozen(kw_only=True)
class TickWaits(ScheduleEvent):
    """A tick of a schedule has been due for ten minutes, and the job before it has not ended.

    With `overlap="queue"` or `"cancel"` it waits for that, however long it takes. It is told once
    for each job that is waited for, by each process that has the schedule. The schedule stands
    still for as long: see with `m25 stack` where the job's handler waits, or cancel the job. A job
    that is retried again and again has not ended either.
    """

    level = logging.WARNING
    logger = "m25.schedules"
    message = (
        "schedule %(schedule)r has no job yet for its tick %(tick)s:"
        " job %(job_id)s of the tick before has not ended"
    )

    #: The tick, in UTC.
    tick: str
    #: The job of the tick before, which has not ended.
    job_id: str


@attrs.frozen(kw_only=True)
class TickFailed(ScheduleEvent):
    """A tick of a schedule has no job, and never will have: its input could not be made.

    The schedule's function has raised, or what it returned cannot be kept as JSON. The ticks that
    follow are tried all the same.
    """

    level = logging.ERROR
    logger = "m25.schedules"
    message = "schedule %(schedule)r has no job for its tick %(tick)s: %(error_type)s"

    #: The tick, in UTC.
    tick: str
    #: What was raised.
    error: BaseException = attrs.field(repr=False)
    #: The name of the exception's class.
    error_type: str = attrs.field(init=False, default=_TYPE_OF_ERROR)


@attrs.frozen(kw_only=True)
class QueueUnready(QueueEvent):
    """What a queue's jobs share could not be opened, or failed: its `lifespan`, or its processes.

    Meanwhile nothing is claimed, and jobs that ran are released. It is opened again after a pause,
    longer each time; not where the queue has ended, and it failed in being left.
    """

    level = logging.ERROR
    logger = "m25.manager"
    message = "the %(what)s of queue %(queue)r failed, %(raised)s was raised%(then)s"
    derived = ("raised", "then")

    #: Which of them: "lifespan" or "processes".
    what: str
    #: What was raised.
    error: BaseException = attrs.field(repr=False)
    #: The name of the exception's class.
    error_type: str = attrs.field(init=False, default=_TYPE_OF_ERROR)
    #: The seconds until it is opened again; NaN where it is not.
    pause: float

    @property
    def raised(self) -> str:
        """The name of the class of what was raised, also where it came in a group alone."""
        return type_of(only_leaf(self.error) or self.error)

    @property
    def then(self) -> str:
        """What follows, in words."""
        return f"; opened again in {self.pause:.3f} s" if self.pause >= 0 else ", as it ended"


@attrs.frozen(kw_only=True)
class LifespanExitTimedOut(QueueEvent):
    """A queue's `lifespan` took longer to end than the clean-up may: its end was cancelled."""

    level = logging.WARNING
    logger = "m25.manager"
    message = "the lifespan of queue %(queue)r took longer than %(seconds).3f s to end"

    #: How long it may take, in seconds.
    seconds: float


@attrs.frozen(kw_only=True)
class NothingToRun(Event):
    """`start` or `run` was called on a client without queues: it waits, and runs nothing.

    Call `add_queue` before it, for each queue whose jobs this process is to run. A process that
    only enqueues needs neither.
    """

    level = logging.WARNING
    logger = "m25.services"
    message = "started without a queue, so nothing will run: add_queue comes before start"


@attrs.frozen(kw_only=True)
class NeverStarted(Event):
    """Queues were added to a client that was not started: it runs none of their jobs.

    Call `await m.start()` after `add_queue`, or `nursery.start(m.run)`; or leave out `add_queue`,
    which enqueueing does not need. It is told when the client's block is left, or ten seconds after
    the first job was put on one of these queues.
    """

    level = logging.WARNING
    logger = "m25.services"
    message = "client was not started and runs no jobs, though it was given %(names)s"
    derived = ("names",)

    #: The queues that were added.
    queues: tuple[str, ...]

    @property
    def names(self) -> str:
        """The queues, in words."""
        return ("queue " if len(self.queues) == 1 else "queues ") + ", ".join(
            map(repr, self.queues)
        )


@attrs.frozen(kw_only=True)
class QueueUnserved(QueueEvent):
    """Jobs wait on a queue that no live worker serves.

    Either the queue's name is misspelt where jobs are enqueued, or no process that runs it was
    started, or all of them are gone. Every process that runs queues looks, the first time a minute
    after its start and then every few minutes. It is told once two looks have found it, and again
    after ten minutes and ever longer pauses, up to a day.
    """

    level = logging.WARNING
    logger = "m25.services"
    message = (
        "no live worker serves queue %(queue)r, whose jobs have waited for %(seconds).0f s;"
        " %(live)s"
    )
    derived = ("live",)

    #: For how long the oldest of its jobs has been due, in seconds.
    seconds: float
    #: How many workers are live.
    workers: int

    @property
    def live(self) -> str:
        """The live workers, in words."""
        return (
            "1 worker is live, and serves others"
            if self.workers == 1
            else f"{self.workers} workers are live, and serve others"
        )


@attrs.frozen(kw_only=True)
class QueuePaused(QueueEvent):
    """Somebody has paused the queue, by `M25.pause`: none of its jobs begins any more.

    What was running goes on, and jobs can be enqueued. Every process that runs the queue says so,
    also one that is started later. `M25.resume` ends it.
    """

    level = logging.WARNING
    logger = "m25.poller"
    message = "queue %(queue)r is paused%(because)s: none of its jobs begins"
    derived = ("because",)

    #: Why, in the words of whoever has paused it.
    reason: str | None

    @property
    def because(self) -> str:
        """Why, in words."""
        return "" if self.reason is None else f", because {self.reason!r}"


@attrs.frozen(kw_only=True)
class QueueResumed(QueueEvent):
    """The queue is not paused any more: its jobs begin again."""

    level = logging.WARNING
    logger = "m25.poller"
    message = "queue %(queue)r is resumed: its jobs begin again"


@attrs.frozen(kw_only=True)
class JobsRedated(QueueEvent):
    """The database's clock was set back, and pending jobs that would have waited are dated now.

    By that clock they were created in the future. Their `created_at` is now, and retries keep their
    delay. Find out why the server's clock was set: jobs with a `scheduled_at` wait until it shows
    their time.
    """

    level = logging.WARNING
    logger = "m25.poller"
    message = "database's clock was set back: pending jobs of queue %(queue)r dated now, %(jobs)d"

    #: How many.
    jobs: int


@attrs.frozen(kw_only=True)
class JobsLetGo(QueueEvent):
    """Jobs of a queue were held up by a key that its limit or rate has no more, and are due again.

    That is so once workers run whose code names another key, or none.
    """

    level = logging.INFO
    logger = "m25.manager"
    message = "jobs of queue %(queue)r that a former key has held up are due again: %(jobs)d"

    #: How many.
    jobs: int


@attrs.frozen(kw_only=True)
class JobsPruned(QueueEvent):
    """Jobs of a queue were deleted that had ended, and were kept for as long as it says."""

    level = logging.INFO
    logger = "m25.pruner"
    message = "pruned jobs of queue %(queue)r: %(jobs)d, with %(attempts)d rows"

    #: How many jobs that no other had started.
    jobs: int
    #: How many rows, with those of all attempts and of all that these jobs had started.
    attempts: int


@attrs.frozen(kw_only=True)
class LoopStalled(Event):
    """Trio's loop stood still for more than a second: nothing else had a turn.

    One of the jobs that were running as it began has a handler that blocks, or computes for long;
    or other code of the program does. Move that part of it to `trio.to_thread.run_sync`, or to a
    process.
    """

    level = logging.WARNING
    logger = "m25.services"
    message = "event loop stood still for %(seconds).1f s while queue %(names)s ran %(jobs)s"
    derived = ("names", "jobs")

    #: For how long, in seconds.
    seconds: float
    #: The ids of the jobs that were running as it began, of all queues.
    job_ids: tuple[str, ...]
    #: The names of their queues.
    queues: tuple[str, ...]

    @property
    def names(self) -> str:
        """The queues, in words."""
        return " and ".join(map(repr, self.queues))

    @property
    def jobs(self) -> str:
        """The jobs, in words."""
        return _named(self.job_ids)


@attrs.frozen(kw_only=True)
class OutcomesUnwritten(QueueEvent):
    """A queue stopped before the database took what was left to write.

    The leases of these jobs end them, and they run again where an attempt is left: what their
    handlers did may be done twice. The database was away, or too slow, as the queue stopped.
    """

    level = logging.ERROR
    logger = "m25.manager"
    message = "database did not %(what)s; leases will end %(jobs)s"
    derived = ("what", "jobs")

    #: The ids of the jobs; none where it is not known which jobs a claim took, if it took any.
    job_ids: tuple[str, ...]

    @property
    def what(self) -> str:
        """What the database did not do, in words."""
        if self.job_ids:
            return f"take what queue {self.queue!r} had left to write"
        return f"say whether the last claim of queue {self.queue!r} took jobs"

    @property
    def jobs(self) -> str:
        """The jobs, in words."""
        return _named(self.job_ids)


# The database


@attrs.frozen(kw_only=True)
class DatabaseFailing(Event):
    """A call of the database failed, and will be repeated, as will all that follow.

    It is emitted once for each outage. Handlers go on; results wait until the database is back.
    """

    level = logging.WARNING
    logger = "m25.database"
    message = "database call failed, will be repeated: %(problem)s"

    #: The database's error in a line, without what it says of rows.
    problem: str


@attrs.frozen(kw_only=True)
class DatabaseStillFailing(Event):
    """The database still does not answer: emitted now and then while an outage lasts.

    Look after the database, or the way to it. What waits for it goes on by itself.
    """

    level = logging.WARNING
    logger = "m25.database"
    message = "database calls still fail, %(failures)d in %(seconds).0f s; the latest: %(problem)s"

    #: The latest error in a line, without what it says of rows.
    problem: str
    #: How many calls have failed since the outage began.
    failures: int
    #: How long ago the outage began, in seconds.
    seconds: float


@attrs.frozen(kw_only=True)
class DatabaseAnswers(Event):
    """The database answers again, after `DatabaseFailing`.

    Nothing is to be done.
    """

    level = logging.INFO
    logger = "m25.database"
    message = "database answers again after %(failures)d failed calls in %(seconds).1f s"

    #: How many calls failed.
    failures: int
    #: How long the outage lasted, in seconds.
    seconds: float


@attrs.frozen(kw_only=True)
class StatementMistaken(Event):
    """The database refuses a statement of m25 in a way that no outage explains.

    Either the schema was changed by hand, or it is a mistake in m25: please report it, with the
    traceback. The call is repeated; the event is emitted once in five minutes for each statement.
    """

    level = logging.ERROR
    logger = "m25.database"
    message = "statement %(statement)r is refused, will be repeated: %(error_type)s"

    #: The name of the statement, as in docs/statements.sql.
    statement: str
    #: The failure, without what the database says of rows.
    error: BaseException = attrs.field(repr=False)
    #: The name of the database's error.
    error_type: str


def _named(job_ids: Sequence[str]) -> str:
    """Jobs by their ids; of many, the first ones."""
    if not job_ids:
        return "jobs that are not known"
    more = len(job_ids) - _JOBS_NAMED
    named = ", ".join(job_ids[:_JOBS_NAMED])
    return f"{'job' if len(job_ids) == 1 else 'jobs'} {named}" + (
        f" and {more} more" if more > 0 else ""
    )
