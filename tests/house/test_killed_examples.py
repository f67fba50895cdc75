"""Examples that may be killed at any moment, and started again: they are, until they are done."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from support.scripts import command
from support.waiting import rows

ROOT = Path(__file__).parents[2]
#: How long a run may go on that is not killed, in seconds.
PATIENCE = 60.0
#: The same where four servers are made and started on the way, on a machine that may be busy.
PATIENCE_WITH_SERVERS = 270.0
#: What examples/growing.py prints.
GROWN = """\
bob's server is killed
ada has sent {mails}, at (\\d+)% of the pace before
eve has sent {mails}, at (\\d+)% of the pace before
bob waits: True
ada: {mails} jobs, {mails} succeeded
bob: {mails} jobs, {mails} succeeded
eve: {mails} jobs, {mails} succeeded
"""


def waiting_program(folder: Path) -> Path:
    """The whole program of docs/waiting.md."""
    page = (ROOT / "docs" / "waiting.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import sys\n.*?)```", page, re.DOTALL)
    program = folder / "expenses.py"
    program.write_text(code)
    return program


@asynccontextmanager
async def started(program: Path, dsn: str, printed: list[str]) -> AsyncIterator[trio.Process]:
    """A run of a program, which is killed at the end of the block, if it still runs."""
    process = await trio.lowlevel.open_process(command(program, dsn), stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            assert process.stdout is not None
            text = b"".join([chunk async for chunk in process.stdout])
            await process.wait()
            printed += text.decode().splitlines()


async def run_and_kill(program: Path, dsn: str, rng: random.Random, kills: int) -> list[str]:
    """Kill runs of a program after a while, and let the last one end; return what all printed."""
    printed: list[str] = []
    for _ in range(kills):
        async with started(program, dsn, printed):
            await trio.sleep(rng.uniform(0.3, 2.5))
    async with started(program, dsn, printed) as process:
        with trio.fail_after(PATIENCE):
            assert await process.wait() == 0
    return printed


async def runs_of(dsn: str) -> int:
    """How often a job has begun, at most: the first time, and after each loss.

    One is lost where its program is killed, and where it cannot renew its short lease in time.
    """
    (row,) = await rows(dsn, "select max(losses) + 1 as runs from m25.job")
    return int(row["runs"])


KILLS = pytest.mark.parametrize("kills", [1, pytest.param(8, marks=pytest.mark.long)])


@KILLS
async def test_a_trip_is_booked_whatever_is_killed(dsn: str, kills: int) -> None:
    program = ROOT / "examples" / "trip.py"
    assert len(program.read_text().splitlines()) <= 80
    printed = await run_and_kill(program, dsn, random.Random(kills), kills)
    print(*printed, sep="\n")
    assert printed[-1] == "done: M25-OSL and Hotel Oslo, as ada agrees"
    assert "no room in Rome" in printed
    assert "cancelled: flight M25-ROM" in printed
    assert "cancelled: flight M25-OSL" not in printed
    # A step is done again only where its run was lost before it was kept.
    runs = await runs_of(dsn)
    for line in (
        "booked: flight to Oslo",
        "booked: flight to Rome",
        "booked: hotel in Oslo",
        "confirmed: M25-OSL and Hotel Oslo",
    ):
        assert 1 <= printed.count(line) <= runs


@KILLS
async def test_the_program_of_the_page_on_waiting_goes_on(
    dsn: str, kills: int, tmp_path: Path
) -> None:
    program = waiting_program(tmp_path)
    printed = await run_and_kill(program, dsn, random.Random(kills), kills)
    print(*printed, sep="\n")
    assert printed[-1] == "done: paid, says bob"
    assert 1 <= printed.count("asked about 4200 cents of ada") <= await runs_of(dsn)


def grown(mails: int) -> list[int]:
    """Run three servers of which one is killed; return at which percentage of their pace before
    the two others went on.
    """
    program = ROOT / "examples" / "growing.py"
    done = subprocess.run(
        command(program, str(mails)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=PATIENCE_WITH_SERVERS,
    )
    told = re.fullmatch(GROWN.format(mails=mails), done.stdout)
    assert told, done.stdout
    return [int(percent) for percent in told.groups()]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_other_servers_send_all_while_one_is_dead_and_that_one_loses_nothing() -> None:
    grown(100)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_other_servers_keep_their_pace_while_one_is_dead() -> None:
    paces = grown(1000)
    print(*paces)
    assert min(paces) >= 95
