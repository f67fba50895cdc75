"""How an attempt has ended, as the event says that tells of it: for spans and for counters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from .._crash import type_of
from .._events import (
    AttemptFailed,
    CancelSwept,
    ClaimFenced,
    Event,
    FailureRequested,
    HandlerOverran,
    JobCancelled,
    JobCancelOverran,
    JobErrored,
    JobInterrupted,
    JobLeaseOver,
    JobReleased,
    JobSetAside,
    JobSnoozed,
    JobSucceeded,
    JobSwept,
    JobTimedOut,
    JobUnresponsive,
    OutcomeRefused,
    OutcomeUnstorable,
    ResultDiscarded,
    SessionsLost,
)
from .._job import FailureReason

#: What is told of attempts that this process does not run, or not any more.
SETTLED: Final = (JobSwept, CancelSwept, OutcomeRefused, OutcomeUnstorable, ResultDiscarded)

#: Those whose attempt is to end well, later.
_PUT_OFF: Final[Mapping[type[Event], str]] = {JobSnoozed: "snoozed", JobSetAside: "set_aside"}
#: Those that leave no outcome of the attempt's own.
_CUT_OFF: Final[Mapping[type[Event], str]] = {
    JobReleased: "released",
    JobCancelled: "cancelled",
    JobCancelOverran: "cancelled",
    CancelSwept: "cancelled",
    ClaimFenced: "lost",
    ResultDiscarded: "lost",
    OutcomeRefused: "refused",
    OutcomeUnstorable: "refused",
}
#: All other failures are crashes.
_REASONS: Final[Mapping[type[Event], FailureReason]] = {
    JobErrored: FailureReason.ERRORED,
    JobTimedOut: FailureReason.JOB_TIMEOUT,
    HandlerOverran: FailureReason.JOB_TIMEOUT,
    JobUnresponsive: FailureReason.HEARTBEAT_TIMEOUT,
    JobLeaseOver: FailureReason.HEARTBEAT_TIMEOUT,
    JobInterrupted: FailureReason.HEARTBEAT_TIMEOUT,
    SessionsLost: FailureReason.HEARTBEAT_TIMEOUT,
}


@attrs.frozen
class Ending:
    """How an attempt has ended.

    `outcome` is one of `succeeded`, `failed`, `cancelled`, `released`, `snoozed`, `set_aside`,
    `lost` (somebody else has the job), `refused` (the database did not take what it left) and
    `unwritten` (the database was away as the program ended).
    """

    outcome: str
    #: What kind of error it is, as `error.type` has it; `None` if it is none.
    error_type: str | None = None
    #: What has happened; without anything that the job was given.
    words: str = ""
    #: The failure reason, as the record has it.
    reason: str | None = None
    #: What the handler has raised, if it has.
    error: BaseException | None = None


def ending_of(event: Event) -> Ending | None:
    """How the attempt has ended that an event is about; `None` if that is not what it tells."""
    kind = type(event)
    if kind is JobSucceeded:
        return Ending("succeeded")
    if (put_off := _PUT_OFF.get(kind)) is not None:
        return Ending(put_off)
    if (cut_off := _CUT_OFF.get(kind)) is not None:
        return Ending(cut_off, cut_off, event.in_words(), error=getattr(event, "error", None))
    if isinstance(event, AttemptFailed):
        return _failed(event)
    return None


def _failed(event: AttemptFailed) -> Ending:
    error: BaseException | None = getattr(event, "error", None)
    if isinstance(event, JobSwept):
        reason = event.failure_reason
    else:
        reason = _REASONS.get(type(event), FailureReason.CRASH).value
    if isinstance(event, JobErrored):
        error_type = event.error_type
    elif isinstance(event, FailureRequested):
        error_type = event.request
    elif reason == FailureReason.CRASH.value and error is not None:
        error_type = type_of(error)
    else:
        error_type = reason
    return Ending("failed", error_type, event.in_words(), reason, error)
