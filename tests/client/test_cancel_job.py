"""`cancel_job`: what it says to its caller, whatever the job is doing meanwhile."""

from __future__ import annotations

import logging
import random
from collections import Counter
from typing import Any

import pytest
import trio

import m25
from support import original
from support.told import told
from support.waiting import PATIENCE, chain, ended, eventually, rows


@m25.queue("notes")
async def notes(number: int) -> int:
    return number


async def _fails(number: int) -> int:
    raise ValueError(number)


async def test_a_pending_job_is_cancelled_at_once_and_its_record_says_by_whom(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")
    async with m25.open(dsn) as m:
        id = (await m.enqueue(notes, 1)).id
        record = await m.cancel_job(notes, id, running=True, by="ada", reason="no")
    assert record.status is m25.JobStatus.CANCELLED
    assert (record.cancelled_by, record.cancel_reason) == ("ada", "no")
    assert record.cancel_requested_at is None
    assert told(caplog, id) == ["JobCancelled"]


@pytest.mark.parametrize("running", [False, True])
async def test_a_job_that_waits_for_its_next_attempt_is_cancelled_by_the_id_of_any(
    dsn: str, *, running: bool
) -> None:
    flaky = m25.Queue("flaky", handler_function=_fails)
    async with m25.open(dsn) as m:
        m.add_queue(flaky)
        await m.start()
        first = (await m.enqueue(flaky, m25.Job(1, max_attempts=3, retry_delay=3600))).id
        await ended(m, flaky, first)
        record = await m.cancel_job(flaky, first, running=running)
        assert record.status is m25.JobStatus.CANCELLED
        assert (record.attempt, record.original_attempt_id) == (2, first)
        assert [row["status"] for row in await chain(dsn, first)] == ["failed", "cancelled"]
        with pytest.raises(m25.InvalidState) as again:
            await m.cancel_job(flaky, first, running=running)
    assert again.value.status is m25.JobStatus.CANCELLED


async def test_a_job_that_has_ended_cannot_be_cancelled_and_the_error_says_how_it_ended(
    dsn: str,
) -> None:
    flaky = m25.Queue("flaky", handler_function=_fails)
    async with m25.open(dsn) as m:
        m.add_queue(notes)
        m.add_queue(flaky)
        await m.start()
        succeeded, failed = (await m.enqueue(notes, 1)).id, (await m.enqueue(flaky, 1)).id
        for queue, id, status in (
            (notes, succeeded, m25.JobStatus.SUCCEEDED),
            (flaky, failed, m25.JobStatus.FAILED),
        ):
            await ended(m, queue, id)
            with pytest.raises(
                m25.InvalidState,
                match="; it has ended, and so it cannot be",
            ) as refused:
                await m.cancel_job(queue, id, running=True)
            assert refused.value.status is status


async def test_a_job_that_runs_is_left_alone_unless_asked_for(dsn: str) -> None:
    begun = trio.Event()

    @m25.queue("slow")
    async def slow(number: int) -> int:
        begun.set()
        await trio.sleep_forever()
        return number

    async with m25.open(dsn, shutdown_grace=0) as m:
        m.add_queue(slow)
        await m.start()
        id = (await m.enqueue(slow, 1)).id
        await begun.wait()
        with pytest.raises(m25.InvalidState, match="with running=True one that is claimed"):
            await m.cancel_job(slow, id)
        assert (await m.get_job(slow, id)).cancel_requested_at is None
        first = await m.cancel_job(slow, id, running=True, by="ada")
        assert first.cancelled_by == "ada"
        record = await ended(m, slow, id)
    assert record.status is m25.JobStatus.CANCELLED


async def test_a_job_of_the_originals_worker_cannot_be_asked_for(dsn: str) -> None:
    async with m25.open(dsn) as m:
        id = (await m.enqueue(notes, 1)).id
        await rows(dsn, original.RESERVE, queue="notes", limit=1)
        with pytest.raises(m25.InvalidState, match="worker of the original m25") as refused:
            await m.cancel_job(notes, id, running=True)
    assert refused.value.status is m25.JobStatus.RESERVED


async def test_a_request_is_part_of_the_callers_transaction(dsn: str) -> None:
    begun = trio.Event()

    @m25.queue("slow")
    async def slow(number: int) -> int:
        begun.set()
        await trio.sleep_forever()
        return number

    async with (
        m25.open(dsn, shutdown_grace=0) as m,
        await m25.pg.AsyncConnection.connect(dsn) as connection,
    ):
        m.add_queue(slow)
        await m.start()
        id = (await m.enqueue(slow, 1)).id
        await begun.wait()
        await m.cancel_job(slow, id, running=True, connection=connection)
        await connection.rollback()
        assert (await m.get_job(slow, id)).cancel_requested_at is None
        await m.cancel_job(slow, id, running=True, connection=connection)
        await connection.commit()
        assert (await ended(m, slow, id)).status is m25.JobStatus.CANCELLED


@pytest.mark.parametrize(
    "words", [{"by": "a\0"}, {"reason": ""}, {"reason": "x" * 1001}, {"by": 3}]
)
async def test_words_that_cannot_be_kept_are_refused_and_nothing_is_cancelled(
    dsn: str, words: dict[str, Any]
) -> None:
    async with m25.open(dsn) as m:
        id = (await m.enqueue(notes, 1)).id
        (name,) = words
        with pytest.raises(ValueError, match=f"^{name} must"):
            await m.cancel_job(notes, id, **words)
        assert (await m.get_job(notes, id)).status is m25.JobStatus.PENDING


async def test_whoever_waits_is_given_the_end_whatever_it_was(dsn: str) -> None:
    begun: trio.Event

    # Neither a poll nor a heartbeat tells.
    @m25.queue("slow", poll_interval=600, heartbeat_interval=600)
    async def slow(swallows: bool) -> str:
        begun.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            if not swallows:
                raise
        return "done"

    async with m25.open(dsn) as m, m25.open(dsn) as another:
        m.add_queue(slow)
        await m.start()
        for swallows, status in (
            (False, m25.JobStatus.CANCELLED),
            (True, m25.JobStatus.SUCCEEDED),
        ):
            begun = trio.Event()
            id = (await another.enqueue(slow, swallows)).id
            await begun.wait()
            with trio.fail_after(PATIENCE):
                record = await another.cancel_job(slow, id, running=True, wait=True)
            assert record.status is status
        pending = await another.enqueue(notes, 1)
        assert (await another.cancel_job(notes, pending.id, wait=True)).cancelled_at is not None


async def test_a_cancel_in_a_transaction_cannot_be_waited_for(dsn: str) -> None:
    async with (
        m25.open(dsn) as m,
        await m25.pg.AsyncConnection.connect(dsn) as connection,
    ):
        id = (await m.enqueue(notes, 1)).id
        with pytest.raises(ValueError, match="cannot wait with a connection of yours"):
            await m.cancel_job(notes, id, wait=True, connection=connection)
        assert (await m.get_job(notes, id)).status is m25.JobStatus.PENDING


# Races: whatever happens first, both sides agree on one end


@pytest.mark.parametrize(
    "count",
    [
        30,
        pytest.param(500, marks=pytest.mark.slow),
        pytest.param(2_000, marks=[pytest.mark.long, pytest.mark.timeout(600)]),
    ],
)
async def test_a_cancel_that_races_with_the_jobs_end_has_one_answer(dsn: str, count: int) -> None:
    rng = random.Random(25)
    #: What became of each job, as its handler saw it, run by run.
    seen: dict[m25.JobId, list[str]] = {}
    answers: dict[m25.JobId, m25.JobStatus | None] = {}

    @m25.queue("racing", max_concurrency=20, errors=(LookupError,))
    async def racing(number: int) -> int:
        runs = seen.setdefault(m25.current_job().job_id, [])
        try:
            # One goes on until it is cancelled, whatever the machine does meanwhile.
            await trio.sleep(60 if number == 2 else rng.choice((0, 0.02, 0.1, 0.3)))
        except trio.Cancelled:
            runs.append("cancelled")
            raise
        if number % 3 == 0:
            runs.append("failed")
            raise LookupError
        runs.append("succeeded")
        return number

    async with m25.open(dsn) as m, m25.open(dsn) as another:
        m.add_queue(racing)
        await m.start()
        free = trio.CapacityLimiter(20)

        async def race(number: int) -> None:
            async with free:
                job = m25.Job(number, max_attempts=2)
                id = (await another.enqueue(racing, job)).id
                await trio.sleep(rng.choice((0, 0.002, 0.01, 0.03)))
                if number == 1:
                    # On a busy machine all cancels may come in time: this one comes too late.
                    await another.wait(racing, id)
                try:
                    await another.cancel_job(racing, id, running=True)
                except m25.InvalidState as state:
                    answers[id] = state.status
                else:
                    answers[id] = None

        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(race, number)

        async def all_ended() -> bool:
            (left,) = await rows(
                dsn,
                "select count(*) from m25.job where status in ('pending', 'reserved', 'executing')",
            )
            return left["count"] == 0

        await eventually(all_ended)
    ends: Counter[str] = Counter()
    for id, answer in answers.items():
        attempts = await chain(dsn, id)
        last = attempts[-1]["status"]
        runs = seen.get(id, [])
        assert [row["status"] for row in attempts[:-1]] == ["failed"] * (len(attempts) - 1)
        if answer is None:
            ends[f"asked for, {last}"] += 1
            requested = attempts[-1]["cancel_requested_at"] is not None
            assert requested or last == "cancelled"
        else:
            ends[f"refused, {last}"] += 1
            assert answer.value == last
        # What the handler saw is what is in the table. One that was cancelled before it began, or
        # while it was pending, was not called.
        ran = [row["status"] for row in attempts]
        assert runs in (ran, ran[:-1] if last == "cancelled" else ran)
    assert sum(ends.values()) == count, ends
    assert ends["asked for, cancelled"] > 0
    assert ends["refused, succeeded"] > 0
