"""A listener: one connection that hears of notifications, on behalf of any number of subscribers.

A notification is a hint. What was sent while the connection was down is gone, so every connection
made begins with a `Gap`: whatever a subscriber waits for may have happened.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString, Self
from uuid import uuid4

import attrs
import psycopg
import trio
from psycopg import sql

from ._connection import AsyncConnection
from ._conninfo import describe, normalize

_logger = logging.getLogger("m25.pg.listener")

_FIRST_PAUSE: Final = 0.1  # seconds
_LONGEST_PAUSE: Final = 2.5  # seconds


@attrs.frozen
class Notification:
    """Somebody notified this channel, once or more often since the last one was received."""

    channel: str
    #: The latest payload.
    payload: str


@attrs.frozen
class Gap:
    """The connection is new: something may have been missed before it."""


Event = Notification | Gap


@attrs.define(eq=False)
class _Subscriber:
    channels: frozenset[str]
    #: What was not received yet: the latest of each channel, and of gaps.
    waiting: dict[str | None, Event] = attrs.field(factory=dict[str | None, Event])
    rung: trio.Event = attrs.field(factory=trio.Event)

    def offer(self, key: str | None, event: Event) -> None:
        self.waiting[key] = event
        self.rung.set()

    async def pass_on(self, send: trio.MemorySendChannel[Event]) -> None:
        """Send what is waiting, as fast as it is received."""
        async with send:
            while True:
                await self.rung.wait()
                key = next(iter(self.waiting))
                event = self.waiting.pop(key)
                if not self.waiting:
                    self.rung = trio.Event()
                await send.send(event)


class Listener:
    """Listens on one connection of its own: `async with Listener(conninfo) as listener:`.

    It reconnects, with growing pauses, for as long as its block lasts, and pings the server when it
    has been silent for `ping_interval` seconds: a link can be dead and look alive.

    Behind a transaction pooler LISTEN succeeds, and nothing is ever heard. It finds out by
    notifying itself: then `silent` is true, a warning is logged once, and nothing but gaps are
    received.
    """

    def __init__(
        self, conninfo: str = "", *, ping_interval: float = 30.0, ping_timeout: float = 5.0
    ) -> None:
        self.conninfo = normalize(conninfo)
        #: Whether notifications were found not to arrive.
        self.silent = False
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._echo = f"m25_echo_{uuid4().hex}"
        self._subscribers: set[_Subscriber] = set()
        #: Whether there are other subscribers than when the channels were last followed.
        self._changed = False
        self._hearing = trio.CancelScope()
        self._serving: Any = None

    async def __aenter__(self) -> Self:
        self._serving = self._serve()
        await self._serving.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._serving.__aexit__(None, None, None)

    @asynccontextmanager
    async def subscribe(self, *channels: str) -> AsyncGenerator[trio.MemoryReceiveChannel[Event]]:
        """Receive what is notified on these channels; while the receiver is busy, at most the
        latest of each channel is kept for it.
        """
        send, receive = trio.open_memory_channel[Event](0)
        subscriber = _Subscriber(frozenset(channels))
        self._subscribers.add(subscriber)
        self._subscribers_changed()
        try:
            async with receive, trio.open_nursery() as nursery:
                nursery.start_soon(subscriber.pass_on, send)
                yield receive
                nursery.cancel_scope.cancel()
        finally:
            self._subscribers.discard(subscriber)
            self._subscribers_changed()

    def _subscribers_changed(self) -> None:
        self._changed = True
        self._hearing.cancel()

    @asynccontextmanager
    async def _serve(self) -> AsyncGenerator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen_for_ever)
            yield
            nursery.cancel_scope.cancel()

    async def _listen_for_ever(self) -> None:
        failures = 0
        while True:
            try:
                connection = await AsyncConnection.connect(self.conninfo, autocommit=True)
                async with connection:
                    failures = 0
                    await self._listen(connection)
            except (psycopg.Error, OSError) as error:
                failures += 1
                if failures == 1:
                    _logger.info(
                        "listening interrupted; reconnecting",
                        extra={"address": describe(self.conninfo), "error": type(error).__name__},
                    )
                full = min(_FIRST_PAUSE * 2.0 ** min(failures - 1, 16), _LONGEST_PAUSE)
                await trio.sleep(full * random.uniform(0.5, 1.0))  # noqa: S311 - it spreads load

    async def _listen(self, connection: AsyncConnection[Any]) -> None:
        await self._execute(connection, sql.SQL("listen {}").format(sql.Identifier(self._echo)))
        listening: set[str] = set()
        proven = False
        heard_at = -math.inf
        while True:
            self._changed = False
            wanted = {channel for each in self._subscribers for channel in each.channels}
            if wanted != listening or not proven:
                await self._follow(connection, wanted - listening, listening - wanted)
                listening = wanted
                # What was sent before this LISTEN took effect was not heard.
                for subscriber in self._subscribers:
                    subscriber.offer(None, Gap())
            if not self.silent and trio.current_time() - heard_at >= self._ping_interval:
                if not await self._ping(connection):
                    if proven:
                        raise psycopg.OperationalError("the server does not answer")
                    self.silent = True
                    _logger.warning(
                        "notifications do not arrive; is there a transaction pooler in between? "
                        "work is found by polling alone",
                        extra={"address": describe(self.conninfo)},
                    )
                heard_at = trio.current_time()
            proven = True
            if await self._hear(connection, math.inf if self.silent else self._ping_interval):
                heard_at = trio.current_time()

    async def _ping(self, connection: AsyncConnection[Any]) -> bool:
        """Notify ourselves, and return whether anything was heard in time."""
        await self._execute(connection, "select pg_notify(%s, '')", self._echo)
        deadline = trio.current_time() + self._ping_timeout
        while (patience := deadline - trio.current_time()) > 0:
            if await self._hear(connection, patience):
                return True
        return False

    async def _hear(self, connection: AsyncConnection[Any], patience: float) -> bool:
        """Pass on what is notified next; return whether there was anything.

        It ends after `patience` seconds, or when there are other subscribers.
        """
        heard = False
        with trio.move_on_after(patience) as self._hearing:
            if self._changed:
                return False
            async for notice in connection.notifies(stop_after=1):
                heard = True
                event = Notification(notice.channel, notice.payload)
                for subscriber in self._subscribers:
                    if notice.channel in subscriber.channels:
                        subscriber.offer(notice.channel, event)
        return heard

    async def _follow(
        self, connection: AsyncConnection[Any], gained: set[str], lost: set[str]
    ) -> None:
        for channel in sorted(gained):
            await self._execute(connection, sql.SQL("listen {}").format(sql.Identifier(channel)))
        for channel in sorted(lost):
            await self._execute(connection, sql.SQL("unlisten {}").format(sql.Identifier(channel)))

    async def _execute(
        self, connection: AsyncConnection[Any], statement: sql.Composed | LiteralString, *args: str
    ) -> None:
        with trio.move_on_after(self._ping_timeout) as scope:
            await connection.execute(statement, args or None)
        if scope.cancelled_caught:
            raise psycopg.OperationalError("the server does not answer")
