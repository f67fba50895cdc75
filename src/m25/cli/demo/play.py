"""The demo itself."""

from __future__ import annotations

import functools
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import trio
from attrs import astuple

import m25
from m25 import Job, JobId, embedded, migrations, pg

from . import account, files
from .acts import ACTS, Stage
from .jobs import NotPython, NotText, SourceFile, sources
from .screen import PlainScreen, Screen, View
from .troupe import Troupe, open_troupe

#: How many workers read files.
_READERS: Final = 2

#: How often jobs are counted for the screen, in seconds.
_FRAME: Final = 0.2

#: After this many seconds the demo waits for jobs no longer, and counts what there is.
_LONGEST_WAIT: Final = 120.0

#: How long it may take to drop the demo's schema, in seconds.
_CLEAN_UP: Final = 5.0


async def play_unless_interrupted(folder: Path, address: str | None) -> int:
    """Play; Ctrl-C or SIGTERM ends the demo in good order, with the exit code usual in shells."""
    code = 1
    async with trio.open_nursery() as nursery:

        async def await_signal(task_status: trio.TaskStatus[None]) -> None:
            nonlocal code
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                task_status.started()
                code = 128 + await anext(signals)
                nursery.cancel_scope.cancel()

        await nursery.start(await_signal)
        code = await play(folder, address)
        nursery.cancel_scope.cancel()
    return code


async def play(folder: Path, address: str | None) -> int:
    """Play the demo on the files of a folder, and return 0 if every count is right, else 1.

    Args:
        folder: where the files are.
        address: the conninfo string of a server; without it an embedded server is used.
    """
    began = trio.current_time()
    with _open_screen() as screen, tempfile.TemporaryDirectory(prefix="m25-demo-") as own:
        async with _database(address, screen) as (dsn, schema):
            lines = await _perform(folder, Path(own), dsn, schema, screen)
        screen.account(lines)
    return conclude(lines, trio.current_time() - began)


def conclude(lines: Sequence[account.Line], seconds: float) -> int:
    """Print whether every count is right, and return the exit code that says the same."""
    wrong = sum(not line.is_right for line in lines)
    verdict = f"{wrong} of {len(lines)} counts are WRONG" if wrong else "every count is right"
    sys.stdout.write(f"{verdict}, after {seconds:.1f} s\n")
    return 1 if wrong else 0


@contextmanager
def _open_screen() -> Generator[Screen]:
    """A live table on a terminal, if rich is installed, else plain lines."""
    if sys.stdout.isatty() and find_spec("rich"):
        from .rich_screen import RichScreen

        with RichScreen() as screen:
            yield screen
    else:
        yield PlainScreen()


async def _perform(
    folder: Path, own: Path, dsn: str, schema: str, screen: Screen
) -> Sequence[account.Line]:
    """Play every act, wait until no job is left, and return the account."""
    paths = [*files.find(folder), *files.put_broken(own)]
    async with (
        await pg.AsyncConnection.connect(dsn, autocommit=True) as connection,
        m25.open(dsn, schema=schema) as m,
        open_troupe(dsn, schema, screen.say) as troupe,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_show, dsn, schema, troupe, len(paths), screen)
        async with trio.open_nursery() as starting:
            for _ in range(_READERS):
                starting.start_soon(troupe.start, sources.name)
        screen.say(f"{_READERS} workers are ready: a job for each of {len(paths)} files")
        jobs = await _enqueue_all(m, paths)

        expected: dict[account.Entry, int] = {}
        with trio.move_on_after(_LONGEST_WAIT) as waiting:
            for name, act in ACTS.items():
                say = functools.partial(_say, screen, name)
                outcomes = await act(Stage(name, m, connection, troupe, own, say))
                expected.update(((name, what), count) for what, count in outcomes.items())
            await _until_idle(connection, schema)
        if waiting.cancelled_caught:
            screen.say(f"not done after {_LONGEST_WAIT:g} s: this is the account so far")

        screen.say("reading the same files here, without any queue, to compare")
        foreseen, errors = await trio.to_thread.run_sync(
            files.foresee, paths, abandon_on_cancel=True
        )
        found = dict(await account.read(connection, schema))
        read_back = [(await m.get_job(sources, jobs[path])).error_data for path in errors]
        found["files", "errors read back equal"] = sum(map(_are_equal, read_back, errors.values()))
        found["all", "acts played"] = len({name for name, _ in expected})
        nursery.cancel_scope.cancel()
    expected["all", "acts played"] = len(ACTS)
    return account.compare({**foreseen, **expected, **account.NEVER}, found)


async def _enqueue_all(m: m25.M25, paths: Sequence[str]) -> Mapping[str, JobId]:
    """Enqueue a job for each file, from a task for each: so the jobs share commits."""
    jobs: dict[str, JobId] = {}

    async def enqueue(path: str) -> None:
        record = await m.enqueue(sources, Job(SourceFile(path), meta={"act": "files"}))
        jobs[path] = record.id

    async with trio.open_nursery() as nursery:
        for path in paths:
            nursery.start_soon(enqueue, path)
    return jobs


def _are_equal(one: NotText | NotPython | None, other: NotText | NotPython) -> bool:
    # attrs compares exceptions by identity, as Python does.
    return one is not None and type(one) is type(other) and astuple(one) == astuple(other)


async def _show(dsn: str, schema: str, troupe: Troupe, files: int, screen: Screen) -> None:
    """Show how the queues stand, until cancelled."""
    async with await pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        while True:
            counts = await account.count_by_status(connection, schema)
            screen.show(View(counts, troupe.describe(), files))
            await trio.sleep(_FRAME)


async def _until_idle(connection: pg.AsyncConnection[Any], schema: str) -> None:
    """Wait until no job is pending, reserved or executing."""
    while True:
        counts = await account.count_by_status(connection, schema)
        total = sum(counts.values(), Counter[str]())
        if not any(total[status] for status in ("pending", "reserved", "executing")):
            return
        await trio.sleep(_FRAME)


def _say(screen: Screen, act: str, event: str) -> None:
    screen.say(f"{act}: {event}")


@asynccontextmanager
async def _database(address: str | None, screen: Screen) -> AsyncGenerator[tuple[str, str]]:
    """A migrated database for the length of the block: where it is, and the schema."""
    if address is None:
        screen.say("starting PostgreSQL")
        async with embedded.postgres() as dsn:
            await _migrate(dsn, "m25")
            yield dsn, "m25"
        return
    schema = f"m25_demo_{uuid4().hex[:12]}"
    screen.say(f"using schema {schema} at {pg.describe(address)}")
    try:
        await _migrate(address, schema)
        yield address, schema
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLEAN_UP):
            await _drop(address, schema)


async def _migrate(dsn: str, schema: str) -> None:
    async with await pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await migrations.apply(connection, schema)


async def _drop(dsn: str, schema: str) -> None:
    async with await pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        quoted = migrations.quote(schema)
        await connection.execute(f"drop schema if exists {quoted} cascade".encode())
