"""Effects happen once, whenever the process that has them is killed, or stands still."""

from __future__ import annotations

import os
import random
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Final, Literal

import pytest
import trio

import m25
from support.processes import Worker, worker
from support.programs import effects
from support.proxy import Strike, proxied
from support.waiting import eventually, rows

#: What a worker sends for a job of the queue "ten": a look for steps; five plain steps; five in a
#: transaction, of four requests each; and its outcome. Its other requests have other names.
REQUESTS: Final = re.compile(
    rb"m25[._](?:find_steps|keep_steps|succeed)|BEGIN|insert into effect|COMMIT"
)
COUNT: Final = 1 + 5 + 5 * 4 + 1

When = Literal["before", "done", "answered"]


@pytest.fixture
async def database(dsn: str) -> str:
    await rows(dsn, effects.TABLES)
    return dsn


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What plain steps have done, line by line."""
    path = tmp_path / "effects"
    path.touch()
    monkeypatch.setenv("EFFECTS", str(path))
    return path


def _empty(path: Path) -> None:
    path.write_text("")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


async def run_and_kill(dsn: str, done: Path, when: When, at: int) -> None:
    """A job of ten steps, whose worker is killed at one of its requests, is finished by another."""
    _empty(done)
    await rows(dsn, "truncate effect, m25.job, m25.step")
    async with (
        m25.open(dsn) as m,
        proxied(dsn) as proxy,
        worker(proxy.dsn, program="effects.py", environment=dict(os.environ)) as victim,
    ):
        killed = trio.Event()

        def kill() -> None:
            victim.process.kill()
            killed.set()

        proxy.strike(Strike(when, REQUESTS, kill, skip=at))
        record = await m.enqueue(effects.ten, 0)
        with trio.fail_after(60):
            await killed.wait()
            await victim.process.wait()
        m.add_queue(effects.ten)
        await m.start()
        with trio.fail_after(60):
            final = await m.wait(effects.ten, record.id)
    assert final.status is m25.JobStatus.SUCCEEDED
    kept = await rows(dsn, "select name, output from m25.step order by created_at, name")
    # The result has what was kept, of the steps before the kill as of those after it.
    assert [each["output"] for each in kept] == final.output
    charges = await rows(dsn, "select name from effect order by name")
    assert [each["name"] for each in charges] == [f"charge {number}" for number in range(5)]
    draws = Counter(_lines(done))
    assert draws.keys() == {f"draw {number}" for number in range(5)}
    # A plain step is done again only if it was killed before it was kept.
    assert draws.total() <= 6


async def test_a_worker_is_killed_when_a_step_is_committed_and_it_has_not_heard(
    database: str, done: Path
) -> None:
    # The third request is the keeping of the first step, and the sixth the commit of the second.
    await run_and_kill(database, done, "done", 5)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("when", ["before", "done", "answered"])
async def test_a_worker_is_killed_at_every_request_of_a_job_of_ten_steps(
    when: When, part: int, database: str, done: Path
) -> None:
    for at in range(part, COUNT, 3):
        await run_and_kill(database, done, when, at)


@pytest.mark.slow
async def test_a_worker_that_stands_still_at_its_commit_holds_up_nobody(
    database: str, done: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        m25.open(database) as m,
        proxied(database) as proxy,
        worker(proxy.dsn, program="effects.py") as frozen,
    ):
        still = trio.Event()

        def stop() -> None:
            frozen.process.send_signal(signal.SIGSTOP)
            still.set()

        # Its success is written, the row locked, and the commit not sent: it has not heard of it.
        proxy.strike(Strike("done", re.compile(rb"m25[._]succeed"), stop, cuts=False))
        record = await m.enqueue(effects.inserts, 0)
        with trio.fail_after(60):
            await still.wait()
        m.add_queue(effects.inserts)
        await m.start()
        with trio.fail_after(60):
            final = await m.wait(effects.inserts, record.id)
        frozen.process.send_signal(signal.SIGCONT)
        assert (final.status, final.attempt) == (m25.JobStatus.SUCCEEDED, 2)
        assert await rows(database, "select name from effect") == [{"name": "row"}]
    assert [each for each in caplog.records if getattr(each, "m25_event", "") == "TransactionEnded"]


async def storm(dsn: str, *, jobs: int, kills: int, pauses: int, seed: int = 0) -> None:
    """Jobs that insert a row each, on workers that are killed, and paused past their lease."""
    rng = random.Random(seed)
    strikes = ["kill"] * kills + ["pause"] * pauses
    rng.shuffle(strikes)
    workers: list[Worker] = []
    left = jobs

    async def keep_one() -> None:
        while True:
            async with worker(dsn, program="effects.py") as one:
                workers.append(one)
                await one.process.wait()
                if one in workers:
                    workers.remove(one)

    async def pause(one: Worker) -> None:
        one.process.send_signal(signal.SIGSTOP)
        await trio.sleep(1.6)
        one.process.send_signal(signal.SIGCONT)
        workers.append(one)

    async def count() -> int:
        (found,) = await rows(dsn, "select count(*) from m25.job where status = 'succeeded'")
        return found["count"]

    async with m25.open(dsn) as m, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(keep_one)
        for number, strike in enumerate(strikes):
            share = left // (len(strikes) - number)
            left -= share
            if share:
                await m.enqueue_many(effects.inserts, [rng.uniform(0, 0.4) for _ in range(share)])

            async def some() -> bool:
                return bool(workers)

            await eventually(some)
            await trio.sleep(rng.uniform(0, 0.3))
            one = rng.choice(workers)
            workers.remove(one)
            if strike == "kill":
                one.process.kill()
            else:
                nursery.start_soon(pause, one)

        async def all_done() -> bool:
            return await count() == jobs

        await eventually(all_done, 60)
        nursery.cancel_scope.cancel()
    found = await rows(dsn, "select job_id, count(*) from effect group by job_id")
    assert len(found) == jobs
    assert all(each["count"] == 1 for each in found)


@pytest.mark.slow
async def test_each_job_inserts_one_row_though_workers_are_killed_and_paused(database: str) -> None:
    await storm(database, jobs=12, kills=2, pauses=1)


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_500_jobs_insert_500_rows_though_workers_are_killed_and_paused(
    database: str,
) -> None:
    await storm(database, jobs=500, kills=100, pauses=50)
