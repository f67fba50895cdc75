"""Statements that are run again and again: prepared once on a connection, with parameters as text.

A cursor finds out, at each call, the types of its parameters, how they are written, and whether the
statement is worth preparing. Here all of that is known before the first call, and only the protocol
is left to be done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import psycopg
from psycopg import errors, generators, pq
from psycopg.abc import PQGen

if TYPE_CHECKING:
    from ._connection import AsyncConnection

#: After a `stream()` libpq may give the rows of the next pipeline one by one.
_ROWS: Final = (
    pq.ExecStatus.TUPLES_OK,
    pq.ExecStatus.SINGLE_TUPLE,
    pq.ExecStatus.TUPLES_CHUNK,
)
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
        *,
        is_awaited: bool = False,
    ) -> Rows:
        """Run it on a connection in autocommit mode, and return its rows once it is committed.

        `on_rows` is called with the rows as soon as they have arrived, while the commit is still
        under way; not where the task was cancelled before that. With `is_awaited` a cancellation
        waits for the answer, as that of a commit does.

        Raises:
            OutcomeUnknown: it `is_awaited`, and there was no answer.
            psycopg.Error: as `AsyncConnection.execute` does; also after `on_rows` was called.
        """
        values = self._values(connection, parameters)
        async with connection.lock:
            wait = connection._wait_for_commit if is_awaited else connection.wait
            return await wait(self._steps(connection, values, on_rows))

    def _values(
        self, connection: AsyncConnection[Any], parameters: Mapping[str, str | None]
    ) -> Sequence[bytes | None]:
        encoding = connection.pgconn._encoding
        return [
            # Most are not there: without a call for each of these it takes half the time.
            None if (value := parameters[name]) is None else _encoded(value, encoding)
            for name in self.parameters
        ]

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
        yield from self._prepare(connection)
        return (yield from self._execute(connection, values, on_rows))

    def _prepare(self, connection: AsyncConnection[Any]) -> PQGen[None]:
        connection.pgconn.send_prepare(self.name, self.text)
        _check((yield from generators.execute(connection.pgconn)), connection)
        connection._statements.add(self.name)

    def _execute(
        self,
        connection: AsyncConnection[Any],
        values: Sequence[bytes | None],
        on_rows: Callable[[Rows], None] | None,
    ) -> PQGen[Rows]:
        if on_rows is not None:
            return (yield from self._execute_early(connection, values, on_rows))
        connection.pgconn.send_query_prepared(self.name, values)
        return _rows((yield from generators.execute(connection.pgconn)), connection)

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
        results = yield from generators.fetch_many(pgconn)
        rows: Rows = []
        failure: BaseException | None = None
        try:
            rows = _rows(results, connection)
            if not connection._wire.is_ending:  # rule: who was interrupted is given no rows
                on_rows(rows)
        except BaseException as error:  # noqa: BLE001 - raised below, with the pipeline at its end
            failure = error
        try:
            yield from _read_to_the_sync(connection)
        except psycopg.Error as error:
            # What went wrong first is why: a session that is ended says so, and then is gone.
            failure = failure or error
        if failure is not None:
            raise failure
        return rows


def _read_to_the_sync(connection: AsyncConnection[Any]) -> PQGen[None]:
    pgconn = connection.pgconn
    failure: psycopg.Error | None = None
    try:
        while True:
            results = yield from generators.fetch_many(pgconn)
            if any(result.status == _SYNC for result in results):
                break
            if pgconn.status == pq.ConnStatus.BAD:
                raise psycopg.OperationalError("the connection is lost")
            for result in results:
                # The commit failed.
                failure = failure or errors.error_from_result(result, pgconn._encoding)
    except psycopg.Error as error:
        raise failure or error from None
    pgconn.exit_pipeline_mode()
    if failure is not None:
        raise failure


def _encoded(value: str, encoding: str) -> bytes:
    if "\0" in value:
        # libpq would leave out all that follows it; psycopg refuses it likewise.
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return value.encode(encoding)


def _check(results: Sequence[pq.abc.PGresult], connection: AsyncConnection[Any]) -> None:
    """Raise the first error among the results of a statement.

    It may be the last of them: a statement that commits by itself can fail after its rows.
    """
    if not results:
        raise psycopg.InternalError("a statement had no result")
    for result in results:
        if result.status == pq.ExecStatus.PIPELINE_ABORTED:
            raise errors.PipelineAborted("pipeline aborted")
        if result.status != _DONE and result.status not in _ROWS:
            raise errors.error_from_result(result, connection.pgconn._encoding)


def _rows(results: Sequence[pq.abc.PGresult], connection: AsyncConnection[Any]) -> Rows:
    _check(results, connection)
    transformer = connection._transformer
    rows: Rows = []
    for result in results:
        transformer.set_pgresult(result)
        rows += transformer.load_rows(0, result.ntuples, tuple)
    return rows
