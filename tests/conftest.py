"""A real PostgreSQL for the tests, and a database of its own for each.

The server is that of `M25_TEST_DSN`, where it is set; else a container, where Docker answers;
else the embedded one. Parallel workers have one each, unless it was given.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import trio
from psycopg import sql
from psycopg.conninfo import make_conninfo

from m25 import M25, embedded, migrations, pg
from support.waiting import PATIENCE

pytest_plugins = ["pytester"]

#: What may be lost when the machine fails is of no interest here, and waiting for disks is slow.
SETTINGS = {
    "fsync": "off",
    "max_connections": "200",
    "full_page_writes": "off",
    "max_prepared_transactions": "5",
}

#: A file system in memory, and how many bytes must be free in it for a server to be there.
MEMORY = Path("/dev/shm")
NEEDED = 2 * 1024**3


def pytest_configure() -> None:
    # A shell's background job ignores Ctrl-C, and so would the programs that the tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Where other tests keep the machine busy, a start may take longer than users are to wait.
    for call in (M25.start, M25.run):
        assert call.__defaults__ == (5.0,)
        call.__defaults__ = (PATIENCE,)


def pytest_collection_finish() -> None:
    # The modules and the tests stay as long as this process: no collection need go through them.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def server() -> Generator[str]:
    """The conninfo of a server, as a user that may do anything."""
    if given := os.environ.get("M25_TEST_DSN"):
        yield given
        return
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as environment:
            # Each test has a database of its own, of some hundred files: in memory these are made
            # in half the time.
            if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= NEEDED:
                environment.setenv("TMPDIR", str(MEMORY))
            server = _container() or embedded.postgres_sync(settings=SETTINGS)
            dsn = stack.enter_context(server)
        yield dsn


def _container() -> AbstractContextManager[str] | None:
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").is_socket():
        return None
    import docker
    from testcontainers.community.postgres import PostgresContainer

    with warnings.catch_warnings():
        # What it opened before it found nobody there is its own to close.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.from_env()
        except docker.errors.DockerException:
            return None
        client.close()

    @contextmanager
    def run() -> Generator[str]:
        with PostgresContainer("postgres:18", driver=None) as container:
            yield container.get_connection_url()

    return run()


#: Makes a database from a template; when the block is left, its sessions are ended.
Database = Callable[[str], AbstractContextManager[str]]

#: Of a database whose block was just left, sessions are still ending, and PostgreSQL would look
#: for them a tenth of a second later, at the soonest. So it is dropped some tests later; and not
#: all at the end, since the files of a thousand databases are some gigabytes.
LEFT = 8


@pytest.fixture(scope="session")
def make_database(server: str) -> Generator[Database]:
    left: list[sql.Identifier] = []

    with psycopg.connect(server, autocommit=True) as admin:

        def drop(database: sql.Identifier) -> None:
            statement = sql.SQL("drop database if exists {} with (force)").format(database)
            # It waits five seconds for what it has ended, and a machine may stand still for longer.
            while True:
                with suppress(psycopg.errors.ObjectInUse):
                    admin.execute(statement)
                    return

        @contextmanager
        def make(template: str) -> Generator[str]:
            name = f"m25_test_{uuid4().hex[:12]}"
            database = sql.Identifier(name)
            admin.execute(
                sql.SQL("create database {} template {} strategy file_copy").format(
                    database, sql.Identifier(template)
                )
            )
            yield name
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]
            )
            left.append(database)
            if len(left) > LEFT:
                drop(left.pop(0))

        yield make
        for database in left:
            drop(database)


@pytest.fixture(scope="session")
def migrated_template(server: str, make_database: Database) -> Generator[str]:
    """The name of a migrated database, to make others from."""
    with make_database("template1") as name:

        async def migrate() -> None:
            conninfo = make_conninfo(server, dbname=name)
            async with await pg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
                await migrations.apply(connection, "m25")

        trio.run(migrate)
        # A database is made from one that nobody is in.
        with psycopg.connect(server, autocommit=True) as admin:
            query = "select count(*) from pg_stat_activity where datname = %s"
            while admin.execute(query, [name]).fetchone() != (0,):
                time.sleep(0.01)
        yield name


@pytest.fixture
def dsn(server: str, make_database: Database, migrated_template: str) -> Generator[str]:
    """The conninfo of a fresh, migrated database."""
    with make_database(migrated_template) as name:
        yield make_conninfo(server, dbname=name)


@pytest.fixture
def empty_dsn(server: str, make_database: Database) -> Generator[str]:
    """The conninfo of a fresh, empty database."""
    with make_database("template1") as name:
        yield make_conninfo(server, dbname=name)
