"""Processes of an ordered queue are killed all the time: of each key one job runs, and in order."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

import m25
from support.processes import Worker, worker
from support.waiting import eventually, rows


@attrs.frozen
class Step:
    key: str
    number: int


RETRY = m25.Retry(max_attempts=1_000, delay=0.02)
STEPS = m25.declare("steps", input=Step, output=None, ordered_by="key", retry=RETRY)


@attrs.define
class Key:
    """What is seen of a key, line by line."""

    #: The number of the job that was done last.
    done: int = -1
    #: The process in which one runs, if one does.
    runs_in: int | None = None


def problems(log: Path, killed: set[int]) -> list[str]:
    """Where two of a key ran at once, or one ran before its turn."""
    keys: dict[str, Key] = {}
    found: list[str] = []
    for line in log.read_text().splitlines():
        what, name, number, process = line.split()
        key = keys.setdefault(name, Key())
        if what == "begins":
            if key.runs_in is not None and key.runs_in not in killed:
                found.append(f"{line}: another runs in {key.runs_in}")
            # One that was done may run again, as its process was killed before it could say so.
            if int(number) not in (key.done, key.done + 1):
                found.append(f"{line}: {key.done} was done before")
            key.runs_in = int(process)
        else:
            key.runs_in = None
            if what == "does":
                key.done = int(number)
    return found


class Processes:
    """So many processes at work: for each that is killed another is started."""

    def __init__(self, dsn: str, log: Path) -> None:
        self._dsn = dsn
        self._environment = {**os.environ, "M25_TEST_LOG": str(log)}
        self.running: list[Worker] = []
        self.killed: set[int] = set()

    async def keep(self, task_status: trio.TaskStatus[None]) -> None:
        while True:
            async with AsyncExitStack() as stack:
                program = worker(
                    self._dsn, program="in_order.py", environment=self._environment, patience=90
                )
                running = await stack.enter_async_context(program)
                self.running.append(running)
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                await running.process.wait()

    def kill_one(self, rng: random.Random) -> None:
        process = self.running.pop(rng.randrange(len(self.running))).process
        self.killed.add(process.pid)
        process.kill()


@asynccontextmanager
async def at_work(dsn: str, log: Path, number: int) -> AsyncGenerator[Processes]:
    processes = Processes(dsn, log)
    async with trio.open_nursery() as nursery:
        for _ in range(number):
            await nursery.start(processes.keep)
        yield processes
        nursery.cancel_scope.cancel()


async def number_done(dsn: str) -> int:
    (row,) = await rows(dsn, "select count(*) as done from m25.job where status = 'succeeded'")
    return int(row["done"])


async def run_in_order(
    dsn: str, log: Path, *, processes: int, keys: int, jobs: int, kills: int
) -> None:
    rng = random.Random(kills)
    async with m25.open(dsn) as m:
        steps = [Step(f"{key}", number) for number in range(jobs) for key in range(keys)]
        await m.enqueue_many(STEPS, steps)
    async with at_work(dsn, log, processes) as running:
        for number in range(kills):
            goal = (number + 1) * len(steps) // (kills + 1)

            async def is_there(goal: int = goal) -> bool:
                return await number_done(dsn) >= goal and bool(running.running)

            await eventually(is_there, 120)
            running.kill_one(rng)

        async def is_done() -> bool:
            return await number_done(dsn) == len(steps)

        await eventually(is_done, 120)
        # Whoever is at work at the end may be killed by the block's end.
        assert problems(log, running.killed) == []


@pytest.mark.slow
async def test_jobs_of_a_key_run_in_order_though_their_processes_are_killed(
    dsn: str, tmp_path: Path
) -> None:
    await run_in_order(dsn, tmp_path / "log", processes=2, keys=5, jobs=8, kills=2)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_jobs_of_many_keys_run_in_order_though_twenty_processes_are_killed(
    dsn: str, tmp_path: Path
) -> None:
    await run_in_order(dsn, tmp_path / "log", processes=6, keys=40, jobs=40, kills=20)
