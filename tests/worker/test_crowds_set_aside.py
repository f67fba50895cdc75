"""Many jobs that are set aside: they cost nothing while they wait, and go on in time."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
import trio

import m25
from support.insides import store_of
from support.waiting import eventually, rows

#: How late a job may go on, in seconds.
LATE = 1.0


class Count:
    """Which statements a client's store has sent, by their names."""

    def __init__(self, m: m25.M25, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements = Counter[str]()
        store = store_of(m)
        original = store._run_one

        def run_one(statement: Any, *arguments: Any) -> Any:
            self.statements[statement.name] += 1
            return original(statement, *arguments)

        monkeypatch.setattr(store, "_run_one", run_one)

    async def surveys(self, more: int) -> None:
        """Wait until so many more surveys were sent."""
        until = self.statements["survey"] + more

        async def are_sent() -> bool:
            return self.statements["survey"] >= until

        await eventually(are_sent)


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
        await set_aside(dsn, jobs, 3_600, 600)
        # The first ones may belong to the start.
        await count.surveys(2)
        count.statements.clear()
        began = trio.current_time()
        await count.surveys(8)
        took, sent = trio.current_time() - began, count.statements
    print(f"statements in {took:.1f} s beside {jobs} jobs set aside: {dict(sent)}")
    # A poll is a survey and a look for lost jobs, and comes a tenth earlier at the most.
    for poll in ("survey", "find_suspects"):
        assert sent.pop(poll) <= took / 0.22 + 2
    # A worker says now and then that it is there.
    assert sent.total() <= 3


@pytest.mark.parametrize(
    ("jobs", "spread", "watched", "latest"),
    # In brief, beside other tests, it shows that none is passed over.
    [
        pytest.param(1_000, 3, 3, 30.0, marks=pytest.mark.slow),
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
