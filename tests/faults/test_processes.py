"""Processes that die, stand still, or lose the database."""

from __future__ import annotations

import os
import signal
import sys
from itertools import pairwise

import pytest
import trio

import m25
from support.insides import store_of
from support.processes import PROGRAMS, worker
from support.programs.worker import LIFELONG
from support.waiting import chain, ended, eventually, rows

#: For a worker's program: its queue allows so many losses.
TWO_LOSSES = {**os.environ, "M25_TEST_ALLOWED_LOSSES": "2"}


@m25.queue("sleeps")
async def sleeps(seconds: float) -> int:
    return 0


async def succeeded(dsn: str) -> int:
    (row,) = await rows(
        dsn,
        "select count(distinct coalesce(original_attempt_id, id)) from m25.job"
        " where status = 'succeeded'",
    )
    return row["count"]


async def check_chains(dsn: str, first: list[m25.JobId]) -> None:
    """Each job has succeeded once, at the end of a chain without gap, fork or repeat."""
    for id in first:
        attempts = await chain(dsn, id)
        assert [row["attempt"] for row in attempts] == list(range(1, len(attempts) + 1))
        assert [row["status"] for row in attempts[:-1]] == ["failed"] * (len(attempts) - 1)
        assert attempts[-1]["status"] == "succeeded"
        for before, after in pairwise(attempts):
            assert after["previous_attempt_id"] == before["id"]
            assert before["failure_reason"] == "heartbeat_timeout"
        # A busy machine may cost a job more than one attempt.
        lost = len(attempts) - 1
        assert [row["losses"] for row in attempts] == [*range(1, lost + 1), lost]


@pytest.mark.slow
async def test_of_three_workers_one_is_killed_and_one_stopped_past_its_lease(dsn: str) -> None:
    async with m25.open(dsn) as m, worker(dsn) as first, worker(dsn) as second:
        # Before the third is there both have jobs that they do not end, however long that takes.
        ids = [(await m.enqueue(sleeps, LIFELONG)).id for _ in range(8)]
        for running in (first, second):
            await running.until_printed("begun", times=4)
        async with worker(dsn) as third:
            ids += [(await m.enqueue(sleeps, 0.2 + 0.15 * (n % 13))).id for n in range(32)]
            await third.until_printed("begun", times=3)
            first.process.kill()
            second.process.send_signal(signal.SIGSTOP)

            async def all_done() -> bool:
                return await succeeded(dsn) == len(ids)

            await eventually(all_done, 60)
            before = await rows(dsn, "select * from m25.job order by id")
            second.process.send_signal(signal.SIGCONT)

            async def said_so() -> bool:
                events = {event["event"] for event in second.events()}
                return bool(events & {"ResultDiscarded", "ClaimFenced"})

            await eventually(said_so)
            second.process.send_signal(signal.SIGTERM)
            assert await second.process.wait() == 0
            third.process.send_signal(signal.SIGTERM)
            assert await third.process.wait() == 0
    assert await rows(dsn, "select * from m25.job order by id") == before
    await check_chains(dsn, ids)


async def test_the_jobs_of_a_killed_process_run_again_within_the_bound(dsn: str) -> None:
    async with m25.open(dsn) as m, worker(dsn) as victim:
        ids = [(await m.enqueue(sleeps, LIFELONG)).id for _ in range(4)]
        await victim.until_printed("begun", times=4)
        async with worker(dsn) as survivor:
            ids += [(await m.enqueue(sleeps, 0.5)).id for _ in range(4)]
            await survivor.until_printed("begun")
            victim.process.kill()
            await victim.process.wait()
            killed_at = trio.current_time()
            (row,) = await rows(dsn, "select count(*) from m25.job where status = 'executing'")
            assert row["count"] > 0

            async def taken_over() -> bool:
                (lost,) = await rows(
                    dsn,
                    "select count(*) from m25.job as lost join m25.job as next"
                    " on next.previous_attempt_id = lost.id and next.started_at is not null"
                    " where lost.failure_reason = 'heartbeat_timeout'",
                )
                return lost["count"] > 0

            await eventually(taken_over)
            # heartbeat_interval × (allowed misses + 1) + poll_interval + 1 s, and what a busy
            # machine adds.
            assert trio.current_time() - killed_at < 0.2 * 3 + 0.2 + 1 + 30
            assert survivor.process.returncode is None

            async def all_done() -> bool:
                return await succeeded(dsn) == len(ids)

            await eventually(all_done)
    await check_chains(dsn, ids)


@pytest.mark.slow
async def test_a_handler_that_ends_its_process_is_started_again_so_often_and_no_more(
    dsn: str,
) -> None:
    async with m25.open(dsn) as m:
        id = (await m.enqueue(sleeps, -1.0)).id
    command = [sys.executable, str(PROGRAMS / "worker.py"), dsn, "1"]
    for _ in range(3):
        with trio.fail_after(60):
            process = await trio.run_process(
                command, check=False, capture_stdout=True, env=TWO_LOSSES
            )
        assert process.returncode == 3
    async with worker(dsn, environment=TWO_LOSSES):

        async def judged() -> bool:
            return [row["failure_reason"] for row in await chain(dsn, id)] == (
                ["heartbeat_timeout"] * 3
            )

        await eventually(judged)
    assert [row["losses"] for row in await chain(dsn, id)] == [1, 2, 3]
    assert [row["max_attempts"] for row in await chain(dsn, id)] == [1, 1, 1]


