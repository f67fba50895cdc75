"""`on_failure`: a queue that is given a job for each job of another that has failed for good."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import FailedJob, FailureReason, JobStatus, Queue, Retry
from m25._store.protocol import Worker
from m25.errors import InvalidQueue, QueueStartError
from support.waiting import eventually, rows


@attrs.frozen
class Letter:
    to: str


@attrs.frozen
class Returned(Exception):
    reason: str


async def send(letter: Letter) -> None:
    if letter.to == "nobody":
        raise Returned("address unknown")
    if letter.to == "everybody":
        raise ValueError("too many")


def alerting(told: list[FailedJob], name: str = "alerts", **options: Any) -> Queue[Any, Any, Any]:
    async def alert(failed: FailedJob) -> None:
        told.append(failed)

    return Queue(name, handler_function=alert, **options)


def letters(alerts: Queue[Any, Any, Any] | None, **options: Any) -> Queue[Letter, None, Returned]:
    return Queue("letters", handler_function=send, errors=(Returned,), on_failure=alerts, **options)


async def test_a_queue_is_told_of_each_job_that_has_failed_for_good(dsn: str) -> None:
    told: list[FailedJob] = []
    alerts = alerting(told)
    queue = letters(alerts, retry=Retry(max_attempts=2, delay=0))
    async with m25.open(dsn) as m:
        m.add_queue(queue)
        m.add_queue(alerts)
        await m.start()
        first = await m.enqueue(queue, Letter("nobody"))
        second = await m.enqueue(queue, m25.Job(Letter("everybody"), max_attempts=1))
        await m.enqueue(queue, Letter("ada"))

        async def both() -> bool:
            return len(told) >= 2

        await eventually(both)
    one, other = sorted(told, key=lambda failed: failed.attempts, reverse=True)
    assert one == FailedJob(
        job_id=first.id,
        queue="letters",
        attempts=2,
        reason=FailureReason.ERRORED,
        error=one.error,
        input={"to": "nobody"},
    )
    assert "address unknown" in (one.error or "")
    assert (other.job_id, other.attempts) == (second.id, 1)
    assert (other.reason, other.error) == (FailureReason.CRASH, "ValueError: too many")


async def test_it_is_told_without_a_database_too(autojump_clock: trio.testing.MockClock) -> None:
    told: list[FailedJob] = []
    alerts = alerting(told)

    @m25.queue("slow", on_failure=alerts, retry=Retry(max_attempts=3, delay=timedelta(days=1)))
    async def slow(number: int) -> None:
        if number:
            raise m25.GiveUp("never")
        await trio.sleep_forever()

    async with m25.testing.open() as m:
        m.add_queue(slow)
        m.add_queue(alerts)
        await m.start()
        await m.enqueue(slow, 0)
        await m.enqueue(slow, 1)
        await m25.testing.drain(m, scheduled=True)
    given_up, timed_out = told
    assert (given_up.attempts, given_up.error) == (1, "m25.errors.GiveUp: never")
    assert (timed_out.attempts, timed_out.error) == (3, None)
    assert timed_out.reason is FailureReason.JOB_TIMEOUT


class Refused(Exception): ...


async def refuse(text: str) -> None:
    raise Refused(*json.loads(text))


#: Whatever JSON can hold: keys of other lengths and orders, numbers of other kinds, escapes.
ANYTHING = (
    r'["é\n\u0001\"", 1.50, 1e2, -0.0, -7, null, true, [], {},'
    r' {"bb": [1, 2], "c": {}, "é": 0, "a": 1}]'
)


@pytest.mark.parametrize("text", ['["a", 1]', "[]", ANYTHING])
async def test_a_declared_error_is_told_in_the_same_words_with_and_without_a_database(
    dsn: str, text: str
) -> None:
    told: list[FailedJob] = []
    alerts = alerting(told)
    queue = Queue("refusing", handler_function=refuse, errors=(Refused,), on_failure=alerts)
    for opened in (m25.open(dsn), m25.testing.open()):
        before = len(told)
        async with opened as m:
            m.add_queue(queue)
            m.add_queue(alerts)
            await m.start()
            await m.enqueue(queue, text)

            async def is_told(before: int = before) -> bool:
                return len(told) > before

            await eventually(is_told)
    with_database, without = (failed.error for failed in told)
    assert with_database == without
    if text == '["a", 1]':
        assert without == '{"args": ["a", 1], "type": "Refused"}'


@pytest.mark.parametrize("text", ["1e5000", "[" * 3_000 + "]" * 3_000], ids=["long", "deep"])
async def test_a_job_whose_input_python_cannot_read_is_told_too(dsn: str, text: str) -> None:
    told: list[FailedJob] = []
    alerts = alerting(told)
    async with m25.open(dsn) as m:
        m.add_queue(letters(alerts))
        m.add_queue(alerts)
        await m.start()
        (job,) = await rows(dsn, f"select m25.enqueue('letters', '{text}') as id")

        async def is_told() -> list[FailedJob]:
            return told

        (failed,) = await eventually(is_told)
    assert (failed.job_id, failed.queue) == (m25.JobId(str(job["id"])), "letters")
    # The input comes as its text where it cannot be what it is.
    digits = "1" + 5_000 * "0" if text == "1e5000" else text
    assert failed.input == digits


async def test_the_target_need_not_run_in_the_process_whose_jobs_fail(dsn: str) -> None:
    alerts = alerting([])
    async with m25.open(dsn) as m:
        m.add_queue(letters(alerts))
        await m.start()
        await m.enqueue(letters(alerts), Letter("nobody"))

        async def told() -> list[dict[str, Any]]:
            return await rows(dsn, "select * from m25.job where queue_name = 'alerts'")

        (row,) = await eventually(told)
    assert (row["status"], row["attempt"], row["max_attempts"]) == ("pending", 1, 1)


async def test_a_client_that_only_enqueues_declares_nothing(dsn: str) -> None:
    async with m25.open(dsn) as m:
        await m.enqueue(letters(alerting([])), Letter("nobody"))
    assert await rows(dsn, "select * from m25.queue") == []


async def test_what_fails_first_is_told_too(autojump_clock: trio.testing.MockClock) -> None:
    """A queue is not run before the database knows whom to tell of its failures."""

    class Slow(m25.testing.MemoryStore):
        async def announce(self, worker: Worker) -> None:
            if trio.current_time() < 3:
                await trio.sleep(3)
            await super().announce(worker)

    told: list[FailedJob] = []
    alerts = alerting(told)
    async with m25.testing.open(Slow()) as m:
        m.add_queue(letters(alerts))
        m.add_queue(alerts)
        await m.enqueue(letters(alerts), Letter("nobody"))
        began = trio.current_time()
        await m.start()
        assert trio.current_time() - began >= 3
        await m25.testing.drain(m)
    assert len(told) == 1


async def test_a_start_that_cannot_write_it_down_fails(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Silent(m25.testing.MemoryStore):
        async def announce(self, worker: Worker) -> None:
            await trio.sleep_forever()

    async with m25.testing.open(Silent()) as m:
        m.add_queue(letters(alerting([])))
        with pytest.raises(QueueStartError, match=r"'letters'.*on_failure"):
            await m.start(queue_init_timeout=2)
        assert trio.current_time() == pytest.approx(2, abs=0.5)


async def test_its_jobs_have_the_targets_own_number_of_attempts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def alert(failed: FailedJob) -> None:
        raise OSError

    alerts = Queue("alerts", handler_function=alert, retry=Retry(max_attempts=3, delay=5))
    queue = letters(alerts)
    async with m25.testing.open() as m:
        m.add_queue(queue)
        m.add_queue(alerts)
        await m.start()
        await m.enqueue(queue, Letter("nobody"))
        await m25.testing.drain(m, scheduled=True)
        assert [job.status for job in m25.testing.jobs(m, alerts)] == [JobStatus.FAILED] * 3


# What is refused


async def test_a_circle_over_several_queues_is_refused_at_the_start() -> None:
    alerts = alerting([])
    first = alerting([], "first", on_failure=alerting([], "second"))
    async with AsyncExitStack() as stack:
        m = await stack.enter_async_context(m25.testing.open())
        m.add_queue(first)
        m.add_queue(alerting([], "second", on_failure=alerting([], "first", on_failure=alerts)))
        with pytest.raises(InvalidQueue, match="'first' → 'second' → 'first'"):
            await m.start()


async def test_of_two_queues_of_one_name_the_one_that_runs_counts() -> None:
    alerts = alerting([])
    first = alerting([], "first", on_failure=alerting([], "second", on_failure=alerts))
    async with m25.testing.open() as m:
        m.add_queue(first)
        m.add_queue(alerting([], "second"))
        m.add_queue(alerting([], "alerts", on_failure=alerting([], "second")))
        await m.start()


def test_a_circle_is_refused_where_it_is_declared() -> None:
    with pytest.raises(InvalidQueue, match="'alerts' → 'alerts'"):
        alerting([], on_failure=alerting([]))
    first = alerting([], "first", on_failure=alerting([]))
    with pytest.raises(InvalidQueue, match="'alerts' → 'first' → 'alerts'"):
        alerting([], on_failure=first)


def test_a_target_of_another_input_is_refused() -> None:
    other: Any = letters(None)
    with pytest.raises(InvalidQueue, match=r"'letters'.*FailedJob.*Letter.*test_on_failure"):
        letters(other)
    wrong: Any = send
    with pytest.raises(InvalidQueue, match="on_failure must be a queue, not"):
        letters(wrong)
