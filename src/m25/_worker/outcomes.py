"""The ways in which an attempt ends: for each, the outcome to write and the event to emit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from .._codec import Undecodable
from .._crash import Crash, describe_crash, type_name
from .._errors import JobRecordFetchJsonDecodeError, ValueRefused
from .._events import (
    HandlerOverran,
    InputUndecodable,
    JobCrashed,
    JobErrored,
    JobInterrupted,
    JobSucceeded,
    JobTimedOut,
    JobUnresponsive,
    OutputRefused,
)
from .._job import FailureReason, JobId
from .._lifecycle import has_next_attempt
from .._remote import UndecodedElsewhere
from .._store.protocol import JobRow, Outcome

if TYPE_CHECKING:
    from .executor import Executor


def returned(executor: Executor, output: Any) -> Outcome:
    """The handler returned."""
    try:
        text = executor.environment.handler.encode_output(output)
    except ValueRefused as refused:
        return _refused(executor, refused)
    if executor.emits_all:
        executor.runtime.events.emit(JobSucceeded(seconds=_seconds(executor), **executor.facts))
    id, token = executor.job
    return Outcome(id, token, None, text, None, None, None, None, None)


def raised(executor: Executor, error: BaseException) -> Outcome:
    """The handler raised: one of its queue's errors, or anything else, which is a crash."""
    if isinstance(error, UndecodedElsewhere):
        return undecodable(executor, error)
    declared = executor.environment.handler.declared(error)
    if declared is None:
        return crash(executor, error)
    try:
        text = executor.environment.handler.encode_error(declared)
    except ValueRefused as refused:
        # Then the crash columns have the declared error's traceback, too: the place where it was
        # raised says more than the place where its value was refused.
        refused.__cause__ = declared
        return _refused(executor, refused)
    executor.runtime.events.emit(
        JobErrored(
            error_type=type_name(declared.__class__),
            seconds=_seconds(executor),
            next_attempt=_is_followed(executor, FailureReason.ERRORED),
            **executor.facts,
        )
    )
    return _failure(executor, FailureReason.ERRORED, error_data=text)


def crash(executor: Executor, error: BaseException) -> Outcome:
    """An exception was raised that the queue does not declare."""
    executor.runtime.events.emit(
        JobCrashed(
            error=error,
            next_attempt=_is_followed(executor, FailureReason.CRASH),
            **executor.facts,
        )
    )
    return _failure(executor, FailureReason.CRASH, crash=describe_crash(error))


def undecodable(executor: Executor, error: Undecodable) -> Outcome:
    """The input is not of the handler's type."""
    problem = JobRecordFetchJsonDecodeError(
        JobId(executor.row.id), "input", error.path, error.reason
    )
    executor.runtime.events.emit(
        InputUndecodable(
            path=error.path,
            reason=error.reason,
            next_attempt=_is_followed(executor, FailureReason.CRASH),
            **executor.facts,
        )
    )
    crashed = Crash(type_name(type(problem)), str(problem), None)
    return _failure(executor, FailureReason.CRASH, crash=crashed)


def timed_out(executor: Executor, error: BaseException | None) -> Outcome:
    """The handler was cancelled at its deadline, and has ended, perhaps with an error."""
    executor.runtime.events.emit(
        JobTimedOut(
            timeout=float(executor.row.timeout),
            error=error,
            next_attempt=_is_followed(executor, FailureReason.JOB_TIMEOUT),
            **executor.facts,
        )
    )
    crashed = None if error is None else describe_crash(error)
    return _failure(executor, FailureReason.JOB_TIMEOUT, crash=crashed)


def overran(executor: Executor) -> Outcome:
    """The handler goes on past its deadline."""
    executor.runtime.events.emit(
        HandlerOverran(
            timeout=float(executor.row.timeout),
            next_attempt=_is_followed(executor, FailureReason.JOB_TIMEOUT),
            **executor.facts,
        )
    )
    return _failure(executor, FailureReason.JOB_TIMEOUT)


def unresponsive(executor: Executor) -> Outcome:
    """The executor left too many heartbeats unanswered, and was cancelled."""
    executor.runtime.events.emit(
        JobUnresponsive(
            misses=executor.misses_when_cancelled,
            next_attempt=_is_followed(executor, FailureReason.HEARTBEAT_TIMEOUT),
            **executor.facts,
        )
    )
    return _failure(executor, FailureReason.HEARTBEAT_TIMEOUT)


def interrupted(executor: Executor, error: BaseException) -> Outcome:
    """`KeyboardInterrupt` came out of the handler, and ends the program.

    The handler may raise it each time that it runs. So the attempt counts as lost with its process,
    as if the process had been killed.
    """
    executor.runtime.events.emit(
        JobInterrupted(
            error=error,
            next_attempt=_is_followed(executor, FailureReason.HEARTBEAT_TIMEOUT),
            **executor.facts,
        )
    )
    return _failure(executor, FailureReason.HEARTBEAT_TIMEOUT, crash=describe_crash(error))


def _refused(executor: Executor, refused: ValueRefused) -> Outcome:
    executor.runtime.events.emit(
        OutputRefused(
            what=refused.what,
            path=refused.path,
            error=refused,
            next_attempt=_is_followed(executor, FailureReason.CRASH),
            **executor.facts,
        )
    )
    return _failure(executor, FailureReason.CRASH, crash=describe_crash(refused))


def _failure(
    executor: Executor,
    reason: FailureReason,
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
        executor.runtime.make_id(),
    )


def _is_followed(executor: Executor, reason: FailureReason) -> bool:
    """Whether the database will insert the next attempt when it writes this outcome."""
    row = executor.row
    return has_next_attempt(
        reason,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        losses=row.losses + (reason is FailureReason.HEARTBEAT_TIMEOUT),
        allowed_losses=executor.queue.allowed_losses,
    )


def _seconds(executor: Executor) -> float:
    """How long the handler ran."""
    return trio.current_time() - (executor.deadline - float(executor.row.timeout))


def facts_of(row: JobRow, queue_name: str) -> dict[str, Any]:
    """The fields that every event of an attempt has."""
    return {
        "queue": queue_name,
        "job_id": row.id,
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "losses": row.losses,
    }
