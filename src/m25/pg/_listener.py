"""A listener: one connection that hears of notifications, on behalf of any number of subscribers.

A notification is a hint. What was sent while the connection was down is gone, so every connection
that is made begins with a `Gap`: whatever a subscriber waits for may have happened.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import uuid4

import psycopg
import trio

from ._background import Background
from ._backoff import Backoff
from ._connection import AsyncConnection
from ._conninfo import describe, normalize
from ._hearers import Called, Event, Hearer, Subscriber
from ._listening import Listening
from ._wire import check_libpq

if TYPE_CHECKING:
    from ._pool import Pool

_logger = logging.getLogger("m25.pg.listener")

#: The longest name of a channel that PostgreSQL takes, in bytes.
_LONGEST_NAME: Final = 63
#: The longest wait before connecting is tried again, in seconds.
_LONGEST_CONNECTING_WAIT: Final = 2.0

#: How many notifications are read in one turn of the loop, at most.
_TOLD_TOGETHER: Final = 20


class Listener:
    """Listens on one connection of its own: `async with Listener(conninfo) as listener:`.

    Entering it does not wait for the server. It reconnects, with waits that grow to two seconds,
    for as long as its block lasts, and when it has heard nothing for `ping_interval` it notifies
    itself: a link can be dead and look alive.

    Behind a transaction pooler LISTEN succeeds, and nothing is ever heard. That is found out in the
    same way: then `silent` is true, a warning is logged once, and only gaps are received. Nor are
    the channels listened to there: others who share the pooler's sessions would hear them.

    Args:
        conninfo: a conninfo string or URL; nothing, and libpq's environment decides.
        kwargs: for `AsyncConnection.connect`.
        ping_interval: after how long a silence it notifies itself, in seconds.
        ping_timeout: how long it waits for an answer of any kind, in seconds.
    """

    def __init__(
        self,
        conninfo: str = "",
        *,
        kwargs: Mapping[str, Any] | None = None,
        ping_interval: float = 30.0,
        ping_timeout: float = 5.0,
    ) -> None:
        check_libpq()
        self.conninfo: str = normalize(conninfo)
        #: Whether there is a connection.
        self.connected: bool = False
        #: Whether notifications were found not to arrive, on the connection that there is.
        self.silent: bool = False
        self._connect: Callable[..., Awaitable[AsyncConnection[Any]]] = partial(
            AsyncConnection.connect, self.conninfo, **(kwargs or {})
        )
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._echo = f"m25_echo_{uuid4().hex}"
        self._subscribers: set[Hearer] = set()
        #: Whether subscribers came or went since their channels were last listened to.
        self._has_changed = False
        #: Around the wait for notifications: cancelled when subscribers come or go.
        self._hearing = trio.CancelScope()
        self._has_warned = False
        #: The server's process that serves the connection; `None` while there is none.
        self.backend_pid: int | None = None
        self._background = Background("m25.pg.Listener")
        self._nursery: trio.Nursery | None = None

    @classmethod
    def from_pool(
        cls, pool: Pool[Any], *, ping_interval: float = 30.0, ping_timeout: float = 5.0
    ) -> Self:
        """A listener whose connection is opened as those of a pool, by `Pool.connect`; it is no
        part of the pool.
        """
        listener = cls(pool.conninfo, ping_interval=ping_interval, ping_timeout=ping_timeout)
        listener._connect = pool.connect
        return listener

    async def __aenter__(self) -> Self:
        self._nursery = await self._background.__aenter__()
        self._nursery.start_soon(self._listen_for_ever)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        self._nursery = None
        return await self._background.__aexit__(exc_type, exc_val, exc_tb)

    @asynccontextmanager
    async def subscribe(self, *channels: str) -> AsyncGenerator[trio.MemoryReceiveChannel[Event]]:
        """Receive what is notified on these channels.

        The first event is a `Gap`: from then on nothing is missed without another. While the
        receiver is busy, what comes is kept as one `Notification` for each channel. When the
        listener's block is left the channel ends.

        Raises:
            ValueError: a name is empty, longer than 63 bytes, or has a NUL in it.
            RuntimeError: the listener's block is not entered, or was left.
        """
        for channel in channels:
            if not 0 < len(channel.encode()) <= _LONGEST_NAME or "\0" in channel:
                raise ValueError(
                    f"a channel's name has 1 to {_LONGEST_NAME} bytes and no NUL, not {channel!r}"
                )
        if self._nursery is None:
            raise RuntimeError("subscribe() is for the inside of `async with listener:`")
        send, receive = trio.open_memory_channel[Event](0)
        subscriber = Subscriber(frozenset(channels), send)
        self._nursery.start_soon(subscriber.pass_on)
        try:
            with self._among_subscribers(subscriber), receive:
                yield receive
        finally:
            subscriber.scope.cancel()

    def _calling(
        self, call: Callable[[Event], None], *channels: str
    ) -> AbstractContextManager[None]:
        """A block in which `call` is called with each event of these channels, as soon as it has
        come: in the listener's task, so it neither waits nor raises. To receive takes two tasks
        more, and as many turns of Trio's loop: too long for whoever waits for a job.
        """
        return self._among_subscribers(Called(frozenset(channels), call))

    @contextmanager
    def _among_subscribers(self, hearer: Hearer) -> Generator[None]:
        self._subscribers.add(hearer)
        self._change()
        try:
            yield
        finally:
            self._subscribers.discard(hearer)
            self._change()

    def _change(self) -> None:
        self._has_changed = True
        self._hearing.cancel()

    async def _listen_for_ever(self) -> None:
        backoff = Backoff(longest=_LONGEST_CONNECTING_WAIT)
        while True:
            try:
                async with await self._open() as connection:
                    listening = Listening(connection, self._echo, self._ping_timeout)
                    self.backend_pid = connection.info.backend_pid
                    await self._greet(listening)
                    backoff.worked()
                    await self._listen(listening)
            except (psycopg.Error, OSError) as error:
                if backoff.failures == 0:
                    _logger.info(
                        "listening interrupted; reconnecting",
                        extra={"address": describe(self.conninfo), "error": type(error).__name__},
                    )
            finally:
                self.connected = False
                self.backend_pid = None
            await trio.sleep(backoff.failed())

    async def _open(self) -> AsyncConnection[Any]:
        try:
            return await self._connect(autocommit=True)
        except (psycopg.Error, OSError):
            raise
        except Exception as error:
            # A hook or a class of the user's may raise anything, here at each try.
            raise psycopg.OperationalError("connecting failed") from error

    async def _greet(self, listening: Listening) -> None:
        await listening.begin()
        for subscriber in self._subscribers:
            subscriber.is_new = True
        await self._follow(listening)
        self.connected = True

    async def _listen(self, listening: Listening) -> None:
        # The first ping is due at once: it shows whether notifications arrive at all.
        due = -math.inf
        while True:
            await self._follow(listening)
            if trio.current_time() >= due:
                self._judge(await self._ping(listening))
                due = trio.current_time() + self._ping_interval
            elif await self._hear(listening, due) and not self.silent:
                due = trio.current_time() + self._ping_interval

    async def _follow(self, listening: Listening) -> None:
        """Listen to what is subscribed, and tell the subscribers that are new to it."""
        self._has_changed = False
        new = [subscriber for subscriber in self._subscribers if subscriber.is_new]
        # rule: others behind a pooler hear nothing of ours
        if listening.is_our_session:
            await listening.follow({name for each in self._subscribers for name in each.channels})
        for subscriber in new:
            subscriber.offer_gap()

    async def _ping(self, listening: Listening) -> bool:
        """Notify ourselves, and return whether anything was heard."""
        if listening.is_our_session:
            await listening.notify()
        else:
            await self._notify_from_elsewhere()
        deadline = trio.current_time() + self._ping_timeout
        while trio.current_time() < deadline:
            if await self._hear(listening, deadline):
                self._prove(listening)
                return True
            if self._has_changed:
                await self._follow(listening)
        if listening.is_proven:
            # Notifications have arrived on this connection before: so the link is dead.
            raise psycopg.OperationalError("the server does not answer")
        return False

    async def _notify_from_elsewhere(self) -> None:
        """Notify ourselves by another connection, if one is to be had.

        A session hears what it notifies itself within the statement that does it. So behind any
        pooler the listener's own connection would hear it, too, and nothing that others notify.
        """
        with suppress(psycopg.Error, OSError):
            async with await self._open() as other:
                await Listening(other, self._echo, self._ping_timeout).notify()

    def _prove(self, listening: Listening) -> None:
        """Note that notifications do arrive on a connection."""
        listening.is_proven = True
        if not listening.is_our_session:
            # As with a pooler that leaves each client its session: the channels can be listened to.
            listening.is_our_session = True
            for subscriber in self._subscribers:
                subscriber.is_new = True
            self._has_changed = True

    def _judge(self, heard: bool) -> None:
        if self.silent is not heard:
            return
        self.silent = not heard
        for subscriber in self._subscribers:
            subscriber.offer_gap()
        if self.silent and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "notifications do not arrive; is there a transaction pooler in between?",
                extra={"address": describe(self.conninfo)},
            )

    async def _hear(self, listening: Listening, deadline: float) -> bool:
        """Pass on what is notified next; return whether anything was.

        It ends at the deadline, or when subscribers come or go.
        """
        heard = 0
        with trio.CancelScope(deadline=deadline) as self._hearing:
            if self._has_changed:
                return False
            for notice in await listening.notices():
                if not listening.is_for_us(notice):
                    continue
                heard += 1
                for subscriber in self._subscribers:
                    if notice.channel in subscriber.channels:
                        subscriber.offer(notice.channel, notice.payload)
                # Those that were waiting for it are to run before this task listens again, and Trio
                # runs tasks that are ready in any order: so they have had their turn once this
                # task has had two. What comes in a crowd they are told together: a turn of the loop
                # for each costs more than all else about it.
                if heard % _TOLD_TOGETHER == 1:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    await trio.lowlevel.cancel_shielded_checkpoint()
        return heard > 0
