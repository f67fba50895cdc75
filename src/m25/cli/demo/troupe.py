"""The demo's worker processes: started, listened to, killed, stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

import m25

from . import worker


class WorkerFailed(m25.M25Error):
    """A worker ended before it was ready; what it printed was shown."""


@attrs.define(eq=False)
class Worker:
    """A process that runs queues."""

    name: str
    queues: tuple[str, ...]
    state: str = "starting"
    process: trio.Process | None = None
    ready: trio.Event = attrs.field(factory=trio.Event)


class Troupe:
    """All worker processes; made by `open_troupe`."""

    def __init__(
        self, nursery: trio.Nursery, dsn: str, schema: str, say: Callable[[str], None]
    ) -> None:
        self.workers: list[Worker] = []
        self._nursery = nursery
        self._environment: Final = {
            **os.environ,
            worker.DSN: dsn,
            worker.SCHEMA: schema,
            "PYTHONPATH": _python_path(),
        }
        self._say = say

    async def start(self, *queues: str) -> Worker:
        """Start a worker for these queues; return the worker when it runs them.

        Raises:
            WorkerFailed: the worker ended before it ran them.
        """
        started = Worker(f"worker {len(self.workers) + 1}", queues)
        self.workers.append(started)
        await self._nursery.start(self._run, started)
        await started.ready.wait()
        if started.state != "running":
            raise WorkerFailed(f"{started.name} {started.state}")
        return started

    async def kill(self, victim: Worker) -> None:
        """Kill a worker by SIGKILL, and return when it is dead."""
        assert victim.process is not None
        victim.state = "killed"
        victim.process.kill()
        await victim.process.wait()

    def describe(self) -> Sequence[str]:
        """Each worker, and its state."""
        return [f"{each.name} ({', '.join(each.queues)}): {each.state}" for each in self.workers]

    async def stop(self) -> None:
        """Let every worker finish its running jobs, and end."""
        for each in self.workers:
            assert each.process is not None
            assert each.process.stdin is not None
            await each.process.stdin.aclose()

    async def _run(self, me: Worker, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(self._open, me)
            me.process = process
            task_status.started()
            await self._listen(me, process)
            code = await process.wait()
        if me.state != "killed":
            me.state = "ended" if code == 0 else f"failed with exit code {code}"
            if code != 0:
                self._say(f"{me.name} {me.state}")
        # A `start` that waits for this worker need wait no longer.
        me.ready.set()

    async def _open(self, me: Worker, task_status: trio.TaskStatus[trio.Process]) -> None:
        # In a session of its own: Ctrl-C is for the demo alone, which then ends its workers. With
        # -P, since the current folder may hold a `queue.py` or a `types.py`.
        await trio.run_process(
            [sys.executable, "-P", "-m", worker.__name__, *me.queues],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,
            check=False,
            task_status=task_status,
        )

    async def _listen(self, me: Worker, process: trio.Process) -> None:
        """Read the worker's output, line by line."""
        assert process.stdout is not None
        said = b""
        async for chunk in process.stdout:
            *lines, said = (said + chunk).split(b"\n")
            for line in lines:
                if line == worker.READY.encode():
                    me.state = "running"
                    me.ready.set()
                else:
                    self._say(f"{me.name} says: {line.decode(errors='replace')}")


@asynccontextmanager
async def open_troupe(dsn: str, schema: str, say: Callable[[str], None]) -> AsyncGenerator[Troupe]:
    """Have workers for the length of the block; none outlives the block, however it is left."""
    async with trio.open_nursery() as nursery:
        workers = Troupe(nursery, dsn, schema, say)
        yield workers
        await workers.stop()


def _python_path() -> str:
    """A module path on which the workers find the same m25 that runs the demo."""
    here = str(Path(m25.__file__).parent.parent)
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
