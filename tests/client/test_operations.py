"""An operator finds jobs, whatever their queues, and retries, cancels and deletes them."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import trio.testing

import m25
from m25 import JobStatus, errors
from m25.testing import MemoryStore
from support import original
from support.told import told
from support.waiting import rows

BROKEN = {"mails"}


@m25.queue("mails")
async def mails(to: str) -> str:
    if "mails" in BROKEN:
        raise ValueError(f"no mailbox for {to}")
    return "sent"


@m25.queue("reports")
async def reports(year: int) -> dict[str, int]:
    return {"year": year}


@pytest.fixture(autouse=True)
def mails_are_broken() -> None:
    BROKEN.add("mails")


async def test_a_failing_job_is_found_its_error_read_it_is_retried_and_succeeds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with m25.testing.open() as m:
        m.add_queue(mails)
        m.add_queue(reports)
        await m.start()
        sent = await m.enqueue(mails, m25.Job("ada", meta={"request": 7}))
        await m.enqueue(reports, 2026)
        await m25.testing.drain(m)
        by_name = {queue.name: queue for queue in await m.queues()}
        assert (by_name["mails"].failed, by_name["reports"].failed) == (1, 0)
        assert by_name["mails"].workers == 1
        page = await m.jobs(status="failed")
        (failed,) = page.jobs
        assert (page.after, page.is_out_of_time) == (None, False)
        assert (failed.id, failed.queue_name, failed.status) == (
            sent.id,
            "mails",
            JobStatus.FAILED,
        )
        assert failed.error == "ValueError: no mailbox for ada"
        details = await m.job_details(sent.id)
        assert details is not None
        assert (json.loads(details.input), json.loads(details.meta or "")) == (
            "ada",
            {"request": 7},
        )
        (attempt,) = details.attempts
        assert "raise ValueError" in (attempt.crash_traceback or "")
        BROKEN.clear()
        assert await m.retry(sent.id) == m25.ChangedJobs(1)
        record = await m.wait(mails, sent.id)
        assert (record.output, record.attempt) == ("sent", 2)
        details = await m.job_details(record.id)
        assert details is not None
        assert (details.job.id, details.job.attempt_id) == (sent.id, record.id)
        assert [each.status.value for each in details.attempts] == ["failed", "succeeded"]
        assert details.attempts[1].output == '"sent"'
        assert await m.job_details(m25.JobId("0" * 32)) is None


async def test_many_are_retried_by_what_they_are_and_nothing_else_is(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", "m25")
    async with m25.testing.open() as m:
        m.add_queue(mails)
        await m.start()
        await m.enqueue_many(mails, [str(number) for number in range(510)])
        await m25.testing.drain(m)
        await trio.sleep(3_600)
        late = await m.enqueue(mails, "late")
        await m25.testing.drain(m)
        BROKEN.clear()
        counts = await m.counts(queue=mails)
        assert (counts.by_status, counts.total) == ({JobStatus.FAILED: 511}, 511)
        assert (await m.counts(where="late")).total == 1
        assert await m.retry(queue="mails", since=timedelta(minutes=1)) == m25.ChangedJobs(1)
        assert (await m.wait(mails, late.id)).attempt == 2
        assert (await m.retry(queue="mails")).done == 510
        await m25.testing.drain(m)
        assert (await m.counts(queue=mails)).by_status == {JobStatus.SUCCEEDED: 511}
        assert await m.retry(queue="mails") == m25.ChangedJobs(0)
        (refused,) = (await m.retry(late.id)).refused
        assert refused == m25.RefusedJob(
            late.id, "it has succeeded; enqueue it anew to have it run again"
        )


async def test_who_has_the_key_is_said_where_a_retry_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with m25.testing.open() as m:
        m.add_queue(mails)
        await m.start()
        first = await m.enqueue(mails, m25.Job("ada").with_unique_key("k"))
        await m25.testing.drain(m)
        later = m25.Job("ada", scheduled_at=first.created_at + timedelta(days=1))
        second = await m.enqueue(mails, later.with_unique_key("k"))
        changed = await m.retry(first.id)
        assert (changed.done, changed.refusals) == (0, 1)
        assert changed.refused[0].holder == second.id
        assert str(second.id) in changed.refused[0].reason


@pytest.mark.parametrize("ends", ["failed", "cancelled"])
async def test_a_job_is_retried_with_what_it_has_started(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, ends: str
) -> None:
    caplog.set_level("CRITICAL", "m25")
    is_sound = False

    @m25.queue("wheels")
    async def wheels(number: int) -> int:
        if number == 2 and not is_sound:
            if ends == "failed":
                raise ValueError(number)
            await trio.sleep_forever()
        return number

    @m25.queue("cars")
    async def cars(_: None) -> list[int | None]:
        async with m25.current_job().open_nursery() as nursery:
            found = [await nursery.start_job(wheels, number) for number in (1, 2)]
        return [wheel.output for wheel in found]

    async with m25.testing.open() as m:
        m.add_queue(wheels)
        m.add_queue(cars)
        await m.start()
        car = await m.enqueue(cars, None)
        await trio.testing.wait_all_tasks_blocked()
        if ends == "cancelled":
            await m.cancel(car.id)
        assert (await m.wait(cars, car.id)).status.value == ends
        await m25.testing.drain(m)
        (wheel,) = (await m.jobs(queue=wheels, status=ends)).jobs
        (refused,) = (await m.retry(wheel.id)).refused
        assert "another job has started it" in refused.reason
        is_sound = True
        assert (await m.retry(car.id)).done == 1
        assert await m.result(cars, car.id) == [1, 2]
        assert (await m.delete(car.id)).done == 1
        assert (await m.counts()).total == 0


async def test_jobs_are_cancelled_by_what_they_are_also_while_they_run(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "m25")

    @m25.queue("long", max_concurrency=2)
    async def long(_: int) -> None:
        await trio.sleep_forever()

    store = MemoryStore()
    async with m25.testing.open(store) as m:
        m.add_queue(long)
        await m.start()
        records = [await m.enqueue(long, number) for number in range(5)]
        await trio.testing.wait_all_tasks_blocked()
        changed = await m.cancel(queue=long, by="ada", reason="not needed")
        assert (changed.done, changed.asked, changed.refusals) == (5, 2, 0)
        for record in records:
            ended = await m.wait(long, record.id)
            assert (ended.status, ended.cancelled_by, ended.cancel_reason) == (
                JobStatus.CANCELLED,
                "ada",
                "not needed",
            )
        assert told(caplog).count("JobCancelled") == 5
        unknown = m25.JobId("0" * 32)
        changed = await m.cancel(records[0].id, unknown)
        assert [each.reason for each in changed.refused] == [
            "it has ended",
            "there is no such job",
        ]
        locked = await m.enqueue(long, m25.Job(9, scheduled_at=records[0].created_at))
        store.lock(str(locked.id))
        (refused,) = (await m.cancel(locked.id)).refused
        assert "try again" in refused.reason


async def test_jobs_that_a_worker_of_the_originals_runs_are_not_cancelled_and_it_is_said_why(
    dsn: str,
) -> None:
    async with m25.open(dsn) as m:
        await m.enqueue_many(mails, ["a", "b"])
        await rows(dsn, original.RESERVE, queue="mails", limit=1)
        changed = await m.cancel(queue=mails)
        assert changed.done == 1
        (refused,) = changed.refused
        assert "a worker of the original m25 runs it" in refused.reason


async def test_what_has_ended_is_deleted_by_what_it_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with m25.testing.open() as m:
        m.add_queue(mails)
        m.add_queue(reports)
        await m.start()
        await m.enqueue_many(mails, ["a", "b"])
        await m.enqueue_many(reports, [2025, 2026])
        await m25.testing.drain(m)
        kept = await m.enqueue(reports, m25.Job(1, scheduled_at=(await in_an_hour(m))))
        assert await m.delete(queue=reports, status="succeeded", where=2025) == m25.ChangedJobs(1)
        assert await m.delete(kept.id) == m25.ChangedJobs(
            0,
            0,
            1,
            (m25.RefusedJob(kept.id, "it has not ended, or what it has started has not"),),
        )
        assert (await m.delete(status=["failed", "succeeded", "cancelled"])).done == 3
        assert [each.id for each in (await m.jobs()).jobs] == [kept.id]


async def in_an_hour(m: m25.M25) -> object:
    (page, *_) = (await m.jobs(limit=1)).jobs
    return page.created_at + timedelta(hours=1)


async def test_a_page_goes_on_where_the_one_before_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with m25.testing.open() as m:
        records = [await m.enqueue(reports, number) for number in range(7)]
        seen: list[m25.JobId] = []
        page = await m.jobs(limit=3)
        while True:
            seen += [job.id for job in page.jobs]
            if page.after is None:
                break
            page = await m.jobs(limit=3, after=page.after)
        assert seen == [record.id for record in reversed(records)]


async def test_a_look_ends_in_time_and_says_how_far_it_has_come(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def take_time(call: str, when: str) -> None:
        if call in ("find", "count") and when == "before":
            await trio.sleep(1)

    async with m25.testing.open(MemoryStore(fault=take_time)) as m:
        await m.enqueue_many(reports, range(4_001))
        page = await m.jobs(status="succeeded", seconds=0.5)
        assert page.is_out_of_time
        assert page.after is not None
        assert page.looked_back_to is not None
        rest = await m.jobs(status="succeeded", after=page.after, seconds=1e6)
        assert (rest.after, rest.is_out_of_time) == (None, False)
        counts = await m.counts(where=1, seconds=0)
        assert counts.is_out_of_time
        assert (await m.jobs(where=1, seconds=1e6)).jobs[0].input == "1"


async def test_what_is_not_meant_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with m25.testing.open() as m:
        for call, verb in ((m.retry, "retried"), (m.cancel, "cancelled"), (m.delete, "deleted")):
            with pytest.raises(errors.UsageError, match=f"which jobs are to be {verb}"):
                await call()
        with pytest.raises(errors.UsageError, match="by ids or by what they are"):
            await m.retry(m25.JobId("0" * 32), queue="mails")
        with pytest.raises(errors.UsageError, match="jobs that are succeeded cannot be retried"):
            await m.retry(status="succeeded")
        with pytest.raises(errors.UsageError, match="jobs that are pending cannot be deleted"):
            await m.delete(status=JobStatus.PENDING)
        with pytest.raises(ValueError, match="nonsense"):
            await m.jobs(status="nonsense")
        with pytest.raises(ValueError, match="limit"):
            await m.jobs(limit=0)
        with pytest.raises(errors.InvalidQueue, match="empty"):
            await m.counts(queue="")
        with pytest.raises(errors.InvalidJob):
            await m.job_details("nonsense")


async def test_a_queue_that_is_only_declared_is_as_good_as_its_name(
    autojump_clock: trio.testing.MockClock,
) -> None:
    declared = m25.declare("mails", input=str, output=str, default_job_timeout=timedelta(seconds=7))
    async with m25.testing.open() as m:
        await m.pause(declared, reason="a new server")
        (record,) = await m.queues()
        assert (record.pause_reason, record.default_job_timeout) == (
            "a new server",
            timedelta(seconds=7),
        )
        await m.resume(declared)
        m.add_queue(mails)
        await m.start()
        sent = await m.enqueue(declared, "ada")
        await m25.testing.drain(m)
        assert (await m.counts(queue=declared)).total == 1
        assert [each.id for each in (await m.jobs(queue=declared)).jobs] == [sent.id]
        assert await m.retry(queue=declared, status="failed") == m25.ChangedJobs(1)
        await m25.testing.drain(m)
        assert await m.delete(queue=declared, status="failed") == m25.ChangedJobs(1)
        with pytest.raises(errors.UsageError, match="keep"):
            await m.prune(declared)
        with pytest.raises(errors.UsageError, match="no worker has run a queue with the limit"):
            await m.set_limit(declared, 3)
