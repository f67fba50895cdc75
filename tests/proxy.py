"""A proxy between a connection and the server that can be made to misbehave."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from m25.pg._background import Background


class Proxy:
    """Passes bytes on, until it is told to hold them back, or to cut."""

    def __init__(self, dsn: str) -> None:
        self._target = conninfo_to_dict(dsn)
        self._passing = trio.Event()
        self._passing.set()
        self._streams: set[trio.abc.Stream] = set()
        self.dsn = ""
        self.connections = 0
        self.refuses = False

    def hold(self) -> None:
        """Be silent from now on: the link is half-open."""
        self._passing = trio.Event()

    def release(self) -> None:
        self._passing.set()

    async def cut(self) -> None:
        """Close what is open."""
        for stream in list(self._streams):
            await trio.aclose_forcefully(stream)

    async def serve(self, nursery: trio.Nursery) -> None:
        """Begin to accept connections, in this nursery."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        self.dsn = make_conninfo("", **{**self._target, "host": "127.0.0.1", "port": port})
        nursery.start_soon(trio.serve_listeners, self._handle, listeners)

    async def _handle(self, client: trio.SocketStream) -> None:
        if self.refuses:
            await client.aclose()
            return
        self.connections += 1
        host, port = str(self._target["host"]), int(self._target["port"] or 5432)
        if host.startswith("/"):
            server: trio.abc.Stream = await trio.open_unix_socket(f"{host}/.s.PGSQL.{port}")
        else:
            server = await trio.open_tcp_stream(host, port)
        self._streams |= {client, server}
        try:
            async with client, server, trio.open_nursery() as nursery:
                nursery.start_soon(self._pass_on, client, server, nursery.cancel_scope)
                nursery.start_soon(self._pass_on, server, client, nursery.cancel_scope)
        finally:
            self._streams -= {client, server}

    async def _pass_on(
        self, source: trio.abc.Stream, sink: trio.abc.Stream, scope: trio.CancelScope
    ) -> None:
        try:
            while data := await source.receive_some():
                await self._passing.wait()
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


@asynccontextmanager
async def proxied(dsn: str) -> AsyncGenerator[Proxy]:
    proxy = Proxy(dsn)
    async with Background() as nursery:
        await proxy.serve(nursery)
        yield proxy
