"""Statements that are run again and again: prepared once on a connection, with parameters as text.

A cursor finds out, at each call, the types of its parameters, how they are written, and whether the
statement is worth preparing. Here all of that is known before the first call, and only the protocol
is left to be done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import psycopg
from psycopg import errors, generators, pq
from psycopg.abc import PQGen

from ._connection import AsyncConnection

_ROWS: Final = pq.ExecStatus.TUPLES_OK
_DONE: Final = pq.ExecStatus.COMMAND_OK
_SYNC: Final = pq.ExecStatus.PIPELINE_SYNC

Rows: TypeAlias = list[tuple[Any, ...]]


@attrs.frozen
class Prepared:
    """A statement that returns rows."""

    #: Its name on the server, the same for no other statement.
    name: bytes
    #: With `$1` for the first parameter; each has a type by a cast.
    text: bytes
    #: Its parameters, in order.
    parameters: tuple[str, ...]

    async def run(
        self,
        connection: AsyncConnection[Any],
        parameters: Mapping[str, str | None],
        on_rows: Callable[[Rows], None] | None = None,
    ) -> Rows:
        """Run it on a connection in autocommit mode, and return its rows once it is committed.

        `on_rows` is called with the rows as soon as they have arrived, while the commit is still
        under way.

        Raises:
            psycopg.Error: as `AsyncConnection.execute` does; also after `on_rows` was called.
        """
        encoding = connection.pgconn._encoding
        values = [_encoded(parameters[name], encoding) for name in self.parameters]
        async with connection.lock:
            return await connection.wait(self._steps(connection, values, on_rows))

    def _steps(
        self,
        connection: AsyncConnection[Any],
        values: Sequence[bytes | None],
        on_rows: Callable[[Rows], None] | None,
    ) -> PQGen[Rows]:
        if self.name in connection._statements:
            try:
                return (yield from self._execute(connection, values, on_rows))
            except errors.InvalidSqlStatementName:
                # `discard all` had the session forget its statements; so nothing was done.
                connection._statements.clear()
        connection.pgconn.send_prepare(self.name, self.text)
        (result,) = yield from generators.execute(connection.pgconn)
        _check(result, connection)
        connection._statements.add(self.name)
        return (yield from self._execute(connection, values, on_rows))

    def _execute(
        self,
        connection: AsyncConnection[Any],
        values: Sequence[bytes | None],
        on_rows: Callable[[Rows], None] | None,
    ) -> PQGen[Rows]:
        if on_rows is not None:
            return (yield from self._execute_early(connection, values, on_rows))
        connection.pgconn.send_query_prepared(self.name, values)
        (result,) = yield from generators.execute(connection.pgconn)
        return _rows(result, connection)

    def _execute_early(
        self,
        connection: AsyncConnection[Any],
        values: Sequence[bytes | None],
        on_rows: Callable[[Rows], None],
    ) -> PQGen[Rows]:
        pgconn = connection.pgconn
        pgconn.enter_pipeline_mode()
        pgconn.send_query_prepared(self.name, values)
        # Asked to flush, the server sends the rows before it comes to the sync, where it commits.
        pgconn.send_flush_request()
        pgconn.pipeline_sync()
        yield from generators.send(pgconn)
        (result,) = yield from generators.fetch_many(pgconn)
        rows = None
        if result.status == _ROWS:
            rows = _rows(result, connection)
            on_rows(rows)
        failure: psycopg.Error | None = None
        while True:
            (end,) = yield from generators.fetch_many(pgconn)
            if end.status == _SYNC:
                break
            failure = failure or errors.error_from_result(end, pgconn._encoding)
        pgconn.exit_pipeline_mode()
        if rows is None:
            return _rows(result, connection)
        if failure is not None:
            # The commit failed.
            raise failure
        return rows


def _encoded(value: str | None, encoding: str) -> bytes | None:
    if value is None:
        return None
    if "\0" in value:
        # libpq would leave out all that follows it; psycopg refuses it likewise.
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return value.encode(encoding)


def _check(result: pq.abc.PGresult, connection: AsyncConnection[Any]) -> None:
    if result.status not in (_ROWS, _DONE):
        raise errors.error_from_result(result, connection.pgconn._encoding)


def _rows(result: pq.abc.PGresult, connection: AsyncConnection[Any]) -> Rows:
    _check(result, connection)
    transformer = connection._transformer
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple)
