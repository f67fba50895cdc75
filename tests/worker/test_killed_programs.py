"""A program that was killed leaves none of the processes that ran its handlers."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
import trio

from support.processes import worker
from support.waiting import eventually

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


def processes_of(mark: str) -> set[int]:
    """The live processes that have inherited this from the program's environment."""
    found: set[int] = set()
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # That of a process that was not reaped yet is empty.
            if mark.encode() in (directory / "environ").read_bytes():
                found.add(int(directory.name))
    return found


async def kill_one(*, at_work: bool) -> float:
    """Run the program and kill it; how long after that its last process had ended."""
    mark = f"M25_TEST={uuid4()}"
    name, _, value = mark.partition("=")
    environment = {**os.environ, name: value}
    async with worker("", program="cpu.py", environment=environment) as running:
        if at_work:
            await running.until_printed("at work")
            # The program, its keeper, and the process.
            assert len(processes_of(mark)) == 3
        else:
            await trio.sleep(random.uniform(0, 2))
        running.process.kill()
        killed = trio.current_time()

        async def look() -> bool:
            return not processes_of(mark)

        await eventually(look)
        return trio.current_time() - killed


@pytest.mark.parametrize("at_work", [pytest.param(True, marks=pytest.mark.slow), False])
async def test_no_process_is_left_of_a_program_that_was_killed(at_work: bool) -> None:
    for _ in range(2):
        await kill_one(at_work=at_work)


@pytest.mark.long
@pytest.mark.timeout(1_200)
async def test_no_process_is_left_of_fifty_programs_that_were_killed() -> None:
    seconds = [await kill_one(at_work=number % 5 != 0) for number in range(50)]
    print(f"gone after {max(seconds):.3f} s at most")
    assert len(seconds) == 50
