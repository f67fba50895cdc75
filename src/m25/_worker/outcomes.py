"""The ways in which an attempt ends: for each, the outcome to write and the event to emit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import trio

from .._codec import Undecodable
from .._crash import Crash, describe_crash, type_name
from .._errors import CutShort, JobRecordFetchJsonDecodeError, UsageError, ValueRefused
from .._events import (
    FailureRequested,
    HandlerOverran,
    InputUndecodable,
    JobCancelled,
    JobCrashed,
    JobErrored,
    JobInterrupted,
    JobLeaseOver,
    JobSucceeded,
    JobTimedOut,
    JobUnresponsive,
    OutputRefused,
    SessionsLost,
    SetupGivenUp,
)
from .._handler import kept_of
from .._handler_errors import JobTimeout, Request, RetryAfter, Snooze
from .._job import FailureReason, JobId, JobStatus
from .._remote import AskedElsewhere, UndecodedElsewhere
from .._runtime import Runtime
from .._store.lanes import key_of
from .._store.protocol import LONGEST_UNKNOWN, Descendant, JobRow, Outcome, RateHold
from . import plan
from .endings import Snoozed
from .retries import Next, decide

if TYPE_CHECKING:
    from .executor import Executor


def returned(executor: Executor, output: Any) -> Outcome:
    """The handler returned."""
    try:
        text = executor.at.environment.handler.encode_output(output)
    except ValueRefused as refused:
        return _refused(executor, refused)
    if executor.at.emits_all and not executor.queue.transactional:
        emit_succeeded(executor)
    id, token = executor.job
    return Outcome(id, token, None, text, None, None, None, None, None)


def emit_succeeded(executor: Executor) -> None:
    """Tell that the handler has succeeded; of one in a transaction, once that is committed."""
    if executor.at.emits_all:
        executor.runtime.events.emit(JobSucceeded(seconds=_seconds(executor), **executor.facts))


def raised(executor: Executor, error: BaseException, request: Request | None) -> Outcome:
    """The handler raised: one of its queue's errors, or anything else, which is a crash.

    `request` is what it has asked for by that, if anything.
    """
    if isinstance(error, UndecodedElsewhere):
        return undecodable(executor, error)
    outcome = _raised(executor, error, request)
    rate = executor.queue.rate
    if rate is not None and isinstance(request, RetryAfter) and request.whole_rate:
        key = key_of(executor.row.input, rate.path or ())
        return outcome._replace(rate_hold=RateHold(key, request.delay))
    return outcome


def _raised(executor: Executor, error: BaseException, request: Request | None) -> Outcome:
    kept = kept_of(error, request)
    declared = executor.environment.handler.declared(kept)
    if declared is None:
        following = decide(executor, FailureReason.CRASH, kept, request)
        if request is not None and (kept is error or isinstance(kept, AskedElsewhere)):
            name = type(request).__name__
            event = FailureRequested(request=name, **_facts(executor, following))
            executor.runtime.events.emit(event)
            return _failure(executor, FailureReason.CRASH, following, crash=describe_crash(kept))
        return _crash(executor, kept, following, is_cause=kept is not error)
    following = decide(executor, FailureReason.ERRORED, declared, request)
    try:
        text = executor.environment.handler.encode_error(declared)
    except ValueRefused as refused:
        # Then the crash columns have the declared error's traceback, too: the place where it was
        # raised says more than the place where its value was refused.
        refused.__cause__ = declared
        return _refused(executor, refused, following)
    executor.runtime.events.emit(
        JobErrored(
            error_type=type_name(declared.__class__),
            seconds=_seconds(executor),
            **_facts(executor, following),
        )
    )
    return _failure(executor, FailureReason.ERRORED, following, error_data=text)


def crash(executor: Executor, error: BaseException) -> Outcome:
    """An exception was raised that the queue does not declare."""
    return _crash(executor, error, decide(executor, FailureReason.CRASH, error))


def _crash(
    executor: Executor, error: BaseException, following: Next, *, is_cause: bool = False
) -> Outcome:
    event = JobCrashed(error=error, is_told=executor.is_told, **_facts(executor, following))
    executor.runtime.events.emit(event)
    crashed = describe_crash(error, is_cause=is_cause)
    return _failure(executor, FailureReason.CRASH, following, crash=crashed)


def snoozed(executor: Executor, snooze: Snooze) -> Outcome | Snoozed:
    """The handler put its job off; or has failed, if it must not begin again."""
    if executor.queue.allowed_losses == 0:
        refused = UsageError(
            "the handler raised Snooze, which hands its attempt back, and with allowed_losses=0 its"
            " attempt does not begin again"
        )
        refused.__cause__ = snooze
        return crash(executor, refused)
    return Snoozed(snooze.delay)  # rule: what is put off is not counted


def setup_failed(executor: Executor, error: BaseException, failures: int) -> Outcome:
    """The setup of the job has failed too often in a row; the handler was not called."""
    following = decide(executor, FailureReason.CRASH, error)
    executor.runtime.events.emit(
        SetupGivenUp(error=error, failures=failures, **_facts(executor, following))
    )
    return _failure(executor, FailureReason.CRASH, following, crash=describe_crash(error))


def undecodable(executor: Executor, error: Undecodable) -> Outcome:
    """The input is not of the handler's type."""
    reason = error.reason
    if error.is_newer and plan.has_waited_for_newer(executor.row):
        minutes = LONGEST_UNKNOWN // 60
        reason += f", and in {minutes} minutes no newer worker that knows it has taken the job"
    problem = JobRecordFetchJsonDecodeError(JobId(executor.row.id), "input", error.path, reason)
    following = decide(executor, FailureReason.CRASH, problem)
    executor.runtime.events.emit(
        InputUndecodable(path=error.path, reason=reason, **_facts(executor, following))
    )
    crashed = Crash(type_name(type(problem)), str(problem), None)
    return _failure(executor, FailureReason.CRASH, following, crash=crashed)


