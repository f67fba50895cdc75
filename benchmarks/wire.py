"""What a client asks of a server, counted between the two: whatever sends it, and however."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

#: Types of a client's messages: a statement and its text at once, the run of a statement that was
#: parsed before, and the end of what the server is to answer before anything else is asked of it.
_QUERY, _EXECUTE, _SYNC = b"QES"


@attrs.define
class Tap:
    """Passes on what a client and a server say, and counts what the client asks."""

    #: Where clients connect to.
    dsn: str = ""
    statements: int = 0
    round_trips: int = 0

    async def _serve(self, target: dict[str, str], client: trio.SocketStream) -> None:
        server: trio.SocketStream
        if target["host"].startswith("/"):
            path = f"{target['host']}/.s.PGSQL.{target.get('port', 5432)}"
            server = await trio.open_unix_socket(path)
        else:
            server = await trio.open_tcp_stream(target["host"], int(target.get("port", 5432)))
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_down, server, client)
            await self._pass_up(client, server)
            nursery.cancel_scope.cancel()

    async def _pass_down(self, server: trio.SocketStream, client: trio.SocketStream) -> None:
        async for data in server:
            await client.send_all(data)

    async def _pass_up(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        # The first message has no type.
        type_size, left = 0, b""
        async for data in client:
            await server.send_all(data)
            left += data
            while len(left) >= type_size + 4:
                size = type_size + int.from_bytes(left[type_size : type_size + 4])
                if len(left) < size:
                    break
                if type_size:
                    self._count(left[0])
                type_size, left = 1, left[size:]

    def _count(self, kind: int) -> None:
        self.statements += kind in (_QUERY, _EXECUTE)
        self.round_trips += kind in (_QUERY, _SYNC)


@asynccontextmanager
async def tapped(dsn: str) -> AsyncGenerator[Tap]:
    """A tap before the server of this address."""
    target = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    tap = Tap()
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, partial(tap._serve, target), 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        # What is encrypted cannot be counted.
        tap.dsn = make_conninfo(
            dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable"
        )
        yield tap
        nursery.cancel_scope.cancel()
