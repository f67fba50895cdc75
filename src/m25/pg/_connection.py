"""psycopg's async connection, waiting by Trio."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import shuffle
from types import TracebackType
from typing import Any, Final

import psycopg
import trio
from psycopg import errors, pq
from psycopg._capabilities import capabilities
from psycopg._conninfo_utils import get_param, is_ip_address, split_attempts
from psycopg.abc import RV, AdaptContext, ConnDict, ConnParam, PQGen
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_to_dict, make_conninfo, timeout_from_conninfo
from psycopg.rows import AsyncRowFactory, Row
from psycopg.transaction import AsyncTransaction

from ._wait import wait, wait_connecting

if sys.version_info >= (3, 11):
    from typing import Self

#: How long, in seconds, ending what a cancelled task left under way may take; then the connection is
#: closed.
CLEAN_UP: Final = 5.0

_ACTIVE: Final = pq.TransactionStatus.ACTIVE
_INTERRUPTIONS: Final = (trio.Cancelled, KeyboardInterrupt, SystemExit)


class AsyncConnection(psycopg.AsyncConnection[Row]):
    """A connection to PostgreSQL, for Trio programs. All else is as in `psycopg.AsyncConnection`.

    Every call is a checkpoint, and can be cancelled: the query is then cancelled on the server, and
    the connection is either usable or closed. Tasks that share a connection take turns.
    """

    def __init__(self, pgconn: pq.abc.PGconn, row_factory: Any = psycopg.rows.tuple_row) -> None:
        super().__init__(pgconn, row_factory)
        # Not a `trio.Lock`, which belongs to a task: psycopg's generators may be closed in another.
        # psycopg declares asyncio's lock, of which it uses `async with` alone.
        self.lock: Any = trio.Semaphore(1, max_value=1)

    @classmethod
    async def connect(
        cls,
        conninfo: str = "",
        *,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Any] | None = None,
        cursor_factory: type[psycopg.AsyncCursor[Any]] | None = None,
        **kwargs: ConnParam,
    ) -> Self:
        """Connect to the first host that accepts, in order or, if `load_balance_hosts` says so, by
        chance; each has `connect_timeout` seconds.

        Raises:
            psycopg.OperationalError: none did; the message names each and why.
        """
        params = await cls._get_connection_params(conninfo, **kwargs)
        timeout = timeout_from_conninfo(params)
        failures: list[tuple[ConnDict, psycopg.Error]] = []
        for attempt in await _attempts(params):
            try:
                connection = await wait_connecting(
                    cls._connect_gen(make_conninfo("", **attempt)), timeout
                )
            except errors._WaitTimeout:
                failures.append((attempt, errors.ConnectionTimeout("connection timeout expired")))
            except psycopg.Error as error:
                failures.append((attempt, error))
            else:
                break
        else:
            raise _no_host_accepts(failures)
        connection._autocommit = autocommit
        connection.prepare_threshold = prepare_threshold
        if row_factory is not None:
            connection.row_factory = row_factory
        if cursor_factory is not None:
            connection.cursor_factory = cursor_factory
        if context is not None:
            connection._adapters = AdaptersMap(context.adapters)
        return connection

    @classmethod
    async def _get_connection_params(cls, conninfo: str, **kwargs: Any) -> ConnDict:
        return conninfo_to_dict(conninfo, **kwargs)

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = 0.1,  # noqa: ARG002 - psycopg's signature; Trio needs no polling
        timeout: float | None = None,
    ) -> RV:
        """Run the steps of an operation on this connection, and return its result.

        Interrupted, it cancels the query on the server and reads the connection to its end, or
        closes it, in a shielded scope of at most `CLEAN_UP` seconds.
        """
        try:
            return await wait(gen, self.pgconn.socket, timeout)
        except _INTERRUPTIONS:
            if self.pgconn.transaction_status == _ACTIVE:
                await self._abort(gen)
            raise

    async def _abort(self, gen: PQGen[Any]) -> None:
        if self.pgconn.pipeline_status:
            # Which of its commands ran cannot be told.
            self._finish()
            return
        with trio.move_on_after(CLEAN_UP, shield=True) as scope:
            try:
                await self.cancel_safe(timeout=CLEAN_UP)
                await wait(gen, self.pgconn.socket)
            except errors.QueryCanceled:
                pass
            except BaseException as error:
                self._finish()
                if not isinstance(error, Exception):
                    raise
        if scope.cancelled_caught or self.pgconn.transaction_status == _ACTIVE:
            self._finish()

    def _finish(self) -> None:
        """Close without a word: the connection is in an unknown state."""
        if self.pgconn.status != pq.ConnStatus.BAD or self.pgconn.socket >= 0:
            self._notify_closing()
        self.pgconn.finish()

    def _notify_closing(self) -> None:
        try:
            trio.lowlevel.notify_closing(self.pgconn.socket)
        except (RuntimeError, psycopg.Error):
            # Outside Trio nobody waits for it; and a socket that is gone is closed already.
            return

    async def close(self) -> None:
        """Close the connection; who waits for it gets an `OperationalError`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self.closed:
            self._notify_closing()
        await super().close()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if exc_type is None:
            await super().__aexit__(exc_type, exc_val, exc_tb)
            return
        with trio.move_on_after(CLEAN_UP, shield=True):
            await super().__aexit__(exc_type, exc_val, exc_tb)
        if not self.closed:
            self._finish()

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Ask the server to cancel the query under way; as psycopg's, in at most `timeout` seconds.

        Raises:
            psycopg.errors.CancellationTimeout: the request was not taken in time.
        """
        if not self._should_cancel():
            return
        if not capabilities.has_cancel_safe():
            # libpq before 17 can only do it blocking.
            await trio.to_thread.run_sync(self.cancel, abandon_on_cancel=True)
            return
        try:
            await wait_connecting(self._cancel_gen(), timeout or None)
        except errors._WaitTimeout:
            raise errors.CancellationTimeout("cancellation timeout expired") from None

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncGenerator[AsyncTransaction]:
        """A block in a transaction, or nested in one in a savepoint; as psycopg's.

        Left by an exception, a cancellation too, it is rolled back, in a shielded scope of at most
        `CLEAN_UP` seconds; the connection is closed where that does not succeed.
        """
        transaction = _Transaction(self, savepoint_name, force_rollback)
        if self._pipeline:
            async with self.pipeline(), transaction, self.pipeline():
                yield transaction
        else:
            async with transaction:
                yield transaction


class _Transaction(AsyncTransaction):
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        if exc_type is None:
            return await super().__aexit__(exc_type, exc_val, exc_tb)
        with trio.move_on_after(CLEAN_UP, shield=True):
            return await super().__aexit__(exc_type, exc_val, exc_tb)
        await self.connection.close()
        return False


async def _attempts(params: ConnDict) -> list[ConnDict]:
    """The hosts to try, one after the other, each with the address its name resolves to."""
    prefers_standby = get_param(params, "target_session_attrs") == "prefer-standby"
    if prefers_standby:
        params = {key: value for key, value in params.items() if key != "target_session_attrs"}
    attempts: list[ConnDict] = []
    failure: psycopg.OperationalError | None = None
    for attempt in split_attempts(params):
        try:
            attempts += await _resolve(attempt)
        except OSError as error:
            host = attempt.get("host")
            failure = psycopg.OperationalError(f"failed to resolve host {host!r}: {error}")
            failure.__cause__ = error
    if failure is not None and not attempts:
        raise failure
    if get_param(params, "load_balance_hosts") == "random":
        shuffle(attempts)
    if prefers_standby:
        return [{**attempt, "target_session_attrs": "standby"} for attempt in attempts] + attempts
    return attempts


async def _resolve(attempt: ConnDict) -> list[ConnDict]:
    host = get_param(attempt, "host")
    if not host or host.startswith("/") or host[1:2] == ":" or get_param(attempt, "hostaddr"):
        return [attempt]
    if is_ip_address(host):
        return [{**attempt, "hostaddr": host}]
    port = get_param(attempt, "port") or "5432"
    found = await trio.socket.getaddrinfo(
        host, port, proto=socket.IPPROTO_TCP, type=socket.SOCK_STREAM
    )
    return [{**attempt, "hostaddr": address[0]} for *_, address in found]


def _no_host_accepts(failures: list[tuple[ConnDict, psycopg.Error]]) -> psycopg.Error:
    _, latest = failures[-1]
    if len(failures) == 1:
        return latest.with_traceback(None)
    lines = [str(latest), "Multiple connection attempts failed. All failures were:"]
    for attempt, error in failures:
        place = ", ".join(f"{key}: {attempt.get(key)!r}" for key in ("host", "port", "hostaddr"))
        lines.append(f"- {place}: {error}")
    return type(latest)("\n".join(lines), pgconn=latest.pgconn)
