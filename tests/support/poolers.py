"""Poolers between a client and its server: PgBouncer, and a proxy that greets as poolers do."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from support.waiting import eventually, rows

SETTINGS = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {pool_mode}
default_pool_size = {sessions}
"""


@attrs.define(eq=False)
class Bouncer:
    """A running PgBouncer."""

    #: How one goes through it.
    dsn: str
    _program: str
    _settings: Path
    _process: trio.Process | None = None

    async def start(self) -> None:
        """Start it, and return once it answers."""
        # It refuses to run as root.
        user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if user is not None:
            os.chown(self._settings, user.pw_uid, user.pw_gid)
        self._process = await trio.lowlevel.open_process(
            [self._program, "-q", str(self._settings)],
            stderr=subprocess.DEVNULL,
            user=user and user.pw_uid,
            group=user and user.pw_gid,
        )

        async def answers() -> bool:
            try:
                await rows(self.dsn, "select 1")
            except psycopg.OperationalError:
                return False
            return True

        await eventually(answers)

    async def kill(self) -> None:
        """End it as by `kill -9`; what runs on the server goes on, and is answered to nobody."""
        if self._process is not None:
            self._process.kill()
            with trio.CancelScope(shield=True):
                await self._process.wait()


@asynccontextmanager
async def bouncer(
    dsn: str, pool_mode: str = "transaction", *, sessions: int = 3
) -> AsyncGenerator[Bouncer]:
    """PgBouncer in front of a server. By default there are so few sessions that clients share them
    all the time. Where it is not installed, the test is skipped.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed")
    there = conninfo_to_dict(dsn)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = make_conninfo("", **{key: there[key] for key in ("host", "port", "user", "password")})
    with tempfile.TemporaryDirectory(prefix="m25-pooler-") as directory:
        # Its user is another than root's.
        os.chmod(directory, 0o711)  # noqa: PTH101 - pathlib's is for code that may wait
        settings = Path(directory) / "pgbouncer.ini"
        settings.write_text(
            SETTINGS.format(server=server, port=port, pool_mode=pool_mode, sessions=sessions)
        )
        pooler = Bouncer(make_conninfo(dsn, host="127.0.0.1", port=port), program, settings)
        try:
            await pooler.start()
            yield pooler
        finally:
            await pooler.kill()


#: What a server says to a commit that it has done.
COMMITTED: Final = b"C\0\0\0\x0bCOMMIT\0"


def last_words(sqlstate: str, text: str) -> bytes:
    """What a server, or a pooler, says before it ends a session."""
    fields = f"SFATAL\0VFATAL\0C{sqlstate}\0M{text}\0\0".encode()
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields


async def between(
    dsn: str, nursery: trio.Nursery, pass_on: Callable[[bytes], tuple[bytes, bool]]
) -> str:
    """Make a proxy, and return its address. For what the server says `pass_on` returns what the
    client is told, and whether the link ends with that.
    """
    there = conninfo_to_dict(dsn)

    async def serve(client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream(str(there["host"]), int(str(there["port"])))

        async def up() -> None:
            async for data in client:
                await server.send_all(data)

        async with client, server, trio.open_nursery() as both:
            both.start_soon(up)
            async for data in server:
                told, is_last = pass_on(data)
                await client.send_all(told)
                if is_last:
                    break
            both.cancel_scope.cancel()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, serve, listeners)
    port = listeners[0].socket.getsockname()[1]
    return make_conninfo(dsn, host="127.0.0.1", port=port)


async def answering_commits(
    dsn: str, nursery: trio.Nursery, answer: bytes, committed: bytes = COMMITTED
) -> str:
    """Make a proxy that gives this answer where the server says that it has committed, and ends the
    link then; return its address.
    """

    def pass_on(data: bytes) -> tuple[bytes, bool]:
        return (answer, True) if committed in data else (data, False)

    return await between(dsn, nursery, pass_on)


#: The message that has the number of the server's process, and what that is.
_GREETING: Final = re.compile(rb"(K\0\0\0[\x0c-\x28])....", re.DOTALL)


async def greeted_by_another(dsn: str, nursery: trio.Nursery) -> str:
    """Make a proxy that greets with another process's number, as poolers do; return its address."""

    def pass_on(data: bytes) -> tuple[bytes, bool]:
        return _GREETING.sub(lambda found: found[1] + b"\0\0\0\7", data), False

    return await between(dsn, nursery, pass_on)