@pytest.mark.slow
async def test_a_handler_that_ends_its_process_fails_none_of_those_that_run_beside_it(
    dsn: str,
) -> None:
    """They are lost with it, and claimed with it again, as long as it has attempts."""
    async with m25.open(dsn) as m:
        ids = [(await m.enqueue(sleeps, seconds)).id for seconds in (-1.0, 0.05, 0.05, 0.05)]
        command = [sys.executable, str(PROGRAMS / "worker.py"), dsn, "1"]

        async def keep_running() -> None:
            while True:
                await trio.run_process(command, check=False, capture_stdout=True, env=TWO_LOSSES)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_running)
            with trio.fail_after(60):
                ends = [await m.wait(sleeps, id) for id in ids]
            nursery.cancel_scope.cancel()
    assert [end.status.value for end in ends] == ["failed", *["succeeded"] * 3]


async def test_an_attempt_that_was_lost_is_excused_up_to_allowed_losses_times(dsn: str) -> None:
    @m25.queue("lost", poll_interval=0.1, allowed_losses=2)
    async def lost(number: int) -> int:
        return number

    async with m25.open(dsn) as m:
        first = await m.enqueue(lost, 1)
        # ClaimedJob by a process of ours that is gone, again and again.
        claim = (
            "update m25.job set reserved_at = now(), started_at = now(),"
            " deadline = now() + timeout, claim_token = gen_random_uuid(),"
            " lease_expires_at = now() - interval '1 second' where status = 'pending'"
        )
        await rows(dsn, claim)
        m.add_queue(lost)
        for number in (1, 2, 3):

            async def swept(number: int = number) -> bool:
                sweep = [m25._store.protocol.SweptQueue("lost", 2, lost.reserved_timeout)]
                suspects = await store_of(m).find_suspects(sweep, 10)
                await store_of(m).sweep(sweep, suspects)
                return len(await chain(dsn, first.id)) == min(number + 1, 3)

            await eventually(swept)
            await rows(dsn, claim)
        attempts = await chain(dsn, first.id)
    assert [row["losses"] for row in attempts] == [1, 2, 3]
    assert [row["failure_reason"] for row in attempts] == ["heartbeat_timeout"] * 3


async def test_a_claim_that_was_taken_over_is_noticed_and_its_handler_cancelled(
    dsn: str,
) -> None:
    begun, cancelled = trio.Event(), trio.Event()

    @m25.queue("robbed", heartbeat_interval=0.1, poll_interval=60)
    async def robbed(number: int) -> None:
        if m25.current_job().attempt > 1:
            return
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with m25.open(dsn) as m:
        m.add_queue(robbed)
        await m.start()
        record = await m.enqueue(robbed, m25.Job(1, max_attempts=1))
        await begun.wait()
        await rows(
            dsn,
            "update m25.job set finished_at = now(), failure_reason = 'job_timeout',"
            " claim_token = null",
        )
        with trio.fail_after(30):
            await cancelled.wait()
        assert (await ended(m, robbed, record.id)).failure_reason is m25.FailureReason.JOB_TIMEOUT


async def test_heartbeats_renew_the_lease(dsn: str) -> None:
    begun, release = trio.Event(), trio.Event()

    @m25.queue("beating", heartbeat_interval=0.2, allowed_heartbeat_misses=9, poll_interval=0.1)
    async def beating(number: int) -> int:
        begun.set()
        await release.wait()
        return m25.current_job().attempt

    async with m25.open(dsn) as m, m25.open(dsn) as other:
        m.add_queue(beating)
        await m.start()
        record = await m.enqueue(beating, 1)
        await begun.wait()
        other.add_queue(beating)
        await other.start()

        async def renewed() -> bool:
            (row,) = await rows(
                dsn,
                "select latest_heartbeat_at - started_at > %(lease)s as renewed from m25.job",
                lease=beating.lease,
            )
            return bool(row["renewed"])

        await eventually(renewed)
        release.set()
        assert (await ended(m, beating, record.id)).output == 1


async def test_a_result_that_cannot_be_written_yet_keeps_its_attempt(dsn: str) -> None:
    ran: list[int] = []

    @m25.queue("waiting", heartbeat_interval=0.2, allowed_heartbeat_misses=9, poll_interval=0.1)
    async def waiting(number: int) -> int:
        ran.append(number)
        return number

    async with m25.open(dsn) as m, m25.open(dsn) as other:
        m.add_queue(waiting)
        await m.start()
        # Results are refused for longer than a lease lasts; heartbeats are not.
        await rows(
            dsn,
            "create function refuse() returns trigger language plpgsql as"
            " $$ begin raise exception 'not now' using errcode = '53000'; end $$",
        )
        await rows(
            dsn,
            "create trigger refuse before update on m25.job for each row"
            " when (new.finished_at is not null) execute function refuse()",
        )
        record = await m.enqueue(waiting, 7)
        other.add_queue(waiting)
        await other.start()

        async def kept() -> bool:
            (row,) = await rows(
                dsn,
                "select latest_heartbeat_at - started_at > '3 s' as kept from m25.job",
            )
            return bool(row["kept"])

        await eventually(kept)
        await rows(dsn, "drop trigger refuse on m25.job")
        ended_record = await ended(m, waiting, record.id)
    assert ended_record.output == 7
    assert ran == [7]
