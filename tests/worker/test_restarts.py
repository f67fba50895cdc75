"""What fails inside m25 itself is told, and tried again; it ends no program and loses no result."""

from __future__ import annotations

import math
from typing import Any

import psycopg
import pytest
import trio
import trio.testing

import m25
from m25 import testing
from m25._store.failures import sort_error
from m25.testing import MemoryStore
from support.failing import connection_lost, failing, once
from support.insides import store_of
from support.told import told
from support.waiting import ended, eventually, rows


@pytest.mark.parametrize("verb", ["claim", "settle", "heartbeat", "survey", "sweep", "release"])
@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("lost"),
        pytest.param(OSError("cut"), marks=pytest.mark.slow),
        pytest.param(TypeError("not foreseen"), marks=pytest.mark.slow),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_call_that_fails_once_costs_a_little_time_and_nothing_else(
    dsn: str, verb: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = 0

    # Its lease is long enough for a machine that is busy.
    @m25.queue("sturdy", poll_interval=0.1, heartbeat_interval=0.1, allowed_heartbeat_misses=500)
    async def sturdy(number: int) -> int:
        nonlocal runs
        runs += 1
        # One is handed back at the end.
        await trio.sleep(0.25 if number == 1 else math.inf)
        return number

    async with m25.open(dsn, shutdown_grace=0) as m:
        failing(monkeypatch, store_of(m), verb, once(sort_error(verb, error)))
        m.add_queue(sturdy)
        await m.start()
        record = await ended(m, sturdy, (await m.enqueue(sturdy, 1)).id)
        assert record.output == 1
        assert record.attempt == 1
        assert len(await rows(dsn, "select id from m25.job")) == 1
        last = await m.enqueue(sturdy, 2)

        async def running() -> bool:
            return (await m.get_job(sturdy, last.id)).status is m25.JobStatus.EXECUTING

        await eventually(running)
    (row,) = await rows(
        dsn, "select status, attempt from m25.job where id = %(id)s", id=last.id.value
    )
    assert row == {"status": "pending", "attempt": 1}


async def test_a_manager_that_fails_hands_its_jobs_back_and_begins_anew(
    dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[int] = []
    others: list[m25.JobId] = []

    @m25.queue("anew", max_concurrency=5, poll_interval=0.1)
    async def anew(number: int) -> int:
        runs.append(number)
        if len(runs) == 1:
            failing(monkeypatch, store_of(m), "claim", once(ArithmeticError("a bug of ours")))
            # The next claim may come, and fail, before this is sent.
            with trio.CancelScope(shield=True):
                others.append((await m.enqueue(anew, 2)).id)
            await trio.sleep_forever()
        return m25.current_job().attempt

    async with m25.open(dsn) as m:
        m.add_queue(anew)
        await m.start()
        record = await ended(m, anew, (await m.enqueue(anew, 1)).id)
        for other in others:
            await ended(m, anew, other)
    assert record.output == 1
    assert sorted(runs) == [1, 1, 2]
    (event,) = [r for r in caplog.records if r.m25_event == "ServiceFailed"]
    assert event.m25_queue == "anew"
    assert event.exc_info is not None


class Failing(MemoryStore):
    """A store whose claim fails by a mistake of m25's, and which takes no outcomes at first."""

    def __init__(self) -> None:
        super().__init__()
        self.back = trio.Event()
        self.fail_next_claim = False
        self.claims = 0

    async def claim(self, *arguments: Any, **options: Any) -> Any:
        rows = await super().claim(*arguments, **options)
        self.claims += 1
        if self.fail_next_claim:
            self.fail_next_claim = False
            # Its jobs have begun before its answer, and perhaps ended.
            await trio.testing.wait_all_tasks_blocked()
            raise ArithmeticError("a bug of ours")
        return rows

    async def settle(self, *arguments: Any) -> Any:
        if not self.back.is_set():
            await trio.lowlevel.checkpoint()
            raise connection_lost("settle")
        return await super().settle(*arguments)


async def test_a_manager_that_fails_while_the_database_is_away_loses_no_result(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    begun, finish = trio.Event(), trio.Event()
    runs: list[int] = []

    @m25.queue("patient", poll_interval=0.1)
    async def patient(number: int) -> int:
        runs.append(number)
        begun.set()
        await finish.wait()
        return number

    store = Failing()
    async with testing.open(store) as m:
        m.add_queue(patient)
        await m.start()
        record = await m.enqueue(patient, 1)
        await begun.wait()
        store.fail_next_claim = True
        finish.set()
        await m.enqueue(patient, 2)

        async def restarted() -> bool:
            return "ServiceFailed" in told(caplog)

        await eventually(restarted)
        store.back.set()
        found = await ended(m, patient, record.id)
    assert (found.output, found.attempt) == (1, 1)
    # The other may have begun just before, and was handed back.
    assert runs.count(1) == 1


async def test_a_result_outlives_its_manager_though_its_claim_was_not_known_to_be_committed(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[int] = []

    @m25.queue("hasty", poll_interval=0.1)
    async def hasty(number: int) -> int:
        runs.append(number)
        return number

    store = Failing()
    async with testing.open(store) as m:
        m.add_queue(hasty)
        await m.start()
        before, store.fail_next_claim = store.claims, True
        id = (await m.enqueue(hasty, 25)).id

        async def another_has_claimed() -> bool:
            return "ServiceFailed" in told(caplog) and store.claims == before + 2

        await eventually(another_has_claimed)
        assert runs == [25]
        # What the first manager left is still held back, or not taken: nothing is written.
        assert (await m.get_job(hasty, id)).status is m25.JobStatus.EXECUTING
        store.back.set()
        found = await ended(m, hasty, id)
    assert (found.output, found.attempt) == (25, 1)
    assert runs == [25]
