"""A proxy between a connection and the server that can be made to misbehave."""

from __future__ import annotations

import re
import ssl
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal

import attrs
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from m25.pg._background import Background

#: As the client sees it.
Direction = Literal["up", "down"]
BOTH: Final[tuple[Direction, Direction]] = ("up", "down")

#: The server's last word in an answer: that it is ready for the next query. A notification may come
#: right behind it, in the same packet.
_READY: Final = re.compile(rb"Z\x00\x00\x00\x05[ITE](?=A|\Z)")

#: The client's first words where it asks for encryption: TLS, or that of GSSAPI.
_ASKS_FOR_TLS: Final = struct.pack("!ii", 8, 80877103)
_ASKS_FOR_GSSAPI: Final = struct.pack("!ii", 8, 80877104)


@attrs.define(eq=False)
class Strike:
    """What is done to the client at a moment of its nth request that matches."""

    #: Before the server has the request; after it has done it, and before the client hears of that;
    #: or once the client has the answer.
    when: Literal["before", "done", "answered"]
    request: re.Pattern[bytes]
    act: Callable[[], object]
    #: How many that match come before.
    skip: int = 0
    #: Whether the link is cut afterwards.
    cuts: bool = True

    def is_due(self, data: bytes) -> bool:
        """Whether this is the request."""
        if not self.request.search(data):
            return False
        self.skip -= 1
        return self.skip < 0


@attrs.define(eq=False)
class _Link:
    """One connection that goes through the proxy."""

    #: What the client has sent last: a marker may lie across two chunks.
    tail: bytes = b""
    #: Whether the server's next answer is dropped, and the link with it.
    is_dropping: bool = False
    strike: Strike | None = None


class Proxy:
    """Passes bytes on, until it is told to hold them back, to be slow, or to cut.

    With `tls` it speaks as a server that takes no connection without; the true one need not know.
    """

    def __init__(self, dsn: str, *, tls: ssl.SSLContext | None = None) -> None:
        self._target = conninfo_to_dict(dsn)
        self._tls = tls
        self._passing = {direction: trio.Event() for direction in BOTH}
        self._streams: set[trio.abc.Stream] = set()
        self._marker = b""
        self._strike: Strike | None = None
        self._dropped = trio.Event()
        self.dsn = ""
        self.connections = 0
        self.refuses = False
        #: How long each chunk is kept, either way, in seconds.
        self.delay = 0.0
        #: Bytes a second, either way.
        self.rate: float | None = None
        self.release()

    def aim(self, dsn: str) -> None:
        """From now on, connections go to this server."""
        self._target = conninfo_to_dict(dsn)

    def hold(self, *directions: Direction) -> None:
        """Be silent from now on, in both directions if none is named: the link is half-open."""
        for direction in directions or BOTH:
            self._passing[direction] = trio.Event()

    def release(self) -> None:
        for event in self._passing.values():
            event.set()

    async def cut(self) -> None:
        """Close what is open."""
        for stream in list(self._streams):
            await trio.aclose_forcefully(stream)

    def drop_answer(self, marker: bytes) -> trio.Event:
        """Pass on the next request that holds the marker, and cut once the server has done it.

        The client never hears the answer. The event is set once that has happened.
        """
        self._marker = marker
        self._dropped = trio.Event()
        return self._dropped

    def strike(self, strike: Strike) -> None:
        """Do something to the client at a moment of one of its requests."""
        self._strike = strike

    async def serve(self, nursery: trio.Nursery) -> None:
        """Begin to accept connections, in this nursery."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        self.dsn = make_conninfo("", **{**self._target, "host": "127.0.0.1", "port": port})
        nursery.start_soon(trio.serve_listeners, self._handle, listeners)

    async def _handle(self, accepted: trio.SocketStream) -> None:
        self.connections += 1
        client: trio.abc.Stream = accepted
        try:
            if self.refuses:
                raise ConnectionRefusedError
            if self._tls is not None:
                client = await _encrypted(accepted, self._tls)
            server = await self._open()
        except (OSError, trio.BrokenResourceError):
            await trio.aclose_forcefully(accepted)
            return
        self._streams |= {client, server}
        link = _Link()
        try:
            async with client, server, trio.open_nursery() as nursery:
                scope = nursery.cancel_scope
                nursery.start_soon(self._pass_on, "up", link, client, server, scope)
                nursery.start_soon(self._pass_on, "down", link, server, client, scope)
        finally:
            self._streams -= {client, server}

    async def _open(self) -> trio.abc.Stream:
        host, port = str(self._target["host"]), int(self._target["port"] or 5432)
        if host.startswith("/"):
            return await trio.open_unix_socket(f"{host}/.s.PGSQL.{port}")
        return await trio.open_tcp_stream(host, port)

    async def _pass_on(
        self,
        direction: Direction,
        link: _Link,
        source: trio.abc.Stream,
        sink: trio.abc.Stream,
        scope: trio.CancelScope,
    ) -> None:
        unsaid = b""
        try:
            while data := await source.receive_some():
                await self._passing[direction].wait()
                if self.delay:
                    await trio.sleep(self.delay)
                if self.rate is not None:
                    await trio.sleep(len(data) / self.rate)
                if direction == "up":
                    if self._strike is not None and self._strike.is_due(data):
                        link.strike, self._strike = self._strike, None
                        if link.strike.when == "before":
                            link.strike.act()
                            break
                    self._look_for_marker(link, data)
                elif link.strike is not None:
                    unsaid += data
                    if _READY.search(unsaid):
                        if link.strike.when == "answered":
                            await sink.send_all(data)
                            await trio.testing.wait_all_tasks_blocked()
                        strike, link.strike = link.strike, None
                        strike.act()
                        if strike.cuts:
                            break
                        unsaid = b""
                        continue
                elif link.is_dropping:
                    unsaid += data
                    if _READY.search(unsaid):
                        self._dropped.set()
                        break
                    continue
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    def _look_for_marker(self, link: _Link, data: bytes) -> None:
        if self._marker and self._marker in link.tail + data:
            self._marker = b""
            link.is_dropping = True
        link.tail = (link.tail + data)[-100:]


async def _encrypted(client: trio.SocketStream, tls: ssl.SSLContext) -> trio.abc.Stream:
    """Do as a server does that wants TLS.

    Raises:
        ConnectionRefusedError: the client does not.
        trio.BrokenResourceError: the two do not agree.
    """
    while True:
        asked = b""
        while len(asked) < len(_ASKS_FOR_TLS) and (more := await client.receive_some(8)):
            asked += more
        if asked == _ASKS_FOR_TLS:
            break
        if asked != _ASKS_FOR_GSSAPI:
            raise ConnectionRefusedError
        await client.send_all(b"N")
    await client.send_all(b"S")
    encrypted = trio.SSLStream(client, tls, server_side=True)
    await encrypted.do_handshake()
    return encrypted


@asynccontextmanager
async def proxied(dsn: str, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Proxy]:
    proxy = Proxy(dsn, tls=tls)
    async with Background() as nursery:
        await proxy.serve(nursery)
        yield proxy
