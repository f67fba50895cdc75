"""What the calls of a client have in common: a connection of the caller's, and how the database's
errors are told.
"""

from __future__ import annotations

from typing import NoReturn

from . import pg
from ._errors import JobRecordFetchQueryError
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


def raise_query_error(failure: StatementFailed, *notes: str) -> NoReturn:
    """Tell the caller that the database failed, with notes on what it was about.

    Raises:
        JobRecordFetchQueryError: always; its cause is the database's error.
    """
    told = JobRecordFetchQueryError(failure.brief)
    for note in notes:
        told.add_note(note)
    raise told from failure.__cause__
