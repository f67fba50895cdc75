"""What one call of `cancel_job` asks the store, one after the other. No I/O: whoever has a store
answers.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from ._errors import (
    InvalidState,
    JobCancelFetchError,
    JobCancelNotFound,
    JobCancelQueryError,
    JobRecordFetchError,
    JobRecordFetchQueryError,
    NoJobRecordFound,
)
from ._job import JobId, JobStatus
from ._lifecycle import LIVE_VALUES
from ._query import raise_query_error
from ._record import decode_record
from ._store.failures import StatementFailed
from ._store.protocol import JobRow
from ._text import check_text

if TYPE_CHECKING:
    from ._base_queue import BaseQueue

#: Who asks and why, in characters: it goes into log lines.
_LONGEST_TEXT: Final = 1_000


class Ask(NamedTuple):
    """A call of the store."""

    call: Literal["cancel", "request_cancel", "latest"]
    #: Of the row that it is about.
    id: str
    with_children: bool = False


#: They are sent the row of each answer, if there is one.
Asks: TypeAlias = Generator[Ask, JobRow | None, JobRow]


def check_words(name: str, value: str | None) -> None:
    """Check what a caller says of a cancel.

    Raises:
        ValueError: it is no text that the database can hold, or is longer than 1,000 characters.
    """
    if value is not None and len(check_text(value, name, ValueError)) > _LONGEST_TEXT:
        raise ValueError(f"{name} must be at most {_LONGEST_TEXT} characters long")


def ask_to_cancel(queue: BaseQueue[Any, Any, Any], id: JobId, *, running: bool) -> Asks:
    """Cancel a job, or with `running` ask for that; return its latest attempt.

    Whoever claims, releases, retries or ends the job meanwhile does so in one statement, and so do
    these calls: what was found is looked at again until one of them has an answer.

    Raises:
        InvalidState: it has ended; or it is claimed, and cannot be asked for.
        NoJobRecordFound: the queue has no such job.
        JobRecordFetchDecodeErrors: its status is not one that m25 knows.
    """
    # Most jobs have one attempt, and are pending: one statement is enough.
    row = yield Ask("cancel", str(id))
    if row is None and running:
        row = yield Ask("request_cancel", str(id))
    refused: JobRow | None = None
    while row is None:
        latest = yield Ask("latest", str(id))
        if latest is None or latest.queue_name != queue.name:
            raise NoJobRecordFound(id, queue.name)
        if latest.status == JobStatus.PENDING.value:
            row = yield Ask("cancel", latest.id, with_children=bool(latest.has_children))
        elif latest.status not in LIVE_VALUES or not running:
            raise InvalidState(id, _status(latest, queue))
        elif refused is not None and _is_same_claim(refused, latest):
            # It was claimed all the while, and there was nobody to ask.
            raise InvalidState(id, _status(latest, queue), is_originals=True)
        else:
            row = yield Ask("request_cancel", latest.id)
            refused = latest
    return row


@contextmanager
def cancel_errors() -> Generator[None]:
    """A block that cancels a job: what goes wrong in it is raised as `cancel_job` has it.

    Raises:
        JobCancelNotFound, JobCancelFetchError, JobCancelQueryError: as they say.
    """
    try:
        try:
            yield
        except StatementFailed as failure:
            raise_query_error(failure)
    except JobRecordFetchQueryError as error:
        raise JobCancelQueryError(error) from error
    except NoJobRecordFound as error:
        raise JobCancelNotFound(error) from error
    except JobRecordFetchError as error:
        raise JobCancelFetchError(error) from error


def reason_below(row: JobRow) -> str:
    """Why what a cancelled job has started is cancelled, where its caller has not said why."""
    return f"job {row.job_id}, which is above it, was cancelled"


def _status(row: JobRow, queue: BaseQueue[Any, Any, Any]) -> JobStatus:
    try:
        return JobStatus(row.status)
    except ValueError:
        return decode_record(row, queue).status


def _is_same_claim(before: JobRow, after: JobRow) -> bool:
    return (before.id, before.reserved_at) == (after.id, after.reserved_at)
