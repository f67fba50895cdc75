"""What all calls of a client do: check the caller's connection, and raise the database's errors."""

from __future__ import annotations

from typing import NoReturn

from . import pg
from ._errors import JobRecordFetchQueryError
from ._store.failures import StatementFailed


def check_connection(connection: object) -> None:
    """Refuse a `connection` that is neither `None` nor a `m25.pg.AsyncConnection`.

    Raises:
        TypeError: it is neither; the message says what it is, and what to do.
    """
    if connection is not None:
        pg.check_connection(connection)


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
