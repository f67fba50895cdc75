"""Several statements in one transaction and one round trip: one that is open, or one of their own.

All are sent at once: no lock that one of them has taken is held while this process is asked for the
next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import errors, generators
from psycopg.abc import PQGen

from ._connection import AsyncConnection
from ._prepared import Prepared, Rows, _read_to_the_sync, _rows


async def run_in_one_trip(
    connection: AsyncConnection[Any],
    statements: Sequence[tuple[Prepared, Mapping[str, str | None]]],
    *,
    prepare: bool,
) -> tuple[list[Rows], psycopg.Error | None]:
    """Run statements in the transaction that is open, one after the other.

    Return the rows of each, up to the first that has failed, and the error of that one: those
    behind it were not run.

    Args:
        prepare: whether the session that answers is always the same, so that statements can be
            prepared in it.

    Raises:
        psycopg.OperationalError: the connection is lost.
        psycopg.DataError: a value cannot be sent; nothing was.
    """
    calls = [(each, each._values(connection, parameters)) for each, parameters in statements]
    async with connection.lock:
        return await connection.wait(_steps(connection, calls, prepare))


async def run_together(
    connection: AsyncConnection[Any],
    statements: Sequence[tuple[Prepared, Mapping[str, str | None]]],
) -> list[Rows]:
    """Run statements one after the other in one transaction, and return the rows of each.

    The connection is in autocommit mode.

    Raises:
        psycopg.Error: as `AsyncConnection.execute` does; nothing was written, unless the connection
            was lost.
    """
    calls = [(each, each._values(connection, parameters)) for each, parameters in statements]
    async with connection.lock:
        return await connection.wait(_all_or_none(connection, calls))


def _all_or_none(
    connection: AsyncConnection[Any], calls: Sequence[tuple[Prepared, Sequence[bytes | None]]]
) -> PQGen[list[Rows]]:
    answers, failure = yield from _steps(connection, calls, prepare=True)
    if isinstance(failure, errors.InvalidSqlStatementName):
        # `discard all` had the session forget its statements; so nothing was done.
        connection._statements.clear()
        answers, failure = yield from _steps(connection, calls, prepare=True)
    if failure is not None:
        raise failure
    return answers


def _steps(
    connection: AsyncConnection[Any],
    calls: Sequence[tuple[Prepared, Sequence[bytes | None]]],
    prepare: bool,
) -> PQGen[tuple[list[Rows], psycopg.Error | None]]:
    pgconn = connection.pgconn
    # For each result that is to come: the name of what it has prepared, or `None` if it is of rows.
    coming: list[bytes | None] = []
    pgconn.enter_pipeline_mode()
    for statement, values in calls:
        if not prepare:
            pgconn.send_query_params(statement.text, values)
        else:
            if statement.name not in connection._statements:
                pgconn.send_prepare(statement.name, statement.text)
                coming.append(statement.name)
            pgconn.send_query_prepared(statement.name, values)
        coming.append(None)
    pgconn.pipeline_sync()
    yield from generators.send(pgconn)
    answers: list[Rows] = []
    failure: psycopg.Error | None = None
    try:
        for name in coming:
            results = yield from generators.fetch_many(pgconn)
            if failure is not None:
                # Those behind it say only that one before them has failed.
                continue
            try:
                rows = _rows(results, connection)
            except psycopg.Error as error:
                failure = error
                continue
            if name is None:
                answers.append(rows)
            else:
                connection._statements.add(name)
        yield from _read_to_the_sync(connection)
    except psycopg.Error:
        # A session that is ended says why, and then is gone.
        if failure is None:
            raise
    return answers, failure
