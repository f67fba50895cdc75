"""A pool of connections.

All that changes its state is synchronous and in one class, `_Books`; what that decides (to hand
over, to open, to close) is done afterwards, by `Pool`. So a task that is cancelled at any point
finds, and leaves, the books right.

There is no ping before use: a connection on which the server has closed shows it, and is replaced.
Who finds no connection, and may open one, opens it itself, and has the error if it cannot.
"""

from __future__ import annotations

import random
import select
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import attrs
import psycopg
import trio
from psycopg import pq

from ._connection import AsyncConnection
from ._conninfo import normalize
from ._wire import CLEAN_UP

_IDLE: Final = pq.TransactionStatus.IDLE

#: How long connections that are lent out may take to come back once the pool closes, in seconds.
_LAST_RETURNS: Final = 5.0
#: How often the pool looks for connections that have been idle or alive for too long, in seconds.
_INSPECTION: Final = 30.0

Hook = Callable[[AsyncConnection[Any]], Awaitable[None]]


class PoolTimeout(psycopg.OperationalError):
    """No connection became free within the time one is waited for."""


class PoolClosed(psycopg.OperationalError):
    """The pool's `async with` block has been left, or was not entered."""


@attrs.frozen
class PoolStats:
    """What a pool holds now, and what it has done since it was opened."""

    #: Connections open, or being opened.
    size: int
    idle: int
    waiting: int
    #: Connections lent so far.
    lent: int
    #: Connections opened so far.
    opened: int
    #: Connections closed so far because they were broken, in doubt, or too old.
    discarded: int


@attrs.define(eq=False)
class _Pooled:
    connection: AsyncConnection[Any]
    expires_at: float
    idle_since: float = 0.0


@attrs.define(eq=False)
class _Waiter:
    woken: trio.Event = attrs.field(factory=trio.Event)
    #: A connection; or, where it stays `None`, the right to open one.
    pooled: _Pooled | None = None


class _Books:
    """Who has what. Nothing here waits."""

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        #: Connections open, or being opened.
        self.size = 0
        self.idle: deque[_Pooled] = deque()
        self.waiters: deque[_Waiter] = deque()
        self.lent = 0
        self.opened = 0
        self.discarded = 0

    def may_open(self) -> bool:
        """Take the right to open a connection, if there is one."""
        if self.size >= self.max_size:
            return False
        self.size += 1
        return True

    def give_back(self, pooled: _Pooled, now: float) -> None:
        """A connection is free: the first who waits has it."""
        if self.waiters:
            waiter = self.waiters.popleft()
            waiter.pooled = pooled
            waiter.woken.set()
        else:
            pooled.idle_since = now
            self.idle.append(pooled)

    def lose(self) -> None:
        """A connection is no more, or was not opened: the first who waits may open one."""
        if self.waiters:
            self.waiters.popleft().woken.set()
        else:
            self.size -= 1

    def take_back(self, waiter: _Waiter, now: float) -> None:
        """A waiter gave up: what it was given meanwhile goes to the next."""
        if not waiter.woken.is_set():
            self.waiters.remove(waiter)
        elif waiter.pooled is not None:
            self.give_back(waiter.pooled, now)
        else:
            self.lose()


