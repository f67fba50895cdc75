"""A pool of connections; long, since all that it does changes one state.

Who has which connection is written in one place, the pool's state, by functions that do not wait;
what follows from it (a connection to open, to close, to lend) is done afterwards, by `Pool`. So a
task that is cancelled at any point finds, and leaves, the state right.

    the caller's task            async with pool.connection() as connection
    the pool's own nursery
    ├─ opener (one for each connection that is to be opened): tries, with growing waits
    └─ caretaker: closes what has been idle, or alive, for too long, and keeps `min_size`
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from types import TracebackType
from typing import Any, Final, Generic, Self

import psycopg
import trio
from psycopg import pq

from ._background import Background
from ._backoff import Backoff
from ._connection import AsyncConnection
from ._conninfo import describe, normalize
from ._errors import PoolClosed, PoolTimeout
from ._pool_state import C, Pooled, PoolState, PoolStats, Waiter
from ._wakeup import Wakeup
from ._wire import CLEAN_UP, check_libpq

_IDLE: Final = pq.TransactionStatus.IDLE
_IN_TRANSACTION: Final = (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)

#: The longest time between two looks of the caretaker, in seconds.
_CARE_INTERVAL: Final = 30.0
#: The longest wait before opening a connection is tried again, in seconds.
_LONGEST_OPENING_WAIT: Final = 2.0


class Pool(Generic[C]):
    """A bounded pool: `async with Pool(conninfo) as pool:`, `async with pool.connection() as c:`.

    Entering it does not wait for the server. Connections are opened when they are needed, by the
    pool's own tasks. Tasks that wait for one are served in order. There is no ping before each use:
    a connection which the server has closed shows it, and is replaced; so is one that comes back
    broken or in use.

    Until the pool has had its first connection, an error in opening one is raised at once, as the
    address is probably wrong. Later the server is probably away for a while: the pool goes on
    trying, with waits that grow to two seconds, and a task that wants one waits for `timeout`.

    Args:
        conninfo: a conninfo string or URL; nothing, and libpq's environment decides.
        connection_class: what to open; with it goes the type of the rows.
        kwargs: for its `connect`.
        min_size: how many connections are kept although idle.
        max_size: how many there are at most.
        timeout: how long to wait for a connection, in seconds.
        max_idle: an idle connection beyond `min_size` is closed after so many seconds.
        max_lifetime: a connection is closed after so many seconds, less up to a tenth by chance, so
            that those opened together are not closed together. One that is lent is closed when it
            is back.
        close_timeout: how long leaving the block waits for connections that are lent, in seconds;
            then they are closed.
        configure: awaited with each connection once it is open.
        reset: awaited with each connection that comes back, out of any transaction; in 5 seconds at
            most.
    """

    def __init__(
        self,
        conninfo: str = "",
        *,
        connection_class: type[C] = AsyncConnection,  # type: ignore[assignment]
        kwargs: Mapping[str, Any] | None = None,
        min_size: int = 0,
        max_size: int = 4,
        timeout: float = 30.0,
        max_idle: float = 600.0,
        max_lifetime: float = 3600.0,
        close_timeout: float = 5.0,
        configure: Callable[[C], Awaitable[None]] | None = None,
        reset: Callable[[C], Awaitable[None]] | None = None,
    ) -> None:
        check_libpq()
        if not 0 <= min_size <= max_size or max_size < 1:
            raise ValueError(
                "a pool's sizes must be 0 <= min_size <= max_size and 1 <= max_size, not "
                f"{min_size} and {max_size}"
            )
        self.conninfo: str = normalize(conninfo)
        self._connection_class = connection_class
        self._kwargs = dict(kwargs or {})
        self._timeout = timeout
        self._max_idle = max_idle
        self._max_lifetime = max_lifetime
        self._close_timeout = close_timeout
        self._configure = configure
        self._reset = reset
        self._state = PoolState[C](min_size, max_size)
        self._lent: set[Pooled[C]] = set()
        #: Set when a connection that was lent is back.
        self._returned = Wakeup()
        #: The latest error of a hook, or in opening a connection.
        self._error: Exception | None = None
        self._has_connected = False
        #: How many tasks are in `wait`: for them an error in opening a connection is not the end.
        self._waiting_for_server = 0
        self._background = Background("m25.pg.Pool")
        self._nursery: trio.Nursery | None = None
        #: In these scopes connections are being opened.
        self._opening: set[trio.CancelScope] = set()
        #: Whether the block was cancelled from outside: who waits after that is shielded from it.
        self._is_cancelled = False

    async def __aenter__(self) -> Self:
        self._nursery = await self._background.__aenter__()
        self._nursery.start_soon(self._take_care)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        self._nursery = None
        try:
            await self._shut_down()
        except trio.Cancelled:
            # An exception of the block must not be lost for that. The cancellation comes again, at
            # the next checkpoint.
            if exc_val is None:
                raise
        finally:
            self._stop_opening()
            try:
                stopped = await self._background.__aexit__(exc_type, exc_val, exc_tb)
            finally:
                # Some may have been opened since.
                for pooled in (*self._state.idle, *self._lent):
                    pooled.connection._wire.finish()
        return stopped

    def stats(self) -> PoolStats:
        """What the pool holds now, and has done so far."""
        return self._state.stats()

    async def wait(self, timeout: float | None = None) -> None:
        """Wait until the server accepts: until there is a connection, which stays for whoever needs
        it.

        Raises:
            PoolTimeout: it does not within `timeout` seconds, or the pool's.
            PoolClosed: the pool's block was left.
        """
        with self._not_failing_at_once():
            async with self.connection(timeout):
                pass

    def connection(self, timeout: float | None = None) -> AbstractAsyncContextManager[C]:
        """Lend a connection. At the end its transaction is committed, or rolled back on an
        exception.

        Raises:
            PoolTimeout: none was free or could be opened within `timeout` seconds, or the pool's.
            PoolClosed: the pool's block was left, or not entered.
            psycopg.OperationalError: the pool's first connection could not be opened.
            psycopg.ProgrammingError: it is given back while it is in use, uncommitted.
            psycopg.errors.InFailedSqlTransaction: the end of the block was reached, but nothing was
                committed, as a statement had failed and its error was caught inside.
            OutcomeUnknown: the server was asked to commit, and did not answer.
        """
        return Loan(self, self._timeout if timeout is None else timeout)

    async def connect(self, **kwargs: Any) -> C:
        """Open a connection beside the pool, exactly as the pool opens its own: at its address, of
        its class, with its `kwargs`, and seen by `configure`. It is the caller's, who closes it.

        Args:
            kwargs: for the class's `connect`, before those of the pool.

        Raises:
            psycopg.Error: it could not be opened.
        """
        connection = await self._connection_class.connect(
            self.conninfo, **{**self._kwargs, **kwargs}
        )
        try:
            if self._configure is not None:
                await self._configure(connection)
                if connection.pgconn.transaction_status != _IDLE:
                    raise psycopg.ProgrammingError(
                        "configure() left the connection in a transaction: commit, or roll back"
                    )
        except BaseException:
            connection._wire.finish()
            raise
        return connection

    async def _acquire(self, timeout: float) -> Pooled[C]:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._nursery is None:
            raise PoolClosed("the pool is closed")
        state = self._state
        while (pooled := state.pop_idle()) is not None:
            if not self._is_spent(pooled):
                break
            # There is something to read though nothing was asked: most likely the server closed it.
            state.discard()
            pooled.connection._wire.finish()
        else:
            pooled = await self._wait_for_one(timeout)
        state.lent += 1
        self._lent.add(pooled)
        return pooled

    async def _wait_for_one(self, timeout: float) -> Pooled[C]:
        state = self._state
        waiter = Waiter[C]()
        state.waiters.append(waiter)
        self._open_what_is_needed()
        try:
            with trio.move_on_after(timeout):
                await waiter.served.wait()
        except BaseException:
            self._give_up(waiter)
            raise
        if waiter.pooled is not None:
            return waiter.pooled
        if waiter.error is not None:
            raise _for_one_task(waiter.error) from waiter.error
        self._give_up(waiter)
        raise PoolTimeout(
            f"no connection to {describe(self.conninfo)} was free, or could be opened, "
            f"within {timeout:g} s"
        ) from self._error

    def _give_up(self, waiter: Waiter[C]) -> None:
        """A task waits for a connection no more."""
        self._state.remove_waiter(waiter, trio.current_time())
        if self._is_unwanted():
            self._stop_opening()

    def _is_unwanted(self) -> bool:
        """Whether the pool's block was cancelled, and nobody is shielded from that and waits."""
        return self._is_cancelled and not self._state.waiters

    async def _release(self, pooled: Pooled[C]) -> None:
        connection = pooled.connection
        in_transaction = connection.pgconn.transaction_status in _IN_TRANSACTION
        if connection.lock.locked():
            # A task or a generator still uses it: a rollback would wait for that for ever.
            connection._wire.finish()
        elif (in_transaction or self._reset is not None) and not connection.closed:
            with trio.move_on_after(CLEAN_UP, shield=True) as scope:
                try:
                    if in_transaction:
                        await connection.rollback()
                    if self._reset is not None:
                        await self._reset(connection)
                except Exception as error:  # noqa: BLE001 - whatever it was, the connection goes
                    self._error = error
                    connection._wire.finish()
            if scope.cancelled_caught:
                connection._wire.finish()
        self._take_back(pooled)

    def _take_back(self, pooled: Pooled[C]) -> None:
        self._lent.discard(pooled)
        pgconn = pooled.connection.pgconn
        now = trio.current_time()
        if (
            pgconn.transaction_status == _IDLE
            and not pgconn.pipeline_status
            and now < pooled.expires_at
            and self._nursery is not None
            # rule: a session of a former primary is not lent again
            and not (pooled.took_writes and pooled.connection._wire.refuses_writes)
        ):
            # What was notified meanwhile, behind a pooler perhaps to somebody else, is not for
            # whoever has the connection next, and would be kept for ever where nobody asks for it.
            if backlog := pooled.connection._notifies_backlog:
                backlog.clear()
            self._state.put_free(pooled, now)
        else:
            self._state.discard()
            pooled.connection._wire.finish()
            self._open_what_is_needed()
        self._returned.set()

    def _is_spent(self, pooled: Pooled[C]) -> bool:
        connection = pooled.connection
        return (
            connection.closed
            or trio.current_time() >= pooled.expires_at
            or connection._wire.has_input()
        )

    def _open_what_is_needed(self) -> None:
        if self._nursery is not None and not self._is_unwanted():
            for _ in range(self._state.start_opening()):
                self._nursery.start_soon(self._open)

    def _stop_opening(self) -> None:
        for scope in self._opening:
            scope.cancel()

    async def _open(self) -> None:
        """Open a connection that the state counts as being opened.

        A cancellation from outside does not reach this: whoever is shielded from it, and writes the
        last that is to be written, may have no connection yet. Once nobody waits, it ends all the
        same: see `_give_up`.
        """
        with trio.CancelScope(shield=True) as scope:  # rule: who is shielded has one opened
            self._opening.add(scope)
            if self._nursery is None or self._is_unwanted():
                scope.cancel()
            try:
                await self._open_one()
            finally:
                self._opening.discard(scope)
        # Where this was cancelled since nobody waited, somebody may have come meanwhile.
        self._open_what_is_needed()

    async def _open_one(self) -> None:
        state = self._state
        backoff = Backoff(longest=_LONGEST_OPENING_WAIT)
        try:
            while state.is_opening_needed():
                try:
                    pooled = await self._connect()
                except Exception as error:  # noqa: BLE001 - a hook of the user's may raise anything
                    self._error = error
                    state.failed += 1
                    if not (self._has_connected or self._waiting_for_server):
                        state.fail_waiters(error)
                else:
                    self._has_connected = True
                    self._error = None
                    state.finish_opening(pooled, trio.current_time())
                    return
                await trio.sleep(backoff.failed())
            state.abandon_opening()
        except BaseException:
            state.abandon_opening()
            raise

    async def _connect(self) -> Pooled[C]:
        connection = await self.connect()
        lifetime = self._max_lifetime * random.uniform(0.9, 1.0)  # noqa: S311 - it spreads load
        expires_at = trio.current_time() + lifetime
        return Pooled(connection, expires_at, not connection._wire.refuses_writes)

    async def _take_care(self) -> None:
        try:
            while True:
                self._open_what_is_needed()
                await trio.sleep(min(_CARE_INTERVAL, self._max_idle / 2, self._max_lifetime / 2))
                for pooled in self._state.pop_overdue(trio.current_time(), self._max_idle):
                    self._state.discard()
                    await pooled.connection.close()
        finally:
            self._is_cancelled = True
            if self._is_unwanted():
                self._stop_opening()

    @contextmanager
    def _not_failing_at_once(self) -> Generator[None]:
        self._waiting_for_server += 1
        try:
            yield
        finally:
            self._waiting_for_server -= 1

    async def _shut_down(self) -> None:
        self._state.fail_waiters(PoolClosed("the pool is closed"))
        with trio.move_on_after(self._close_timeout):
            while self._lent:
                await self._returned.wait()
        while (pooled := self._state.pop_idle()) is not None:
            self._state.discard()
            await pooled.connection.close()


