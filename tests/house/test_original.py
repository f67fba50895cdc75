"""One queue shared with workers of the original m25: its plain statements, on our table."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
import trio

import m25
from m25._store.protocol import Release, Written
from support.insides import store_of
from support.original import (
    CANCEL,
    CLEAN_UP_STUCK,
    ERROR,
    FAIL,
    HEARTBEAT,
    INSERT,
    PROMOTE,
    RESERVE,
    RETRY,
    SHORT_INSERT,
    SUCCEED,
    TIME_OUT,
)
from support.waiting import chain, ended, eventually, rows


@m25.queue("shared", poll_interval=0.1, reserved_timeout=300)
async def shared(number: int) -> int:
    return number + 1


async def do(dsn: str, statement: str, **parameters: Any) -> list[UUID]:
    parameters = {"queue": "shared", **parameters}
    return [row["id"] for row in await rows(dsn, statement, **parameters)]


async def insert(dsn: str, **given: Any) -> UUID:
    (id,) = await do(dsn, INSERT, **{"input": "1", "max_attempts": 1, "unique_key": None, **given})
    return id


async def claimed(dsn: str, **given: Any) -> UUID:
    """A job that a worker of the original is running."""
    id = await insert(dsn, **given)
    assert await do(dsn, RESERVE, limit=1) == [id]
    assert await do(dsn, PROMOTE, id=id) == [id]
    return id


async def status(dsn: str, id: UUID) -> str:
    (row,) = await rows(dsn, "select status from m25.job where id = %(id)s", id=id)
    return row["status"]


async def test_the_whole_life_of_a_job_in_the_originals_statements(dsn: str) -> None:
    id = await insert(dsn)
    assert await status(dsn, id) == "pending"
    assert await do(dsn, RESERVE, limit=10) == [id]
    assert await status(dsn, id) == "reserved"
    assert await do(dsn, PROMOTE, id=id) == [id]
    assert await status(dsn, id) == "executing"
    assert await do(dsn, HEARTBEAT, id=id) == [id]
    assert await do(dsn, SUCCEED, id=id, output="2") == [id]
    assert await status(dsn, id) == "succeeded"
    async with m25.open(dsn) as m:
        record = await m.get_job(shared, m25.JobId(id))
    assert record.output == 2
    assert record.status is m25.JobStatus.SUCCEEDED
    assert record.latest_heartbeat_at is not None
    assert record.deadline == record.started_at + record.timeout


@pytest.mark.parametrize("reason", ["error", "crash", "heartbeat_timeout", "job_timeout"])
async def test_a_job_that_fails_and_is_retried_in_the_originals_statements(
    dsn: str, reason: str
) -> None:
    id = await claimed(dsn, max_attempts=2, unique_key="k")
    if reason == "error":
        assert await do(dsn, ERROR, id=id, error_data='{"a": 1}') == [id]
    elif reason == "job_timeout":
        await rows(dsn, "update m25.job set deadline = now() - interval '1 second'")
        assert await do(dsn, TIME_OUT) == [id]
    else:
        assert await do(dsn, FAIL, id=id, reason=reason) == [id]
    (next_id,) = await do(dsn, RETRY, id=id)
    assert [row["id"] for row in await chain(dsn, m25.JobId(id))] == [id, next_id]
    # The next attempt is ours to run.
    async with m25.open(dsn) as m:
        m.add_queue(shared)
        await m.start()
        record = await ended(m, shared, m25.JobId(next_id))
    assert record.status is m25.JobStatus.SUCCEEDED
    assert record.attempt == 2
    assert record.original_attempt_id == m25.JobId(id)


async def test_a_job_is_cancelled_by_the_originals_statement(dsn: str) -> None:
    async with m25.open(dsn) as m:
        record = await m.enqueue(shared, 1)
        assert await do(dsn, CANCEL, id=record.id.value) == [record.id.value]
        assert (await m.get_job(shared, record.id)).status is m25.JobStatus.CANCELLED


async def test_a_stuck_reservation_is_returned_by_the_originals_statement(dsn: str) -> None:
    id = await insert(dsn)
    await do(dsn, RESERVE, limit=1)
    assert await do(dsn, CLEAN_UP_STUCK) == []
    await rows(dsn, "update m25.job set reserved_at = now() - interval '1 minute'")
    assert await do(dsn, CLEAN_UP_STUCK) == [id]
    assert await status(dsn, id) == "pending"


async def test_a_row_that_the_original_inserted_is_run_by_us(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(shared)
        await m.start()
        record = await ended(m, shared, m25.JobId(await insert(dsn, input="41")))
    assert record.output == 42
    assert record.priority == 0
    assert record.meta is None


async def test_a_row_inserted_without_max_attempts_has_ten(dsn: str) -> None:
    @m25.queue("shared", poll_interval=0.1)
    async def failing(number: int) -> None:
        raise RuntimeError

    async with m25.open(dsn) as m:
        m.add_queue(failing)
        await m.start()
        (id,) = await do(dsn, SHORT_INSERT, input="1")

        async def all_failed() -> bool:
            found = await chain(dsn, m25.JobId(id))
            return len(found) == 10 and found[-1]["status"] == "failed"

        await eventually(all_failed)
    assert len(await chain(dsn, m25.JobId(id))) == 10


async def test_what_we_enqueue_is_run_by_the_original(dsn: str) -> None:
    async with m25.open(dsn) as m:
        record = await m.enqueue(shared, m25.Job(1, unique_key="k", max_attempts=3))
        id = record.id.value
        assert await do(dsn, RESERVE, limit=1) == [id]
        await do(dsn, PROMOTE, id=id)
        await do(dsn, SUCCEED, id=id, output="7")
        assert (await m.get_job(shared, record.id)).output == 7
        with pytest.raises(m25.UniqueKeyConflict):
            await m.enqueue(shared, m25.Job(1, unique_key="k"))


async def test_a_key_that_the_original_holds_is_refused(dsn: str) -> None:
    id = await claimed(dsn, unique_key="k")
    async with m25.open(dsn) as m:
        with pytest.raises(m25.UniqueKeyConflict) as conflict:
            await m.enqueue(shared, m25.Job(1, unique_key="k"))
        assert conflict.value.job_id == m25.JobId(id)
        await do(dsn, FAIL, id=id, reason="crash")
        await m.enqueue(shared, m25.Job(1, unique_key="k"))


async def test_a_job_that_the_original_runs_is_left_to_it_until_its_deadline(dsn: str) -> None:
    running = await claimed(dsn)
    overdue = await claimed(dsn, max_attempts=2, unique_key="k")
    await rows(
        dsn,
        "update m25.job set deadline = now() - interval '1 ms' where id = %(id)s",
        id=overdue,
    )
    async with m25.open(dsn) as m:
        m.add_queue(shared)
        await m.start()
        record = await ended(m, shared, m25.JobId(overdue))
        assert record.failure_reason is m25.FailureReason.JOB_TIMEOUT

        async def succeeded() -> bool:
            return (await chain(dsn, m25.JobId(overdue)))[-1]["status"] == "succeeded"

        await eventually(succeeded)
        attempts = await chain(dsn, m25.JobId(overdue))
        assert [row["attempt"] for row in attempts] == [1, 2]
        assert [row["losses"] for row in attempts] == [0, 0]
        assert attempts[1]["unique_key"] == "k"
        # It beats or does not; its deadline alone judges it.
        assert await status(dsn, running) == "executing"
        assert await do(dsn, SUCCEED, id=running, output="2") == [running]
    assert await status(dsn, running) == "succeeded"


async def test_a_reservation_of_the_originals_is_returned_after_reserved_timeout(dsn: str) -> None:
    fresh, stuck = [await insert(dsn) for _ in range(2)]
    assert set(await do(dsn, RESERVE, limit=2)) == {fresh, stuck}
    await rows(
        dsn,
        "update m25.job set reserved_at = now() - interval '300 s' where id = %(id)s",
        id=stuck,
    )
    async with m25.open(dsn) as m:
        m.add_queue(shared)
        await m.start()
        record = await ended(m, shared, m25.JobId(stuck))
        assert record.attempt == 1
        assert record.output == 2
        assert await status(dsn, fresh) == "reserved"


async def test_a_reservation_of_ours_that_the_original_took_is_not_ours_any_more(
    dsn: str,
) -> None:
    async with m25.open(dsn) as m:
        record = await m.enqueue(shared, 1)
        # As a worker of ours leaves it that stands still before it has started the job.
        token = "6cbd7a4e-9e4b-4a68-9a2c-0f1a8ad1b2c3"
        await store_of(m).claim("shared", token=token, limit=1, lease=shared.lease, start=False)
        claim = m25._store.protocol.ClaimedJob(str(record.id), token)
        await rows(dsn, "update m25.job set reserved_at = now() - interval '1 minute'")
        assert await do(dsn, CLEAN_UP_STUCK) == [record.id.value]
        assert await do(dsn, RESERVE, limit=1) == [record.id.value]
        (before,) = await rows(dsn, "select * from m25.job")
        assert before["claim_token"] is None
        assert await store_of(m).start([claim], shared.lease) == []
        nothing = Written(set(), set())
        renewed = await store_of(m).heartbeat([claim], shared.lease, shared.reserved_timeout)
        assert renewed == nothing
        assert await store_of(m).release([Release(*claim)], []) == nothing
        assert await store_of(m).release_claims("shared", [token]) == []
        assert await rows(dsn, "select * from m25.job") == [before]


async def test_two_kinds_of_workers_share_the_work_and_run_each_job_once(dsn: str) -> None:
    ids = {await insert(dsn, input=str(number)) for number in range(60)}
    theirs: list[UUID] = []

    async def original() -> None:
        while taken := await do(dsn, RESERVE, limit=3):
            for id in taken:
                assert await do(dsn, PROMOTE, id=id) == [id]
                assert await do(dsn, SUCCEED, id=id, output="-1") == [id]
            theirs.extend(taken)

    async with m25.open(dsn) as m, trio.open_nursery() as nursery:
        m.add_queue(shared)
        nursery.start_soon(original)
        await trio.sleep(0.02)
        await m.start()

        async def all_succeeded() -> bool:
            (row,) = await rows(dsn, "select count(*) from m25.job where status = 'succeeded'")
            return row["count"] == len(ids)

        await eventually(all_succeeded)
    found = await rows(dsn, "select id, output from m25.job")
    assert {row["id"] for row in found} == ids
    assert {row["id"] for row in found if row["output"] == -1} == set(theirs)
