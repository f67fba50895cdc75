"""Processes with one schedule, of a tick each second, are killed all the time: each tick has a job,
and none has two.
"""

from __future__ import annotations

import random
from contextlib import AsyncExitStack

import pytest
import trio

from support.processes import Worker, worker
from support.waiting import eventually, rows

from .servers import serving


class Processes:
    """So many processes with the schedule: for each that is killed another is started."""

    def __init__(self, dsn: str, number: int, nursery: trio.Nursery) -> None:
        self._dsn = dsn
        self.running: list[Worker] = []
        #: One starts at a time: many at once take the time of this machine's processors.
        self.starting = trio.Lock()
        for _ in range(number):
            nursery.start_soon(self._keep)

    async def _keep(self) -> None:
        while True:
            async with AsyncExitStack() as stack:
                async with self.starting:
                    program = worker(self._dsn, program="schedules.py", patience=90)
                    running = await stack.enter_async_context(program)
                self.running.append(running)
                await running.process.wait()

    async def until_running(self, number: int) -> None:
        async def are_there() -> bool:
            return len(self.running) >= number

        await eventually(are_there, 600)

    def kill_one(self, rng: random.Random) -> None:
        self.running.pop(rng.randrange(len(self.running))).process.kill()


async def ticks_of(dsn: str) -> list[int]:
    """All ticks that have jobs, as seconds, in their order."""
    found = await rows(
        dsn,
        "select extract(epoch from scheduled_at)::integer as tick, input::integer as input"
        " from m25.job where attempt = 1 order by scheduled_at",
    )
    assert [row["tick"] for row in found] == [row["input"] for row in found]
    return [row["tick"] for row in found]


async def until_ticked(dsn: str, more: int = 1) -> None:
    count = len(await ticks_of(dsn)) + more

    async def ticked() -> bool:
        return len(await ticks_of(dsn)) >= count

    await eventually(ticked, 120)


async def check_ticks(dsn: str) -> int:
    async def nobody_is_there() -> bool:
        # What a process had asked for may be done after it was killed.
        return not await rows(
            dsn,
            "select pid from pg_stat_activity where datname = current_database()"
            " and backend_type = 'client backend' and pid <> pg_backend_pid()",
        )

    await eventually(nobody_is_there)
    ticks = await ticks_of(dsn)
    assert ticks == list(range(ticks[0], ticks[-1] + 1))
    (schedule,) = await rows(
        dsn, "select extract(epoch from last_tick)::integer as last_tick from m25.schedule"
    )
    assert schedule["last_tick"] == ticks[-1]
    return len(ticks)


@pytest.mark.slow
async def test_three_processes_that_are_killed_give_each_tick_one_job(dsn: str) -> None:
    rng = random.Random(3)
    async with trio.open_nursery() as nursery:
        processes = Processes(dsn, 3, nursery)
        for _ in range(3):
            await until_ticked(dsn)
            # At any moment of the second.
            await trio.sleep(rng.random())
            await processes.until_running(1)
            processes.kill_one(rng)
        await until_ticked(dsn, 2)
        nursery.cancel_scope.cancel()
    assert await check_ticks(dsn) >= 5


@pytest.mark.long
@pytest.mark.timeout(1_200)
async def test_ten_processes_that_are_killed_and_a_server_that_is_stopped_give_each_tick_one_job(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = random.Random(10)
    async with serving() as server:
        async with trio.open_nursery() as nursery:
            processes = Processes(server.dsn, 10, nursery)
            await processes.until_running(10)
            for number in range(30):
                await until_ticked(server.direct)
                if number in (10, 20):
                    async with processes.starting:
                        await server.stop_at_once()
                        await trio.sleep(2)
                        await server.start()
                await trio.sleep(rng.random())
                await processes.until_running(5)
                processes.kill_one(rng)
            await until_ticked(server.direct, 3)
            nursery.cancel_scope.cancel()
        ticks = await check_ticks(server.direct)
    with capsys.disabled():
        print(f"\n30 kills, 2 restarts of the server: {ticks} ticks, each with one job")