class Loan(AbstractAsyncContextManager[C, None]):
    """A connection that is lent for the length of a block."""

    # A class, not a generator: every statement of a pool goes through it, and a generator would
    # cost more than all that is done here.
    __slots__ = ("_pool", "_pooled", "_timeout")

    def __init__(self, pool: Pool[C], timeout: float) -> None:
        self._pool = pool
        self._timeout = timeout
        self._pooled: Pooled[C] | None = None

    async def __aenter__(self) -> C:
        if self._pooled is not None:
            raise RuntimeError("a connection is lent once: call connection() again for another")
        self._pooled = await self._pool._acquire(self._timeout)
        return self._pooled.connection

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        assert self._pooled is not None
        connection = self._pooled.connection
        try:
            if (
                exc_type is None
                and connection.pgconn.transaction_status != _IDLE
                and not connection.closed
            ):
                if connection.lock.locked():
                    raise psycopg.ProgrammingError(
                        "the connection is still in use where it is given back: by another task,"
                        " or by a generator such as stream(), which wants `async with aclosing(…)`"
                    )
                await connection._commit_block()
        finally:
            await self._pool._release(self._pooled)


def _for_one_task(error: Exception) -> Exception:
    """A copy of an error: one object raised in several tasks would mix their tracebacks."""
    if isinstance(error, psycopg.Error):
        return type(error)(*error.args)
    return PoolTimeout(f"configure() failed: {type(error).__name__}")
