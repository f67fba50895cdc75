"""Why an executor was cancelled, and why it has left no outcome."""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from .._store.protocol import CancelRequest, Outcome, SetAside

if TYPE_CHECKING:
    from .executor import Executor


class Unfinished(enum.Enum):
    """Why there is no outcome to write."""

    #: The executor was cancelled from outside: the job is released, its attempt not counted.
    CUT_SHORT = "cut short"
    #: `setup` failed or took too long: the job is released, its attempt not counted, and the queue
    #: waits before it claims again.
    NOT_INITIALISED = "not initialised"
    #: The claim is fenced, or the attempt was ended without waiting for its handler: nothing is to
    #: be written.
    FENCED = "fenced"
    #: Its lease was over before its handler could begin: the job is released.
    TOO_LATE = "its lease was over before its handler could begin"
    #: The server or the network has ended the session of its handler's transaction: the job is
    #: released, its attempt not counted.
    LOST_CONNECTION = "its connection to the database was lost"
    #: It was cancelled since somebody asked for that: the release ends the job as cancelled.
    CANCELLED = "cancelled"
    #: Its success is written already, in the transaction of its handler.
    COMMITTED = "committed"


@attrs.frozen
class Snoozed:
    """There is no outcome to write: the handler has put its job off, the attempt not counted."""

    delay: timedelta


@attrs.frozen
class LeftToNewer:
    """There is no outcome to write: the input has what this worker does not know, and newer workers
    may. The handler was not called, and the attempt is not counted.
    """

    #: Where in the input.
    path: str
    reason: str


@attrs.frozen(eq=False)
class InDoubt:
    """The transaction of the handler was to be committed, and the server did not answer.

    The job is released, the attempt not counted. Who holds the row's lock decides: as long as the
    transaction goes on at the server, the row is locked; then it was rolled back, and the release
    is written, or it was committed, and there is nothing to release.
    """

    executor: Executor
    #: What it would have committed.
    success: Outcome


#: What an executor leaves.
Result: TypeAlias = Outcome | Unfinished | Snoozed | SetAside | LeftToNewer | InDoubt


class CancelReason(enum.Enum):
    """Why an executor was cancelled by its manager, as its handler is told.

    A deadline is the scope's own, and not here.
    """

    #: The executor left too many heartbeats unanswered.
    UNRESPONSIVE = "unresponsive: its heartbeats were not answered"
    #: The database says that the claim is not ours any more.
    FENCED = "claim lost: another process has the job, or it has ended"
    #: Somebody asked for it. The claim holds, and what the handler still does counts.
    ASKED_FOR = "cancel asked for"
    #: The handler waits for a time or a message, and its job is set aside meanwhile.
    SET_ASIDE = "set aside: the handler runs again once its wait is over"
    #: The handler did not end at its deadline, or once its cancel was asked for, and the attempt
    #: was ended without waiting for it.
    OVERRAN = "overran"


#: With these a claim is kept alive: what its handler leaves is still to be written.
# rule: what is being cancelled is kept alive
KEPT: Final = (None, CancelReason.ASKED_FOR, CancelReason.SET_ASIDE)
#: With these an attempt ends at its deadline, whatever its handler does.
BOUND: Final = (None, CancelReason.SET_ASIDE)


class InThread(enum.Enum):
    """Where a handler that runs in a thread is."""

    #: Not there, or not any more.
    NO = "no"
    YES = "yes"
    #: It is there although its deadline has passed, and an event said so.
    LATE = "late"
    #: The executor was cancelled, and the thread goes on by itself.
    ABANDONED = "abandoned"


def words_of(request: CancelRequest) -> str:
    """What the handler is told of a request to cancel its job."""
    by = "" if request.by is None else f" by {request.by!r}"
    why = "" if request.reason is None else f": {request.reason}"
    return f"{CancelReason.ASKED_FOR.value}{by}{why}"