class Pool:
    """A bounded pool: `async with Pool(conninfo) as pool:`, `async with pool.connection() as c:`.

    Entering it does not connect. Who waits for a connection is served in order.

    Args:
        conninfo: a conninfo string or URL; nothing, and libpq's environment decides.
        min_size: how many connections are kept although idle.
        max_size: how many there are at most.
        timeout: how long to wait for a connection that is lent out, in seconds.
        max_idle: an idle connection beyond `min_size` is closed after so many seconds.
        max_lifetime: a connection is closed after so many seconds, less up to a tenth by chance, so
            that those opened together are not closed together.
        configure: awaited with each connection once it is open.
        reset: awaited with each connection that comes back.
        kwargs: for `AsyncConnection.connect`.
    """

    def __init__(
        self,
        conninfo: str = "",
        *,
        min_size: int = 0,
        max_size: int = 4,
        timeout: float = 30.0,
        max_idle: float = 600.0,
        max_lifetime: float = 3600.0,
        configure: Hook | None = None,
        reset: Hook | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        if not 0 <= min_size <= max_size or max_size < 1:
            raise ValueError(
                f"a pool's sizes must be 0 <= min_size <= max_size and 1 <= max_size, not "
                f"{min_size} and {max_size}"
            )
        self.conninfo = normalize(conninfo)
        self._min_size = min_size
        self._timeout = timeout
        self._max_idle = max_idle
        self._max_lifetime = max_lifetime
        self._configure = configure
        self._reset = reset
        self._kwargs = kwargs or {}
        self._books = _Books(max_size)
        self._open = False
        self._returned = trio.Event()
        self._inspector: Any = None

    async def __aenter__(self) -> Self:
        self._inspector = self._inspecting()
        await self._inspector.__aenter__()
        self._open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._open = False
        try:
            await self._inspector.__aexit__(None, None, None)
        finally:
            await self._close()

    def stats(self) -> PoolStats:
        """What the pool holds now, and has done so far."""
        books = self._books
        return PoolStats(
            size=books.size,
            idle=len(books.idle),
            waiting=len(books.waiters),
            lent=books.lent,
            opened=books.opened,
            discarded=books.discarded,
        )

    @asynccontextmanager
    async def connection(
        self, timeout: float | None = None
    ) -> AsyncGenerator[AsyncConnection[Any]]:
        """Lend a connection. Its transaction is committed at the end, or rolled back on an
        exception.

        Raises:
            PoolTimeout: none became free within `timeout` seconds, or the pool's.
            PoolClosed: the pool's block was left.
            psycopg.OperationalError: a connection had to be opened, and could not be.
        """
        pooled = await self._acquire(self._timeout if timeout is None else timeout)
        try:
            connection = pooled.connection
            yield connection
            if connection.pgconn.transaction_status != _IDLE:
                await connection.commit()
        finally:
            await self._release(pooled)

    async def _acquire(self, timeout: float) -> _Pooled:
        await trio.lowlevel.checkpoint_if_cancelled()
        books = self._books
        if not self._open:
            raise PoolClosed("the pool is closed")
        while books.idle:
            pooled = books.idle.pop()
            if not self._is_stale(pooled):
                books.lent += 1
                return pooled
            await self._discard(pooled)
        if not books.may_open():
            waiter = _Waiter()
            books.waiters.append(waiter)
            try:
                with trio.move_on_after(timeout):
                    await waiter.woken.wait()
            except BaseException:
                books.take_back(waiter, trio.current_time())
                raise
            if not waiter.woken.is_set():
                books.take_back(waiter, trio.current_time())
                raise PoolTimeout(f"no connection became free within {timeout:g} s")
            if not self._open:
                books.take_back(waiter, trio.current_time())
                raise PoolClosed("the pool is closed")
            if waiter.pooled is not None:
                books.lent += 1
                return waiter.pooled
        return await self._connect()

    async def _connect(self) -> _Pooled:
        """Open the connection that the books have been told of."""
        try:
            connection = await AsyncConnection.connect(self.conninfo, **self._kwargs)
            try:
                if self._configure is not None:
                    await self._configure(connection)
            except BaseException:
                await _close(connection)
                raise
        except BaseException:
            self._books.lose()
            raise
        self._books.opened += 1
        self._books.lent += 1
        lifetime = self._max_lifetime * random.uniform(0.9, 1.0)  # noqa: S311 - it spreads load
        return _Pooled(connection, trio.current_time() + lifetime)

    async def _release(self, pooled: _Pooled) -> None:
        connection = pooled.connection
        with trio.move_on_after(CLEAN_UP, shield=True):
            try:
                status = connection.pgconn.transaction_status
                if status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR):
                    await connection.rollback()
                if self._reset is not None and not connection.closed:
                    await self._reset(connection)
            except Exception:  # noqa: BLE001 - whatever it was, the connection goes
                await connection.close()
        usable = not connection.closed and connection.pgconn.transaction_status == _IDLE
        if usable and self._open and trio.current_time() < pooled.expires_at:
            self._books.give_back(pooled, trio.current_time())
        else:
            await self._discard(pooled)
        self._returned.set()

    def _is_stale(self, pooled: _Pooled) -> bool:
        connection = pooled.connection
        if connection.closed or trio.current_time() >= pooled.expires_at:
            return True
        if _has_input(connection.pgconn.socket):
            # Nothing was asked: it is a notice, or the end of the connection.
            try:
                connection.pgconn.consume_input()
            except psycopg.OperationalError:
                return True
        return connection.pgconn.status != pq.ConnStatus.OK

    async def _discard(self, pooled: _Pooled) -> None:
        self._books.discarded += 1
        self._books.lose()
        await _close(pooled.connection)

    @asynccontextmanager
    async def _inspecting(self) -> AsyncGenerator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._inspect)
            yield
            nursery.cancel_scope.cancel()

    async def _inspect(self) -> None:
        """Close connections that have been idle for too long; keep `min_size` open."""
        while True:
            now = trio.current_time()
            books = self._books
            while (
                books.idle
                and books.size > self._min_size
                and books.idle[0].idle_since + self._max_idle <= now
            ):
                await self._discard(books.idle.popleft())
            try:
                while books.size < self._min_size and books.may_open():
                    books.give_back(await self._connect(), trio.current_time())
            except (psycopg.Error, OSError):
                # Who needs one will try, and have the error.
                pass
            await trio.sleep(min(_INSPECTION, self._max_idle))

    async def _close(self) -> None:
        books = self._books
        while books.waiters:
            books.waiters.popleft().woken.set()
            books.size += 1
        while books.idle:
            await self._discard(books.idle.popleft())
        with trio.move_on_after(_LAST_RETURNS):
            while books.size > 0:
                self._returned = trio.Event()
                await self._returned.wait()


async def _close(connection: AsyncConnection[Any]) -> None:
    with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEAN_UP):
        await connection.close()


def _has_input(fileno: int) -> bool:
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fileno, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([fileno], [], [], 0)[0])
