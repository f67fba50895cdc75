"""What the calls of a client have in common: connections and ids of the caller's, and how the
database's errors are told.
"""

from __future__ import annotations

from typing import NoReturn
from uuid import UUID

from . import pg
from ._errors import JobRecordFetchQueryError
from ._job import JobId, JobRecord
from ._store.failures import StatementFailed


def check_connection(connection: object) -> None:
    """Refuse what is no connection of ours.

    Raises:
        TypeError: it is not.
    """
    if connection is not None and not isinstance(connection, pg.AsyncConnection):
        raise TypeError(
            f"connection must be a m25.pg.AsyncConnection, not {connection!r}: psycopg's own needs "
            "asyncio, which a Trio program does not run"
        )


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
    """Tell the caller that the database failed, with notes on what it was about.

    Raises:
        JobRecordFetchQueryError: always, of the kind asked for; its cause is the database's error.
    """
    error = kind(failure.brief)
    for note in notes:
        error.add_note(note)
    raise error from failure.__cause__
