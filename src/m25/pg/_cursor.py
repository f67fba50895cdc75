"""psycopg's cursors, by two of Trio's rules: a fetch can be cancelled and lets other tasks run,
though it has nothing to wait for; and a server cursor is closed on the server, also by a task that
is cancelled.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import psycopg
import trio
from psycopg import generators, pq
from psycopg.abc import Params, PQGen, Query
from psycopg.copy import AsyncCopy, AsyncQueuedLibpqWriter, AsyncWriter
from psycopg.rows import Row

from ._wire import CLEAN_UP, INTERRUPTIONS

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

#: Results of a query that has more rows to come.
_SOME_ROWS: Final = (pq.ExecStatus.SINGLE_TUPLE, pq.ExecStatus.TUPLES_CHUNK)


class AsyncCursor(psycopg.AsyncCursor[Row]):
    """`psycopg.AsyncCursor` on Trio.

    Rows that have arrived are handed out without a wait: fetching them can be cancelled each time,
    and lets other tasks run at least every 5 milliseconds.
    """

    __module__ = "m25.pg"
    __slots__ = ()

    async def _fetch_pipeline(self) -> None:
        # psycopg calls it at the start of each fetch.
        await self._conn._wire.checkpoint_if_due()  # type: ignore[attr-defined]
        await super()._fetch_pipeline()

    def _stream_send_gen(self, *args: Any, **kwargs: Any) -> PQGen[None]:
        yield from super()._stream_send_gen(*args, **kwargs)
        self._conn._wire.is_row_by_row = True  # type: ignore[attr-defined]

    def _stream_fetchone_gen(self, first: bool) -> PQGen[PGresult | None]:
        # psycopg's passes over an error that comes after the last row: that of the implicit commit.
        result: PGresult | None = yield from generators.fetch(self._pgconn)
        if result is None:
            return None
        if result.status in _SOME_ROWS:
            # Declared by psycopg as what it is or `None`; set as it sets it.
            cursor: Any = self
            cursor.pgresult = result
            self._tx.set_pgresult(result, set_loaders=first)
            if first:
                self._make_row = self._make_row_maker()
            return result
        self._check_results([result])
        self._check_results([result, *(yield from generators.fetch_many(self._pgconn))])
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise psycopg.ProgrammingError("the operation in stream() didn't produce a result")
        return None

    @asynccontextmanager
    async def copy(
        self,
        statement: Query,
        params: Params | None = None,
        *,
        writer: AsyncWriter | None = None,
    ) -> AsyncGenerator[AsyncCopy]:
        """Begin a `COPY`, as psycopg's.

        Raises:
            psycopg.NotSupportedError: `writer` is psycopg's `AsyncQueuedLibpqWriter`.
        """
        if isinstance(writer, AsyncQueuedLibpqWriter):
            raise psycopg.NotSupportedError(
                "AsyncQueuedLibpqWriter writes in an asyncio task that belongs to nobody, which"
                " Trio does not have; leave it out, and write from a task of your own if need be"
            )
        async with super().copy(statement, params, writer=writer) as copy:
            yield copy


class AsyncClientCursor(AsyncCursor[Row], psycopg.AsyncClientCursor[Row]):
    """`psycopg.AsyncClientCursor` on Trio: parameters are merged into the query by the client."""

    __module__ = "m25.pg"
    __slots__ = ()


class AsyncRawCursor(AsyncCursor[Row], psycopg.AsyncRawCursor[Row]):
    """`psycopg.AsyncRawCursor` on Trio: placeholders are PostgreSQL's, `$1`."""

    __module__ = "m25.pg"
    __slots__ = ()


class AsyncServerCursor(AsyncCursor[Row], psycopg.AsyncServerCursor[Row]):
    """`psycopg.AsyncServerCursor` on Trio: rows stay on the server until they are asked for."""

    __module__ = "m25.pg"
    __slots__ = ()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close the cursor; if an exception leaves the block, in a shielded scope of 5 seconds at
        most.
        """
        if exc_type is None:
            try:
                await super().__aexit__(exc_type, exc_val, exc_tb)
            except INTERRUPTIONS:
                await self._close_in_any_case()
                raise
        else:
            await self._close_in_any_case()

    async def _close_in_any_case(self) -> None:
        with trio.move_on_after(CLEAN_UP, shield=True), suppress(psycopg.Error):
            await self.close()
        # If the server could not be told to close it, the end of its transaction closes it.
        self._close()


class AsyncRawServerCursor(AsyncServerCursor[Row], psycopg.AsyncRawServerCursor[Row]):
    """`psycopg.AsyncRawServerCursor` on Trio: both of the above."""

    __module__ = "m25.pg"
    __slots__ = ()
