"""What fails inside m25 itself is told, and tried again; it ends no program and loses no result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import trio
import trio.testing

import m25
from m25._store.failures import sort_error
from m25._worker import manager
from support.failing import connection_lost
from support.told import told
from support.waiting import ended, eventually, rows


def failing(
    monkeypatch: pytest.MonkeyPatch,
    store: object,
    verb: str,
    error: Callable[[], Exception | None],
) -> None:
    """Let a verb of the store fail for as long as `error` returns something to raise."""
    original = getattr(store, verb)

    async def call(*arguments: Any, **options: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if (raised := error()) is not None:
            raise raised
        return await original(*arguments, **options)

    monkeypatch.setattr(store, verb, call)


def once(error: Exception) -> Callable[[], Exception | None]:
    errors = [error]
    return lambda: errors.pop() if errors else None


@pytest.mark.parametrize("verb", ["claim", "settle", "heartbeat", "survey", "sweep", "release"])
@pytest.mark.parametrize(
    "error",
    [psycopg.OperationalError("lost"), OSError("cut"), TypeError("not foreseen")],
    ids=lambda error: type(error).__name__,
)
async def test_a_call_that_fails_once_costs_a_little_time_and_nothing_else(
    dsn: str, verb: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = 0

    @m25.queue("sturdy", poll_interval=0.1, heartbeat_interval=0.1)
    async def sturdy(number: int) -> int:
        nonlocal runs
        runs += 1
        await trio.sleep(0.25)
        return number

    async with m25.open(dsn, shutdown_grace=0) as m:
        failing(monkeypatch, m._runtime.store, verb, once(sort_error(verb, error)))
        m.add_queue(sturdy)
        await m.start()
        record = await ended(m, sturdy, (await m.enqueue(sturdy, 1)).id)
        assert record.output == 1
        assert record.attempt == 1
        assert len(await rows(dsn, "select id from m25.job")) == 1
        # One that is handed back at the end.
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

    @m25.queue("anew", max_concurrency=5, poll_interval=0.1)
    async def anew(number: int) -> int:
        runs.append(number)
        if len(runs) == 1:
            failing(monkeypatch, m._runtime.store, "claim", once(ArithmeticError("a bug of ours")))
            await m.enqueue(anew, 2)
            await trio.sleep_forever()
        return m25.current_job().attempt

    async with m25.open(dsn) as m:
        m.add_queue(anew)
        await m.start()
        record = await ended(m, anew, (await m.enqueue(anew, 1)).id)
    assert record.output == 1
    assert sorted(runs) == [1, 1, 2]
    (event,) = [r for r in caplog.records if r.m25_event == "ServiceFailed"]
    assert event.m25_queue == "anew"
    assert event.exc_info is not None


async def test_a_manager_that_fails_while_the_database_is_away_loses_no_result(
    dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(manager, "CLEAN_UP", 0.2)
    begun, finish, back = trio.Event(), trio.Event(), trio.Event()
    runs: list[int] = []

    @m25.queue("patient", poll_interval=0.1)
    async def patient(number: int) -> int:
        runs.append(number)
        begun.set()
        await finish.wait()
        return number

    async with m25.open(dsn) as m:
        m.add_queue(patient)
        await m.start()
        record = await m.enqueue(patient, 1)
        await begun.wait()
        lost = connection_lost("settle")
        failing(monkeypatch, m._runtime.store, "settle", lambda: None if back.is_set() else lost)
        failing(monkeypatch, m._runtime.store, "claim", once(ArithmeticError("a bug of ours")))
        finish.set()
        await m.enqueue(patient, 2)

        async def restarted() -> bool:
            return "ServiceFailed" in told(caplog)

        await eventually(restarted)
        back.set()
        found = await ended(m, patient, record.id)
    assert (found.output, found.attempt) == (1, 1)
    # The other may have begun just before, and was handed back.
    assert runs.count(1) == 1


async def test_a_result_outlives_its_manager_though_its_claim_was_not_known_to_be_committed(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "CLEAN_UP", 0.2)
    runs: list[int] = []
    failed, back = trio.Event(), trio.Event()

    @m25.queue("hasty", poll_interval=0.1)
    async def hasty(number: int) -> int:
        runs.append(number)
        return number

    async with m25.open(dsn) as m:
        m.add_queue(hasty)
        await m.start()
        claim = m._runtime.store.claim

        async def claim_and_fail(*arguments: Any, **options: Any) -> Any:
            if failed.is_set():
                # The next manager has seen what the first one left.
                back.set()
            found = await claim(*arguments, **options)
            if found and not failed.is_set():
                failed.set()
                # The job has begun meanwhile, and ended.
                await trio.testing.wait_all_tasks_blocked()
                raise ArithmeticError("a bug of ours")
            return found

        monkeypatch.setattr(m._runtime.store, "claim", claim_and_fail)
        lost = connection_lost("settle")
        failing(monkeypatch, m._runtime.store, "settle", lambda: None if back.is_set() else lost)
        found = await ended(m, hasty, (await m.enqueue(hasty, 25)).id)
    assert (found.output, found.attempt) == (25, 1)
    assert runs == [25]
