"""Jobs are run, and what became of them is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25._worker.ledger import Ledger
from support.insides import store_of
from support.waiting import PATIENCE, chain, ended, eventually, rows


@attrs.frozen
class Email:
    to: str
    number: int = 0


@attrs.frozen
class MailboxFull(Exception):
    to: str


class NoFunds(Exception):
    pass


async def test_a_job_is_run_and_its_output_comes_back(dsn: str) -> None:
    @m25.queue("emails")
    async def emails(email: Email) -> Email:
        return Email(email.to.upper(), email.number + 1)

    async with m25.open(dsn) as m:
        m.add_queue(emails)
        await m.start()
        record = await m.enqueue(emails, Email("ada"))
        assert record.status is m25.JobStatus.PENDING
        assert record.input == Email("ada")
        record = await ended(m, emails, record.id)
    assert record.status is m25.JobStatus.SUCCEEDED
    assert record.output == Email("ADA", 1)
    assert record.input == Email("ada")
    assert record.failure_reason is None
    assert record.error_data is None


async def test_the_record_says_when_what_happened(dsn: str) -> None:
    @m25.queue("times", default_job_timeout=7)
    async def times(number: int) -> int:
        return number

    async with m25.open(dsn) as m:
        m.add_queue(times)
        enqueued = await m.enqueue(times, 1)
        await m.start()
        record = await ended(m, times, enqueued.id)
    assert record.created_at == enqueued.created_at
    assert record.reserved_at is not None
    assert record.started_at is not None
    assert record.finished_at is not None
    assert record.created_at <= record.reserved_at <= record.started_at <= record.finished_at
    assert record.timeout == timedelta(seconds=7)
    assert record.deadline == record.started_at + timedelta(seconds=7)
    assert record.created_at.tzinfo is UTC


@pytest.mark.parametrize("error", [MailboxFull("ada"), NoFunds("of them", 3)])
async def test_a_declared_error_comes_back_equal(dsn: str, error: Exception) -> None:
    @m25.queue("charge", errors=(MailboxFull, NoFunds))
    async def charge(number: int) -> None:
        raise error

    async with m25.open(dsn) as m:
        m.add_queue(charge)
        await m.start()
        record = await ended(m, charge, (await m.enqueue(charge, 1)).id)
    assert record.status is m25.JobStatus.FAILED
    assert record.failure_reason is m25.FailureReason.ERRORED
    assert type(record.error_data) is type(error)
    assert record.error_data.args == error.args
    assert record.output is None
    assert record.crash_type is None


async def test_a_group_whose_only_leaf_is_a_declared_error_counts_as_that_error(dsn: str) -> None:
    @m25.queue("charge", errors=(NoFunds,))
    async def charge(number: int) -> None:
        async def fail() -> None:
            raise NoFunds(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)

    async with m25.open(dsn) as m:
        m.add_queue(charge)
        await m.start()
        record = await ended(m, charge, (await m.enqueue(charge, 5)).id)
    assert record.failure_reason is m25.FailureReason.ERRORED
    assert isinstance(record.error_data, NoFunds)
    assert record.error_data.args == (5,)


async def test_anything_else_that_is_raised_is_a_crash_with_its_traceback(dsn: str) -> None:
    @m25.queue("crash", errors=(NoFunds,))
    async def crash(number: int) -> None:
        raise LookupError(f"no {number}")

    async with m25.open(dsn) as m:
        m.add_queue(crash)
        await m.start()
        record = await ended(m, crash, (await m.enqueue(crash, 1)).id)
    assert record.failure_reason is m25.FailureReason.CRASH
    assert record.error_data is None
    assert record.crash_type == "LookupError"
    assert record.crash_message == "no 1"
    assert record.crash_traceback is not None
    assert 'raise LookupError(f"no {number}")' in record.crash_traceback
    assert "_executor.py" not in record.crash_traceback


async def test_a_handler_is_cancelled_at_its_deadline(dsn: str) -> None:
    cancelled = trio.Event()

    @m25.queue("slow")
    async def slow(number: int) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with m25.open(dsn) as m:
        m.add_queue(slow)
        await m.start()
        id = (await m.enqueue(slow, m25.Job(1, timeout=0.1))).id
        record = await ended(m, slow, id)
    assert cancelled.is_set()
    assert record.failure_reason is m25.FailureReason.JOB_TIMEOUT
    assert record.finished_at is not None
    assert record.deadline is not None
    assert record.finished_at >= record.deadline


async def test_no_more_jobs_run_at_once_than_max_concurrency(dsn: str) -> None:
    running = most = done = 0

    @m25.queue("few", max_concurrency=3)
    async def few(number: int) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await trio.sleep(0.01)
        running -= 1
        done += 1

    async with m25.open(dsn) as m:
        m.add_queue(few)
        for number in range(30):
            await m.enqueue(few, number)
        await m.start()

        async def all_done() -> bool:
            return done == 30

        await eventually(all_done)
    assert most == 3


async def test_the_next_claim_is_under_way_while_the_jobs_of_a_large_one_begin(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    @m25.queue("large", max_concurrency=400)
    async def large(number: int) -> None:
        events.append("job")

    async with m25.open(dsn) as m:
        m.add_queue(large)
        claim = store_of(m).claim

        async def noted(*args: Any, **kwargs: Any) -> Any:
            events.append("claim")
            return await claim(*args, **kwargs)

        monkeypatch.setattr(store_of(m), "claim", noted)
        await m.enqueue_many(large, range(1000))
        await m.start()

        async def all_done() -> bool:
            return events.count("job") == 1000

        await eventually(all_done)
    assert events[:2] == ["claim", "claim"]


async def test_jobs_run_by_priority_and_then_by_age(dsn: str) -> None:
    order: list[str] = []

    @m25.queue("ordered", max_concurrency=1)
    async def ordered(name: str) -> None:
        order.append(name)

    async with m25.open(dsn) as m:
        m.add_queue(ordered)
        for name, priority in [("b", 0), ("c", 0), ("d", 5), ("a", -5), ("e", 5)]:
            await m.enqueue(ordered, m25.Job(name, priority=priority))
        await m.start()

        async def all_done() -> bool:
            return len(order) == 5

        await eventually(all_done)
    assert order == ["a", "b", "c", "d", "e"]


async def test_a_job_of_higher_priority_goes_before_those_that_wait(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    release = trio.Event()

    @m25.queue("ordered", max_concurrency=1, poll_interval=0.1)
    async def ordered(name: str) -> None:
        order.append(name)
        if name == "first":
            await release.wait()

    async with m25.open(dsn) as m:
        m.add_queue(ordered)
        await m.start()
        for name in ("first", "third", "fourth"):
            await m.enqueue(ordered, name)

        async def begun() -> bool:
            return order == ["first"]

        await eventually(begun)
        await m.enqueue(ordered, m25.Job("second", priority=-1))
        # Claims begin from the start again once a survey has seen what they went past.
        store = store_of(m)
        original, seen = store.survey, trio.Event()

        async def survey(names: Sequence[str]) -> Any:
            found = await original(names)
            seen.set()
            return found

        monkeypatch.setattr(store, "survey", survey)
        with trio.fail_after(PATIENCE):
            await seen.wait()
        release.set()

        async def all_done() -> bool:
            return len(order) == 4

        await eventually(all_done)
    assert order.index("second") < 3


async def test_many_queues_share_a_few_connections(dsn: str) -> None:
    done: set[str] = set()

    def make(name: str) -> m25.Queue[str, None, Exception]:
        async def handler(text: str) -> None:
            done.add(text)

        return m25.Queue(name, handler_function=handler)

    queues: Sequence[m25.Queue[str, None, Exception]] = [make(f"queue {n}") for n in range(20)]
    async with m25.open(dsn, pool_size=3) as m:
        for queue in queues:
            m.add_queue(queue)
        await m.start()
        for queue in queues:
            await m.enqueue(queue, queue.name)

        async def all_done() -> bool:
            return len(done) == 20

        await eventually(all_done)
        connections = await rows(
            dsn,
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid()",
        )
    # The pool's; those for claims and results, for heartbeats, and the listener's.
    assert connections[0]["count"] <= 3 + 3 + 1 + 1


async def test_a_worker_is_woken_without_waiting_for_its_poll(dsn: str) -> None:
    began = trio.Event()

    @m25.queue("prompt", poll_interval=60)
    async def prompt(number: int) -> None:
        began.set()

    async with m25.open(dsn) as worker, m25.open(dsn) as web:
        worker.add_queue(prompt)
        await worker.start()
        await web.enqueue(prompt, 1)
        with trio.fail_after(30):
            await began.wait()


async def test_rows_that_nobody_told_of_are_found_by_polling(dsn: str) -> None:
    began = trio.Event()

    @m25.queue("quiet", poll_interval=0.1)
    async def quiet(number: int) -> None:
        began.set()

    async with m25.open(dsn) as m:
        m.add_queue(quiet)
        await m.start()
        await rows(
            dsn,
            "insert into m25.job (queue_name, input, timeout, attempt)"
            " values ('quiet', '1', '1 minute', 1)",
        )
        with trio.fail_after(30):
            await began.wait()


async def test_a_handler_gets_its_record_from_current_job(dsn: str) -> None:
    found: list[m25.JobRecord[int, None, Exception]] = []

    @m25.queue("curious")
    async def curious(number: int) -> None:
        async def child() -> None:
            found.append(m25.current_job())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)

    with pytest.raises(m25.errors.NotInJob):
        m25.current_job()
    async with m25.open(dsn) as m:
        m.add_queue(curious)
        await m.start()
        enqueued = await m.enqueue(curious, m25.Job(4, meta={"by": "ada"}, unique_key="k"))
        await ended(m, curious, enqueued.id)
    (record,) = found
    assert record.id == enqueued.id
    assert record.input == 4
    assert record.status is m25.JobStatus.EXECUTING
    assert record.attempt == 1
    assert record.unique_key == "k"
    assert record.meta == {"by": "ada"}
    assert record.started_at is not None
    assert record.deadline == record.started_at + record.timeout


async def test_a_scheduled_job_runs_at_its_time_and_not_before(dsn: str) -> None:
    @m25.queue("later", poll_interval=60)
    async def later(number: int) -> None:
        pass

    async with m25.open(dsn) as m:
        m.add_queue(later)
        await m.start()
        at = datetime.now(UTC) + timedelta(seconds=0.6)
        record = await ended(m, later, (await m.enqueue(later, m25.Job(1).schedule(at=at))).id)
    assert record.scheduled_at == at
    assert record.started_at is not None
    assert at <= record.started_at < at + timedelta(seconds=30)


async def test_a_job_scheduled_in_the_past_runs_at_once(dsn: str) -> None:
    @m25.queue("late")
    async def late(number: int) -> None:
        pass

    async with m25.open(dsn) as m:
        m.add_queue(late)
        await m.start()
        past = datetime.now(UTC) - timedelta(days=400)
        record = await ended(m, late, (await m.enqueue(late, m25.Job(1, scheduled_at=past))).id)
    assert record.status is m25.JobStatus.SUCCEEDED


async def test_a_failed_attempt_is_followed_by_the_next_after_its_delay(dsn: str) -> None:
    @m25.queue("flaky", errors=(NoFunds,))
    async def flaky(path: Path) -> int:
        if (attempt := m25.current_job().attempt) < 3:
            raise NoFunds(attempt)
        return attempt

    async with m25.open(dsn) as m:
        m.add_queue(flaky)
        await m.start()
        job = m25.Job(Path("/x"), meta={"a": [1]}, priority=3).retry(max_attempts=5, delay=0.2)
        first = await m.enqueue(flaky, job.with_timeout(9))

        async def succeeded() -> bool:
            return (await chain(dsn, first.id))[-1]["status"] == "succeeded"

        await eventually(succeeded)
    attempts = await chain(dsn, first.id)
    assert [row["attempt"] for row in attempts] == [1, 2, 3]
    assert [row["status"] for row in attempts] == ["failed", "failed", "succeeded"]
    assert [row["previous_attempt_id"] for row in attempts] == [
        None,
        attempts[0]["id"],
        attempts[1]["id"],
    ]
    assert [row["original_attempt_id"] for row in attempts] == [None, *[attempts[0]["id"]] * 2]
    for before, after in pairwise(attempts):
        assert after["scheduled_at"] == before["finished_at"] + timedelta(seconds=0.2)
        assert after["started_at"] >= after["scheduled_at"]
        for column in ("input", "timeout", "retry_delay", "max_attempts", "meta", "priority"):
            assert after[column] == before[column]
    assert attempts[2]["output"] == 3


async def test_a_job_that_always_fails_is_tried_max_attempts_times(dsn: str) -> None:
    @m25.queue("hopeless")
    async def hopeless(number: int) -> None:
        raise RuntimeError

    async with m25.open(dsn) as m:
        m.add_queue(hopeless)
        await m.start()
        first = await m.enqueue(hopeless, m25.Job(1, max_attempts=3))

        async def all_failed() -> bool:
            return [row["status"] for row in await chain(dsn, first.id)] == ["failed"] * 3

        await eventually(all_failed)
    assert len(await chain(dsn, first.id)) == 3


async def test_a_job_of_one_attempt_is_not_tried_again(dsn: str) -> None:
    @m25.queue("once")
    async def once(number: int) -> None:
        raise RuntimeError

    async with m25.open(dsn) as m:
        m.add_queue(once)
        await m.start()
        first = await m.enqueue(once, 1)
        await ended(m, once, first.id)
    assert len(await chain(dsn, first.id)) == 1


async def test_jobs_of_hundreds_of_priorities_wait_for_no_survey(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ran: list[int] = []

    @m25.queue("of many priorities", max_concurrency=5)
    async def of_many_priorities(number: int) -> None:
        ran.append(number)
        await trio.lowlevel.checkpoint()

    async with m25.testing.open() as m:
        jobs = [m25.Job(number, priority=number % 300) for number in range(900)]
        await m.enqueue_many(of_many_priorities, jobs)
        m.add_queue(of_many_priorities)
        began = trio.current_time()
        await m.start()
        await m25.testing.drain(m)
        assert trio.current_time() - began < 0.2
    assert sorted(ran) == list(range(900))


async def test_the_jobs_of_a_large_claim_begin_in_turns(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    begun_at_once = most = 0
    begin = Ledger.begin

    class Steps(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            nonlocal begun_at_once
            begun_at_once = 0

    def count(self: Ledger, executors: Iterable[Any]) -> None:
        nonlocal begun_at_once, most
        begun = list(executors)
        begun_at_once += len(begun)
        most = max(most, begun_at_once)
        begin(self, begun)

    @m25.queue("many", max_concurrency=1_000)
    async def many(number: int) -> None:
        await trio.sleep(number % 3)

    monkeypatch.setattr(Ledger, "begin", count)
    async with m25.testing.open() as m:
        m.add_queue(many)
        await m.start()
        trio.lowlevel.add_instrument(Steps())
        await m.enqueue_many(many, range(1_000))
        await m25.testing.drain(m)
        assert {job.status for job in m25.testing.jobs(m, many)} == {m25.JobStatus.SUCCEEDED}
    assert 1 < most <= 100
