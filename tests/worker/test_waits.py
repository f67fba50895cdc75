"""Handlers that wait for days or for people: `job.sleep`, `job.receive` and `m.send`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25._client import open_on
from m25._store.memory import MemoryStore
from support.links import Link
from support.told import lines, told
from support.waiting import ended, eventually, rows

FOREVER = datetime(9000, 1, 1, tzinfo=UTC)


@attrs.frozen
class Approval:
    by: str


@attrs.frozen
class Refusal:
    why: str


class NotApproved(Exception):
    pass


class Log(list[str]):
    """What a handler has done, run by run."""

    def queue(self, handler: Any, **options: Any) -> m25.Queue[Any, Any, Any]:
        # Days pass: each poll and each heartbeat is simulated.
        seldom = {"poll_interval": 7_200, "heartbeat_interval": 7_200}
        return m25.Queue("trips", handler_function=handler, **{**seldom, **options})


@pytest.fixture
def log() -> Log:
    return Log()


@asynccontextmanager
async def worker(
    queue: m25.Queue[Any, Any, Any], store: MemoryStore | None = None
) -> AsyncIterator[m25.M25]:
    async with m25.testing.open(store) as m:
        m.add_queue(queue)
        await m.start()
        yield m


async def until_aside(m: m25.M25, queue: m25.Queue[Any, Any, Any], id: m25.JobId) -> Any:
    """The record of a job, once it is set aside."""
    with trio.fail_after(100):
        while True:
            record = await m.current(queue, id)
            if record.status is m25.JobStatus.PENDING and record.scheduled_at is not None:
                return record
            await trio.sleep(0.01)


async def test_days_pass_in_no_time_and_the_handler_runs_again_from_its_first_line(
    log: Log, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "m25")

    async def remind(to: str) -> str:
        job = m25.current_job()
        log.append("first line")
        await job.sleep(days=3)
        log.append("after three days")
        await job.sleep(timedelta(hours=1), minutes=30)
        return f"to {to}"

    queue = log.queue(remind)
    async with worker(queue) as m:
        record = await m.enqueue(queue, "ada")
        assert await m.result(queue, record.id) == "to ada"
        (row,) = await m.attempts(queue, record.id)
    assert row.attempt == 1
    assert row.finished_at is not None
    passed = row.finished_at - row.created_at
    assert timedelta(days=3, hours=1.5) <= passed < timedelta(days=3, hours=1.6)
    assert log == ["first line"] + ["first line", "after three days"] * 2
    assert "set aside until 20" in lines(caplog, "JobSetAside")[0].getMessage()


async def test_a_message_is_what_the_handler_goes_on_with(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        job = m25.current_job()
        log.append("run")
        approval = await job.receive("approval", Approval)
        return f"{place}, as {approval.by} wants"

    queue = log.queue(book)
    async with worker(queue) as m:
        record = await m.enqueue(queue, "Oslo")
        aside = await until_aside(m, queue, record.id)
        assert aside.scheduled_at == FOREVER
        await trio.sleep(10_000)
        assert log == ["run"]
        began = trio.current_time()
        await m.send(queue, record.id, "approval", Approval("ada"))
        assert await m.result(queue, record.id) == "Oslo, as ada wants"
        assert trio.current_time() - began < 0.1
    assert log == ["run", "run"]


async def test_a_message_that_was_sent_before_is_received_at_once(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> list[str]:
        job = m25.current_job()
        log.append("run")
        return [(await job.receive("approval", Approval)).by for _ in range(2)]

    queue = log.queue(book)
    async with worker(queue) as m:
        record = await m.enqueue(
            queue, m25.Job("Oslo").schedule(at=datetime(8000, 1, 1, tzinfo=UTC))
        )
        await m.send(queue, record.id, "approval", Approval("ada"))
        await m.send(queue, str(record.id), "approval", Approval("bob"))
        await m.change_job(queue, record.id, scheduled_at=None)
        assert await m.result(queue, record.id) == ["ada", "bob"]
    assert log == ["run"]


async def test_what_was_received_is_there_for_the_next_attempt_and_others_for_the_next_wait(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        job = m25.current_job()
        first = await job.receive("approval", Approval)
        log.append(first.by)
        if job.attempt == 1:
            raise OSError("no connection")
        second = await job.receive("approval", Approval)
        return first.by + second.by

    queue = log.queue(book, retry=m25.Retry(max_attempts=3, delay=1))
    async with worker(queue) as m:
        record = await m.enqueue(queue, "Oslo")
        await m.send(queue, record.id, "approval", Approval("a"))
        with trio.fail_after(100):
            while (await m.current(queue, record.id)).attempt == 1:  # noqa: ASYNC110
                await trio.sleep(0.1)
        # The id of any attempt names the job.
        await m.send(queue, record.id, "approval", Approval("b"))
        assert await m.result(queue, record.id) == "ab"
    assert set(log) == {"a"}


async def test_a_wait_ends_at_its_timeout_and_does_so_again_in_every_run(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        job = m25.current_job()
        try:
            await job.receive("approval", Approval, timeout=timedelta(days=1))
        except trio.TooSlowError as error:
            log.append(str(error))
            late = await job.receive("approval", Approval)
            return f"late: {late.by}"
        return "in time"

    queue = log.queue(book)
    async with worker(queue) as m:
        record = await m.enqueue(queue, "Oslo")
        aside = await until_aside(m, queue, record.id)
        left = aside.scheduled_at - aside.created_at
        assert timedelta(hours=23) < left < timedelta(hours=25)
        await trio.sleep(80_000)
        await trio.sleep(10_000)
        await m.send(queue, record.id, "approval", Approval("ada"))
        assert await m.result(queue, record.id) == "late: ada"
    assert log == ["no message 'approval' has come in time"] * 2


async def test_clean_up_runs_with_each_wait_and_a_slot_is_free_meanwhile(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        log.append(f"{place} open")
        try:
            await m25.current_job().sleep(hours=1)
        except trio.Cancelled as cancelled:
            log.append(str(cancelled))
            raise
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            log.append(f"{place} closed")
        return place

    queue = log.queue(book, max_concurrency=1)
    async with worker(queue) as m:
        first = await m.enqueue(queue, "Oslo")
        second = await m.enqueue(queue, "Rome")
        await trio.sleep(10)
        assert [each.status for each in m25.testing.jobs(m, queue)] == [m25.JobStatus.PENDING] * 2
        await m.wait(queue, first.id)
        await m.wait(queue, second.id)
    assert log[0] == "Oslo open"
    assert "set aside: the handler runs again once its wait is over" in log[1]
    assert log.count("Oslo open") == log.count("Oslo closed") == 2


async def test_the_timeout_counts_running_time_alone(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        job = m25.current_job()
        await trio.sleep(3)
        await job.sleep(days=1)
        await trio.sleep(1)
        return place

    queue = log.queue(book, default_job_timeout=5)
    async with worker(queue) as m:
        assert await m.call(queue, "Oslo") == "Oslo"


async def test_a_job_that_waits_does_not_expire(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        await m25.current_job().sleep(days=1)
        return place

    queue = log.queue(book)
    async with worker(queue) as m:
        soon = datetime.now(UTC) + timedelta(hours=1)
        assert await m.call(queue, m25.Job("Oslo", expires_at=soon)) == "Oslo"


async def test_a_job_that_waits_is_cancelled_at_once(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        return (await m25.current_job().receive("approval", Approval)).by

    queue = log.queue(book)
    async with worker(queue) as m:
        record = await m.enqueue(queue, "Oslo")
        await until_aside(m, queue, record.id)
        cancelled = await m.cancel_job(queue, record.id)
        assert cancelled.status is m25.JobStatus.CANCELLED
        with pytest.raises(m25.errors.InvalidState, match="has ended, and so it cannot"):
            await m.send(queue, record.id, "approval", Approval("ada"))


async def test_a_message_is_sent_once_however_often_its_call_is_repeated(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> list[str]:
        job = m25.current_job()
        got = [(await job.receive("approval", Approval)).by]
        with suppress(trio.TooSlowError):
            got.append((await job.receive("approval", Approval, timeout=60)).by)
        return got

    queue = log.queue(book)
    async with worker(queue) as m:
        record = await m.enqueue(queue, "Oslo")
        for _ in range(3):
            await m.send(queue, record.id, "approval", Approval("ada"), key="form 7")
        assert await m.result(queue, record.id) == ["ada"]
        await m.send(queue, record.id, "approval", Approval("ada"), key="form 7")


async def test_one_of_several_types_is_received_as_a_union(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        answer = await m25.current_job().receive("answer", Approval | Refusal)
        return type(answer).__name__

    queue = log.queue(book)
    async with worker(queue) as m:
        record = await m.enqueue(queue, "Oslo")
        await m.send(queue, record.id, "answer", Refusal("dear"), kind=Approval | Refusal)
        assert await m.result(queue, record.id) == "Refusal"


async def test_what_is_no_value_of_the_type_is_an_error_that_names_what_and_where(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        return (await m25.current_job().receive("approval", Approval)).by

    queue = log.queue(book)
    async with worker(queue) as m:
        record = await m.enqueue(queue, "Oslo")
        await m.send(queue, record.id, "approval", {"by": 7})
        end = await m.wait(queue, record.id)
    assert end.crash_type == "m25.errors.JobRecordFetchJsonDecodeError"
    assert "message 'approval'" in str(end.crash_message)
    assert "by" in str(end.crash_message)


async def test_a_declared_error_ends_a_job_that_has_waited_as_any_other(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        raise NotApproved((await m25.current_job().receive("answer", Refusal)).why)

    queue = log.queue(book, errors=(NotApproved,))
    async with worker(queue) as m:
        record = await m.enqueue(queue, "Oslo")
        await m.send(queue, record.id, "answer", Refusal("dear"))
        with pytest.raises(NotApproved, match="dear"):
            await m.result(queue, record.id)


async def test_a_short_sleep_is_slept_where_it_is(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        log.append("run")
        await m25.current_job().sleep(0.5)
        return place

    queue = log.queue(book)
    async with worker(queue) as m:
        assert await m.call(queue, "Oslo") == "Oslo"
    assert log == ["run"]


async def test_a_worker_that_dies_while_it_waits_leaves_the_wait_to_the_next(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    """Its release is lost with it: the attempt counts as lost, and the time is kept."""

    async def book(place: str) -> str:
        log.append("run")
        await m25.current_job().sleep(hours=1)
        return place

    queue = log.queue(book, heartbeat_interval=10, poll_interval=10)
    store = MemoryStore()
    link = Link(store)
    async with open_on(store, grace=timedelta(0)) as web:
        async with open_on(link, grace=timedelta(0)) as m:
            m.add_queue(queue)
            await m.start()
            original = store.release

            async def release(*arguments: Any) -> Any:
                link.cut()
                await trio.sleep_forever()

            store.release = release  # type: ignore[method-assign]
            record = await web.enqueue(queue, "Oslo")
            await trio.sleep(60)
        store.release = original  # type: ignore[method-assign]
        web.add_queue(queue)
        await web.start()
        assert await web.result(queue, record.id) == "Oslo"
        first, second = await web.attempts(queue, record.id)
    assert first.failure_reason is m25.FailureReason.HEARTBEAT_TIMEOUT
    assert second.finished_at is not None
    passed = second.finished_at - first.created_at
    assert timedelta(hours=1) <= passed < timedelta(hours=1.1)
    assert len(log) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allowed_losses": 0}, "allowed_losses=0"),
        ({"runs": "thread"}, "runs='thread'"),
    ],
)
async def test_a_handler_that_cannot_begin_again_may_not_wait(
    log: Log, options: dict[str, Any], message: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        await m25.current_job().sleep(hours=1)
        return place

    def book_in_thread(place: str) -> str:
        trio.from_thread.run(lambda: m25.current_job().sleep(hours=1))
        return place

    queue = log.queue(book_in_thread if "runs" in options else book, **options)
    async with worker(queue) as m:
        end = await m.wait(queue, (await m.enqueue(queue, "Oslo")).id)
    assert end.crash_type == "m25.errors.UsageError"
    assert message in str(end.crash_message)


async def test_a_wait_that_cannot_be_cancelled_is_refused(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        with trio.CancelScope(shield=True):
            await m25.current_job().sleep(hours=1)
        return place

    queue = log.queue(book)
    async with worker(queue) as m:
        end = await m.wait(queue, (await m.enqueue(queue, "Oslo")).id)
    assert end.crash_type == "m25.errors.WaitsShielded"


async def test_a_handler_goes_on_after_a_wait_that_was_refused(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        log.append("run")
        with trio.CancelScope(shield=True), pytest.raises(m25.errors.WaitsShielded):
            await m25.current_job().sleep(hours=1)
        await trio.sleep(1)
        return place

    queue = log.queue(book)
    async with worker(queue) as m:
        assert await m.call(queue, "Oslo") == "Oslo"
    assert log == ["run"]


async def test_a_wait_while_jobs_of_its_own_run_is_waited_for_without_a_slot(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    """To be set aside would leave them alone: the handler stays, and others have its slot."""

    async def book(place: str) -> str:
        job = m25.current_job()
        log.append(f"run {place}")
        if place == "part":
            await trio.sleep(200)
            return place
        async with job.open_nursery() as nursery:
            await nursery.start_job(queue, "part")
            await job.sleep(minutes=1)
            approval = await job.receive("approval", Approval)
        return f"{place}, as {approval.by} wants"

    queue = log.queue(
        book, max_concurrency=1, poll_interval=5, heartbeat_interval=5, default_job_timeout=600
    )
    async with worker(queue) as m:
        record = await m.enqueue(queue, "Oslo")
        await trio.sleep(100)
        assert log == ["run Oslo", "run part"]
        await m.send(queue, record.id, "approval", Approval("ada"))
        assert await m.result(queue, record.id) == "Oslo, as ada wants"
    assert log == ["run Oslo", "run part"]


async def test_a_message_that_comes_as_the_handler_gives_up_is_not_lost(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    """A scope of the handler's own is cancelled while the statement is under way that receives."""

    class Slow(MemoryStore):
        async def receive(self, wanted: Any) -> Any:
            answer = await super().receive(wanted)
            await trio.sleep(0.5)
            return answer

    async def trip(_: str) -> list[str]:
        job = m25.current_job()
        got: list[str] = []
        async with job.open_nursery():
            with trio.move_on_after(0.2):
                got.append(await job.receive("word", str))
            got.append(await job.receive("word", str))
        return got

    queue = log.queue(trip)
    async with worker(queue, Slow()) as m:
        job = await m.enqueue(queue, "")
        await m.send(queue, job.id, "word", "one")
        await m.send(queue, job.id, "word", "two")
        with trio.fail_after(10_000):
            assert await m.result(queue, job.id) == ["one", "two"]