def timed_out(executor: Executor, error: BaseException | None) -> Outcome:
    """The handler was cancelled at its deadline, and has ended, perhaps with an error."""
    following = _after_timeout(executor, error)
    executor.runtime.events.emit(
        JobTimedOut(timeout=float(executor.row.timeout), error=error, **_facts(executor, following))
    )
    crashed = None if error is None else describe_crash(error)
    return _failure(executor, FailureReason.JOB_TIMEOUT, following, crash=crashed)


def overran(executor: Executor) -> Outcome:
    """The handler goes on past its deadline."""
    following = _after_timeout(executor, None)
    executor.runtime.events.emit(
        HandlerOverran(timeout=float(executor.row.timeout), **_facts(executor, following))
    )
    return _failure(executor, FailureReason.JOB_TIMEOUT, following)


def unresponsive(executor: Executor) -> Outcome:
    """The executor left too many heartbeats unanswered, and was cancelled."""
    following = decide(executor, FailureReason.HEARTBEAT_TIMEOUT)
    executor.runtime.events.emit(
        JobUnresponsive(misses=executor.misses_when_cancelled, **_facts(executor, following))
    )
    return _failure(executor, FailureReason.HEARTBEAT_TIMEOUT, following)


def lease_over(executor: Executor, error: BaseException | None) -> Outcome:
    """The handler of an exclusive queue was cancelled, since its lease could not be renewed.

    It counts as lost with its process, which could not reach the database.
    """
    assert executor.lease is not None
    following = decide(executor, FailureReason.HEARTBEAT_TIMEOUT)
    executor.runtime.events.emit(
        JobLeaseOver(seconds=executor.lease.seconds, error=error, **_facts(executor, following))
    )
    crashed = None if error is None else describe_crash(error)
    return _failure(executor, FailureReason.HEARTBEAT_TIMEOUT, following, crash=crashed)


