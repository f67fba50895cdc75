"""Worker processes, real ones, for the tests that stop and kill them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from support.waiting import PATIENCE

PROGRAMS = Path(__file__).parent / "programs"


@attrs.define(eq=False)
class Worker:
    """A running program, what it has printed, and what it has logged."""

    process: trio.Process
    printed: list[str] = attrs.field(factory=list)
    logged: list[str] = attrs.field(factory=list)
    _changed: trio.Event = attrs.field(factory=trio.Event)
    _streams_open: int = 2

    async def read(self, stream: trio.abc.ReceiveStream, lines: list[str]) -> None:
        rest = b""
        async for chunk in stream:
            *whole, rest = (rest + chunk).split(b"\n")
            lines += [line.decode() for line in whole]
            self._changed.set()
            self._changed = trio.Event()
        if rest:
            lines.append(rest.decode())
        self._streams_open -= 1
        self._changed.set()
        self._changed = trio.Event()

    async def until_printed(
        self, beginning: str, times: int = 1, patience: float = PATIENCE
    ) -> None:
        """Wait until it has printed lines that begin like this."""
        with trio.fail_after(patience):
            while sum(line.startswith(beginning) for line in self.printed) < times:
                # What one has said that has ended is read to the end.
                assert self._streams_open, self.logged
                await self._changed.wait()

    def events(self) -> list[dict[str, Any]]:
        """What it has logged, where that is a log line."""
        return [json.loads(line) for line in self.logged if line.startswith("{")]


@asynccontextmanager
async def worker(
    dsn: str,
    *,
    grace: float = 10,
    program: str = "worker.py",
    environment: Mapping[str, str] | None = None,
    patience: float = PATIENCE,
) -> AsyncGenerator[Worker]:
    """Run a program of `programs/` until it is ready, and kill it at the end if it still runs."""
    process = await trio.lowlevel.open_process(
        [sys.executable, str(PROGRAMS / program), dsn, str(grace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    running = Worker(process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.read, process.stdout, running.printed)
        nursery.start_soon(running.read, process.stderr, running.logged)
        try:
            await running.until_printed("ready", patience=patience)
            yield running
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
