"""Many jobs that are set aside: they cost nothing while they wait, and go on in time."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trio

import m25
from support.insides import store_of
from support.waiting import eventually, rows

#: How late a job may go on, in seconds.
LATE = 1.0


class Count:
    """How many statements a client's store has sent."""

    def __init__(self, m: m25.M25, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements = 0
        store = store_of(m)
        original = store._run_one

        def run_one(*arguments: Any) -> Any:
            self.statements += 1
            return original(*arguments)

        monkeypatch.setattr(store, "_run_one", run_one)

    async def within(self, seconds: float) -> int:
        before = self.statements
        await trio.sleep(seconds)
        return self.statements - before


async def set_aside(dsn: str, jobs: int, begin: float, spread: float) -> None:
    """As many jobs as their handlers' first runs leave them, due one after the other."""
    await rows(
        dsn,
        """
        with aside as (
            insert into m25.job (queue_name, input, timeout, attempt, max_attempts, scheduled_at)
            select
                'crowd', to_jsonb(number), interval '1 minute', 1, 1,
                now() + make_interval(secs => %(begin)s + number * %(spread)s / %(jobs)s)
            from generate_series(1, %(jobs)s::bigint) as number
            returning id, scheduled_at
        )
        insert into m25.step (job_id, kind, name, key, attempt_id, until)
        select id, 'sleep', 'sleep', '0', id, scheduled_at
        from aside
        """,
        jobs=jobs,
        begin=begin,
        spread=spread,
    )


@pytest.mark.parametrize("jobs", [2_000, pytest.param(100_000, marks=pytest.mark.long)])
async def test_jobs_that_are_set_aside_ask_for_no_statement(
    dsn: str, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @m25.queue("crowd", poll_interval=0.25)
    async def crowd(number: int) -> None:
        await m25.current_job().sleep(days=1)

    async with m25.open(dsn) as m:
        m.add_queue(crowd)
        await m.start()
        count = Count(m, monkeypatch)
        without = await count.within(1.5)
        await set_aside(dsn, jobs, 3_600, 600)
        beside = await count.within(1.5)
    print(f"statements in 1.5 s: {without} without, {beside} beside {jobs} jobs set aside")
    # A poll more or less may fall into either.
    assert beside <= without + 3


@pytest.mark.parametrize(
    ("jobs", "spread", "watched", "latest"),
    # In brief, beside other tests, it shows that none is passed over.
    [
        pytest.param(1_000, 3, 3, 10.0, marks=pytest.mark.slow),
        pytest.param(100_000, 600, 600, LATE, marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
async def test_each_goes_on_within_a_second_of_its_time(
    dsn: str, jobs: int, spread: float, watched: float, latest: float
) -> None:
    late: list[float] = []

    @m25.queue("crowd", poll_interval=5, max_concurrency=100)
    async def crowd(number: int) -> None:
        job = m25.current_job()
        await job.sleep(days=1)
        assert job.scheduled_at is not None
        late.append(time.time() - job.scheduled_at.timestamp())

    due = int(jobs * watched / spread) - 1
    begin = 2 + jobs / 20_000
    await set_aside(dsn, jobs, begin, spread)
    async with m25.open(dsn) as m:
        m.add_queue(crowd)
        await m.start()

        async def all_done() -> bool:
            await trio.sleep(0.1)
            return len(late) >= due

        await eventually(all_done, begin + watched + 30)
    late.sort()
    print(f"{len(late)} of {jobs} went on: p50 {late[len(late) // 2]:.3f} s, last {late[-1]:.3f} s")
    assert late[0] >= 0
    assert late[-1] < latest
