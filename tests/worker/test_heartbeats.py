"""Heartbeats: sent by message, answered, and written together; and what a missing answer means."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import m25
from m25._client import open_on
from m25._store.memory import MemoryStore
from m25._store.protocol import ClaimedJob, Outcome, WriteResult, Written
from m25._worker.executor import Executor
from support.failing import connection_lost
from support.insides import store_of
from support.processes import worker
from support.told import said, told
from support.waiting import chain, ended, eventually, rows


async def test_one_statement_records_the_heartbeats_of_all(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[int] = []

    @m25.queue("beating", heartbeat_interval=0.1, allowed_heartbeat_misses=500)
    async def beating(number: int) -> None:
        await trio.sleep_forever()

    async with m25.open(dsn, shutdown_grace=0) as m:
        original = store_of(m).heartbeat

        async def heartbeat(claims: Sequence[ClaimedJob], *options: Any) -> Written:
            answer = await original(claims, *options)
            beats.append(len(answer.ids))
            return answer

        monkeypatch.setattr(store_of(m), "heartbeat", heartbeat)
        m.add_queue(beating)
        for number in range(8):
            await m.enqueue(beating, number)
        await m.start()

        async def beaten() -> bool:
            return len(beats) >= 3

        await eventually(beaten)
        found = await rows(dsn, "select latest_heartbeat_at, lease_expires_at from m25.job")
    assert beats[:3] == [8, 8, 8]
    assert len({row["latest_heartbeat_at"] for row in found}) == 1
    for row in found:
        lasts = row["lease_expires_at"] - row["latest_heartbeat_at"]
        assert beating.lease <= lasts < beating.lease + timedelta(seconds=1)


class Turns(trio.abc.Instrument):
    """How many steps of tasks there are, at most, between two looks at what has come in."""

    def __init__(self) -> None:
        self.most = self._steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._steps += 1

    def after_io_wait(self, timeout: float) -> None:
        self.most = max(self.most, self._steps)
        self._steps = 0


async def test_the_heartbeats_of_many_jobs_do_not_keep_others_waiting(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beaten: set[str] = set()
    all_running, all_beaten = trio.Event(), trio.Event()
    running = 0

    @m25.queue("many", heartbeat_interval=0.3, allowed_heartbeat_misses=1_000, max_concurrency=1000)
    async def many(number: int) -> None:
        nonlocal running
        running += 1
        if running == 1000:
            all_running.set()
        await trio.sleep_forever()

    async with m25.open(dsn, shutdown_grace=0) as m:
        original = store_of(m).heartbeat

        async def heartbeat(claims: Sequence[ClaimedJob], *options: Any) -> Written:
            beaten.update(claim.id for claim in claims)
            if len(beaten) == 1000:
                all_beaten.set()
            return await original(claims, *options)

        monkeypatch.setattr(store_of(m), "heartbeat", heartbeat)
        m.add_queue(many)
        await m.enqueue_many(many, range(1000))
        await m.start()
        await all_running.wait()
        turns = Turns()
        trio.lowlevel.add_instrument(turns)
        await all_beaten.wait()
        trio.lowlevel.remove_instrument(turns)
    assert turns.most < 500


async def test_jobs_that_end_between_heartbeats_and_answers_leave_no_trace(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "m25")
    rng = random.Random(25)
    left = 300
    done = trio.Event()

    # Where others keep the machine busy, too, heartbeats come late, and leases must last.
    @m25.queue(
        "brief", heartbeat_interval=0.05, allowed_heartbeat_misses=1_000, max_concurrency=300
    )
    async def brief(seconds: float) -> None:
        nonlocal left
        await trio.sleep(seconds)
        left -= 1
        if left == 0:
            done.set()

    async with m25.open(dsn) as m:
        m.add_queue(brief)
        await m.enqueue_many(brief, (rng.uniform(0, 0.3) for _ in range(300)))
        await m.start()
        await done.wait()
    assert said(caplog) == []
    (row,) = await rows(dsn, "select count(*) from m25.job where status = 'succeeded'")
    assert row["count"] == 300


async def test_an_idle_queue_writes_no_heartbeats(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @m25.queue("idle", heartbeat_interval=0.02)
    async def idle(number: int) -> None:
        pass

    async with m25.open(dsn) as m:

        async def heartbeat(*_: Any) -> Written:
            raise AssertionError("nothing runs")

        monkeypatch.setattr(store_of(m), "heartbeat", heartbeat)
        m.add_queue(idle)
        await m.start()
        await trio.sleep(0.15)


@pytest.mark.parametrize("misses", [0, 2])
async def test_an_executor_that_leaves_too_many_unanswered_is_cancelled_and_tried_again(
    misses: int,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cancelled = trio.Event()
    answer = Executor.respond

    async def respond(executor: Executor, *channels: Any) -> None:
        # The first attempt's is stuck; no user's code can do that.
        if executor.row.attempt == 1 and executor.row.input == "1":
            await trio.sleep_forever()
        await answer(executor, *channels)

    monkeypatch.setattr(Executor, "respond", respond)

    # The poll is late: the sweep of one's own process would take the attempt for lost as well.
    @m25.queue("mute", heartbeat_interval=0.1, allowed_heartbeat_misses=misses, poll_interval=60)
    async def mute(number: int) -> int:
        if m25.current_job().attempt == 1 and number == 1:
            try:
                await trio.sleep_forever()
            finally:
                cancelled.set()
        await trio.sleep(0.1 * (misses + 3))
        return number

    store = MemoryStore()
    async with open_on(store, grace=timedelta(0)) as m:
        m.add_queue(mute)
        await m.start()
        # Another of the same queue, which answers.
        other = await m.enqueue(mute, 2)
        first = await m.enqueue(mute, 1)
        record = await ended(m, mute, first.id)
        assert cancelled.is_set()
        assert (await m.wait(mute, first.id)).status is m25.JobStatus.SUCCEEDED
        assert (await m.wait(mute, other.id)).status is m25.JobStatus.SUCCEEDED
        assert len(await m.attempts(mute, other.id)) == 1
        attempts = await m.attempts(mute, first.id)
    assert record.failure_reason is m25.FailureReason.HEARTBEAT_TIMEOUT
    assert [row.attempt for row in attempts] == [1, 2]
    # It was not the job's fault, whose max_attempts is one.
    assert [(row.losses, row.max_attempts) for row in attempts] == [(1, 1), (1, 1)]
    assert told(caplog, first.id) == ["JobUnresponsive"]


async def test_with_no_allowed_losses_a_job_of_one_attempt_starts_at_most_once(
    dsn: str,
) -> None:
    @m25.queue("once", poll_interval=0.1, allowed_losses=0)
    async def once(number: int) -> None:
        raise AssertionError("it was started already")

    async with m25.open(dsn) as m:
        record = await m.enqueue(once, 1)
        await rows(
            dsn,
            "update m25.job set reserved_at = now(), started_at = now(),"
            " deadline = now() + timeout, claim_token = gen_random_uuid(),"
            " lease_expires_at = now()",
        )
        m.add_queue(once)
        await m.start()
        found = await ended(m, once, record.id)
    assert found.failure_reason is m25.FailureReason.HEARTBEAT_TIMEOUT
    assert len(await chain(dsn, record.id)) == 1


@pytest.mark.slow
async def test_a_process_that_is_blocked_past_its_leases_loses_its_jobs_and_nothing_else(
    dsn: str, tmp_path: Path
) -> None:
    @m25.queue("spins", poll_interval=0.1)
    async def spins(seconds: float) -> str:
        return "by another process"

    over = tmp_path / "over"
    environment = {**os.environ, "SPINS_UNTIL": str(over)}
    async with (
        m25.open(dsn) as m,
        worker(dsn, program="plain.py", environment=environment) as blocked,
    ):
        record = await m.enqueue(spins, 600)
        await blocked.until_printed("begun")
        m.add_queue(spins)
        await m.start()

        async def succeeded() -> bool:
            return (await chain(dsn, record.id))[-1]["status"] == "succeeded"

        await eventually(succeeded)
        before = await chain(dsn, record.id)
        over.touch()

        async def said_so() -> bool:
            return any("late result discarded" in line for line in blocked.logged)

        await eventually(said_so)
        # It goes on to serve its queues.
        await m.stop()
        other = await m.enqueue(spins, 0.01)
        found = await eventually(lambda: succeeded_row(dsn, other.id))
    assert found["output"] is None
    assert await chain(dsn, record.id) == before
    assert [row["failure_reason"] for row in before] == ["heartbeat_timeout", None]
    assert before[1]["output"] == "by another process"


async def succeeded_row(dsn: str, id: m25.JobId) -> dict[str, Any] | None:
    (row,) = await chain(dsn, id)
    return row if row["status"] == "succeeded" else None


async def test_a_beat_that_fails_is_repeated_before_the_lease_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    failures = 0
    release = trio.Event()

    @m25.queue("lucky", heartbeat_interval=1, allowed_heartbeat_misses=1, poll_interval=0.1)
    async def lucky(number: int) -> int:
        await release.wait()
        return m25.current_job().attempt

    class Store(MemoryStore):
        async def heartbeat(self, *arguments: Any) -> Written:
            nonlocal failures
            if failures < 2:
                failures += 1
                raise OSError("a cable was pulled")
            answer = await super().heartbeat(*arguments)
            release.set()
            return answer

    store = Store()
    async with open_on(store, grace=timedelta(0)) as m:
        m.add_queue(lucky)
        await m.start()
        record = await m.enqueue(lucky, 1)
        assert (await m.wait(lucky, record.id)).output == 1
    assert failures == 2
    assert [row.losses for row in store.rows()] == [0]


async def test_a_result_that_the_database_does_not_take_for_long_is_not_lost(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Store(MemoryStore):
        takes_results = False

        async def settle(
            self, outcomes: Sequence[Outcome], allowed_losses: int
        ) -> dict[str, WriteResult]:
            if not self.takes_results:
                await trio.sleep(0.1)
                raise connection_lost("settle")
            return await super().settle(outcomes, allowed_losses)

    runs: list[int] = []

    @m25.queue("patient")
    async def patient(number: int) -> int:
        runs.append(number)
        return number

    store = Store()
    grace = timedelta(0)
    async with open_on(store, grace=grace) as m, open_on(store, grace=grace) as other:
        for each in (m, other):
            each.add_queue(patient)
            await each.start()
        id = (await m.enqueue(patient, 1)).id
        await trio.sleep(10 * patient.lease.total_seconds())
        store.takes_results = True
        await trio.sleep(10)
        record = await m.get_job(patient, id)
    assert record.status is m25.JobStatus.SUCCEEDED
    assert runs == [1]
    assert len(store.rows()) == 1