async def test_a_wait_that_was_cut_off_is_the_same_wait_when_it_is_called_again(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    """Else a later run would have other messages in other places."""

    async def trip(_: str) -> str:
        job = m25.current_job()
        got = ""
        async with job.open_nursery():
            while not got:
                with trio.move_on_after(5_000):
                    got = await job.receive("word", str)
        log.append(got)
        if job.attempt == 1:
            raise OSError
        return got + await job.receive("word", str)

    queue = log.queue(trip, retry=m25.Retry(max_attempts=2, delay=0), default_job_timeout=100_000)
    async with worker(queue) as m:
        job = await m.enqueue(queue, "")
        await trio.sleep(12_000)
        await m.send(queue, job.id, "word", "one")
        await m.send(queue, job.id, "word", "two")
        with trio.fail_after(100_000):
            assert await m.result(queue, job.id) == "onetwo"
    assert log == ["one", "one"]


async def test_two_waits_at_once_are_refused(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        job = m25.current_job()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(job.receive, "approval", Approval)
            nursery.start_soon(job.receive, "refusal", Refusal)
        return place

    queue = log.queue(book)
    async with worker(queue) as m:
        end = await m.wait(queue, (await m.enqueue(queue, "Oslo")).id)
    assert "is set aside for one wait at a time" in str(end.crash_message) + str(
        end.crash_traceback
    )


async def test_a_deadline_bounds_the_clean_up_of_what_is_set_aside(
    log: Log, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def book(place: str) -> str:
        try:
            await m25.current_job().sleep(hours=1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(100)
        return place

    queue = log.queue(book, default_job_timeout=10, heartbeat_interval=2)
    async with worker(queue) as m:
        end = await m.wait(queue, (await m.enqueue(queue, "Oslo")).id)
    assert end.failure_reason is m25.FailureReason.JOB_TIMEOUT
    assert "HandlerOverran" in told(caplog)


async def test_a_stop_leaves_a_job_that_waits_as_it_is(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def book(place: str) -> str:
        log.append("run")
        return (await m25.current_job().receive("approval", Approval)).by

    queue = log.queue(book)
    store = MemoryStore()
    async with worker(queue, store) as m:
        record = await m.enqueue(queue, "Oslo")
        await until_aside(m, queue, record.id)
    async with worker(queue, store) as m:
        await trio.sleep(100)
        assert log == ["run"]
        await m.send(queue, record.id, "approval", Approval("ada"))
        assert await m.result(queue, record.id) == "ada"


# With a database


@m25.queue("approvals", poll_interval=60)
async def approvals(place: str) -> str:
    return (await m25.current_job().receive("approval", Approval)).by


async def test_a_message_of_another_process_wakes_a_job_without_waiting_for_its_poll(
    dsn: str,
) -> None:
    async with m25.open(dsn) as m, m25.open(dsn) as web:
        m.add_queue(approvals)
        await m.start()
        record = await web.enqueue(approvals, "Oslo")
        awaits = "select id from m25.job where awaits = 'approval' and status = 'pending'"
        await eventually(lambda: rows(dsn, awaits))
        began = trio.current_time()
        await web.send(approvals, record.id, "approval", Approval("ada"))
        assert (await ended(web, approvals, record.id)).output == "ada"
        assert trio.current_time() - began < 30


async def test_a_message_in_a_transaction_is_there_if_that_commits(dsn: str) -> None:
    async with m25.open(dsn) as m, m25.open(dsn) as web:
        m.add_queue(approvals)
        await m.start()
        record = await web.enqueue(approvals, "Oslo")
        awaits = "select id from m25.job where awaits = 'approval' and status = 'pending'"
        await eventually(lambda: rows(dsn, awaits))
        async with await m25.pg.AsyncConnection.connect(dsn) as connection:
            await web.send(approvals, record.id, "approval", Approval("bob"), connection=connection)
            await connection.rollback()
            assert await eventually(lambda: rows(dsn, awaits))
            await web.send(approvals, record.id, "approval", Approval("ada"), connection=connection)
            await connection.commit()
        assert (await ended(web, approvals, record.id)).output == "ada"


async def test_a_drain_that_sets_the_clock_forward_leaves_who_waits_for_a_message(log: Log) -> None:
    async def handler(_: None) -> str:
        log.append("begins")
        return await m25.current_job().receive("answer", str)

    queue = log.queue(handler)
    async with worker(queue) as m:
        record = await m.enqueue(queue, None)
        for _ in range(2):
            await m25.testing.drain(m, scheduled=True)
        assert (await m.current(queue, record.id)).scheduled_at == FOREVER
        assert log == ["begins"]
        await m.send(queue, record.id, "answer", "yes")
        await m25.testing.drain(m, scheduled=True)
        assert await m.result(queue, record.id) == "yes"


async def test_a_trio_timeout_around_a_wait_ends_it_in_the_handler(
    log: Log, autojump_clock: trio.testing.MockClock
) -> None:
    async def handler(_: None) -> str:
        log.append("begins")
        job = m25.current_job()
        with trio.move_on_after(100) as slept:
            await job.sleep(3_600)
        assert slept.cancelled_caught
        with pytest.raises(trio.TooSlowError), trio.fail_after(200):
            await job.receive("answer", str)
        # What has ended in time is as without a scope.
        with trio.fail_after(100):
            await job.sleep(50)
        # Nor is a scope in the way that ends later than the job.
        with trio.fail_after(10**9):
            return await job.receive("late", str)

    queue = log.queue(handler, default_job_timeout=1_000)
    # A scope around all is none of the handler's.
    with trio.fail_after(100_000):
        async with worker(queue) as m:
            record = await m.enqueue(queue, None)
            await trio.sleep(340)
            assert (await m.current(queue, record.id)).status is m25.JobStatus.EXECUTING
            await until_aside(m, queue, record.id)
            assert trio.current_time() < 360
            assert log == ["begins"]
            await m.cancel_job(queue, record.id)


async def test_a_message_that_was_written_as_another_type_is_named_with_what_to_do(
    log: Log,
) -> None:
    async def handler(_: None) -> str:
        job = m25.current_job()
        with pytest.raises(m25.errors.JobRecordFetchJsonDecodeError, match="kind="):
            await job.receive("answer", Approval | Refusal)
        # The next one is received as if that had not come.
        return repr(await job.receive("answer", Approval | Refusal))

    queue = log.queue(handler)
    async with worker(queue) as m:
        record = await m.enqueue(queue, None)
        await m.send(queue, record.id, "answer", Refusal("no"))
        await m.send(queue, record.id, "answer", Refusal("no"), kind=Approval | Refusal)
        await m25.testing.drain(m, scheduled=True)
        assert await m.result(queue, record.id) == "Refusal(why='no')"