def sessions_lost(executor: Executor, losses: int) -> Outcome:
    """The session of the handler's transaction was lost too often in a row; the handler was not
    called again.
    """
    following = decide(executor, FailureReason.HEARTBEAT_TIMEOUT)
    executor.runtime.events.emit(SessionsLost(sessions=losses, **_facts(executor, following)))
    error = CutShort(f"the connection of its transaction was lost {losses} times in a row")
    return _failure(
        executor, FailureReason.HEARTBEAT_TIMEOUT, following, crash=describe_crash(error)
    )


def interrupted(executor: Executor, error: BaseException) -> Outcome:
    """`KeyboardInterrupt` came out of the handler, and ends the program.

    The handler may raise it each time that it runs. So the attempt counts as lost with its process,
    as if the process had been killed.
    """
    following = decide(executor, FailureReason.HEARTBEAT_TIMEOUT)
    executor.runtime.events.emit(JobInterrupted(error=error, **_facts(executor, following)))
    return _failure(
        executor, FailureReason.HEARTBEAT_TIMEOUT, following, crash=describe_crash(error)
    )


def emit_cancelled(runtime: Runtime, row: JobRow) -> None:
    """Tell of a job that has ended as cancelled; of another, nothing."""
    if row.status == JobStatus.CANCELLED.value:
        event = JobCancelled(by=row.cancelled_by, reason=row.cancel_reason, **facts_of(row))
        runtime.events.emit(event)


def emit_descendants(runtime: Runtime, reached: Sequence[Descendant]) -> None:
    """Tell of the jobs that have ended as cancelled, since one above them was."""
    for each in reached:
        if each.is_cancelled:
            event = JobCancelled(
                by=None,
                reason="one above it was cancelled, or has ended",
                queue=each.queue_name,
                job_id=each.id,
                attempt=each.attempt,
                max_attempts=each.max_attempts,
                losses=each.losses,
            )
            runtime.events.emit(event)


def facts_of(row: JobRow) -> dict[str, Any]:
    """The fields that every event of an attempt has, where no executor runs it."""
    return {
        "queue": row.queue_name,
        "job_id": row.id,
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "losses": row.losses,
    }


def _refused(executor: Executor, refused: ValueRefused, following: Next | None = None) -> Outcome:
    if following is None:
        following = decide(executor, FailureReason.CRASH, refused)
    executor.runtime.events.emit(
        OutputRefused(
            what=refused.what, path=refused.path, error=refused, **_facts(executor, following)
        )
    )
    crashed = describe_crash(refused)
    return _failure(executor, FailureReason.CRASH, following, crash=crashed)


def _after_timeout(executor: Executor, error: BaseException | None) -> Next:
    timeout = JobTimeout(float(executor.row.timeout))
    timeout.__cause__ = error
    return decide(executor, FailureReason.JOB_TIMEOUT, timeout)


def _failure(
    executor: Executor,
    reason: FailureReason,
    following: Next,
    *,
    error_data: str | None = None,
    crash: Crash | None = None,
) -> Outcome:
    crash_type, message, trace = crash or (None, None, None)
    return Outcome(
        executor.job.id,
        executor.job.token,
        reason.value,
        None,
        error_data,
        crash_type,
        message,
        trace,
        None if following.is_last else executor.runtime.make_id(),
        following.retry_after,
    )


def _facts(executor: Executor, following: Next) -> dict[str, Any]:
    """The fields that every event of a failed attempt has."""
    return {
        "next_attempt": following.is_followed,
        "next_in": following.seconds,
        "given_up": following.given_up,
        "ran": _seconds(executor) if executor.has_begun else None,
        **executor.facts,
    }


def _seconds(executor: Executor) -> float:
    """How long the handler ran."""
    return trio.current_time() - (executor.deadline - float(executor.row.timeout))
