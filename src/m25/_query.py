"""What all calls of a client do: check what callers give, and raise the database's errors."""

from __future__ import annotations

from typing import Any, NoReturn
from uuid import UUID

from . import pg
from ._base_queue import BaseQueue
from ._errors import JobRecordFetchQueryError
from ._job import JobId, JobRecord
from ._store.failures import StatementFailed


def check_connection(connection: object) -> None:
    """Refuse a `connection` that is neither `None` nor a `m25.pg.AsyncConnection`.

    Raises:
        TypeError: it is neither; the message says what it is, and what to do.
    """
    if connection is not None:
        pg.check_connection(connection)


def as_job_id(id: object) -> JobId:
    """The id that a caller gave, in any of its forms.

    Raises:
        TypeError: it is in none of them.
        InvalidJob: it is a text, and not that of a UUID.
    """
    if isinstance(id, JobId):
        return id
    if not isinstance(id, (UUID, str)):
        name = type(id).__name__
        hint = "; the record's id is `record.id`" if isinstance(id, JobRecord) else ""
        raise TypeError(f"a job's id must be a m25.JobId, a UUID or its text, not {name}{hint}")
    return JobId(id)


def raise_query_error(
    failure: StatementFailed,
    *notes: str,
    kind: type[JobRecordFetchQueryError] = JobRecordFetchQueryError,
) -> NoReturn:
    """Raise a failure of the database as an error of the caller's, with `notes` added to it.

    Raises:
        JobRecordFetchQueryError: always, of class `kind`; its cause is the database's error.
    """
    error = kind(failure.brief)
    for note in notes:
        error.add_note(note)
    raise error from failure.__cause__


def check_is_queue(value: object, kind: type[BaseQueue[Any, Any, Any]] = BaseQueue) -> None:
    """Refuse what is no queue: its name alone, say, or its handler; or is not of this kind.

    Raises:
        TypeError: it is none.
    """
    if isinstance(value, kind):
        return
    if isinstance(value, BaseQueue):
        raise TypeError(
            f"queue {value.name!r:.80} is declared here, and has no handler: what runs is what"
            " @m25.queue(…) makes of the declaration and a handler"
        )
    raise TypeError(
        f"a m25.Queue is needed, which is what @m25.queue(…) makes of a handler; not {value!r:.80}"
    )
