"""How a queue's jobs are tried again: `Retry`, and what a handler raises about its own job."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import GIVE_UP, FailureReason, JobStatus, Retry, exponential
from m25._store.protocol import SweptQueue
from support.cpu import Declined, Order, work
from support.told import said, told
from support.waiting import PATIENCE, chain, ended, eventually

Record = m25.JobRecord[Any, Any, Any]


@attrs.frozen
class NoSuchMailbox(Exception):
    to: str


@attrs.frozen
class RateLimited(Exception):
    wait: float


class Slow(RateLimited):
    """A class below one that has a rule."""


async def attempts(queue: m25.Queue[Any, Any, Any], job: Any) -> list[Record]:
    """Run a job to the end of its chain, however long that takes; return all attempts."""
    async with m25.testing.open() as m:
        m.add_queue(queue)
        await m.start()
        await m.enqueue(queue, job)
        await m25.testing.drain(m, scheduled=True)
        return m25.testing.jobs(m, queue)


def waits(found: Sequence[Record]) -> list[float]:
    """In seconds, how long after each failure the next attempt may run."""
    seconds: list[float] = []
    for before, after in itertools.pairwise(found):
        assert after.scheduled_at is not None
        assert before.finished_at is not None
        seconds.append(round((after.scheduled_at - before.finished_at).total_seconds(), 3))
    return seconds


def assert_is_of_ada(error: object) -> None:
    assert isinstance(error, NoSuchMailbox)
    assert error.to == "ada"


def failing(retry: Any, *raised: Exception, **options: Any) -> m25.Queue[int, None, Any]:
    """A queue whose handler raises these, one after the other, and the last again and again."""

    async def fail(number: int) -> None:
        job = m25.current_job()
        raise raised[min(job.attempt, len(raised)) - 1]

    return m25.Queue(
        "failing",
        handler_function=fail,
        errors=(NoSuchMailbox, RateLimited),
        retry=retry,
        **options,
    )


# The queue's own rule


async def test_a_queue_says_how_often_its_jobs_are_tried_and_when() -> None:
    chain = await attempts(failing(Retry(max_attempts=4, delay=90), ValueError()), 1)
    assert [job.attempt for job in chain] == [1, 2, 3, 4]
    assert {job.status for job in chain} == {JobStatus.FAILED}
    assert {job.max_attempts for job in chain} == {4}
    assert waits(chain) == [90, 90, 90]


async def test_a_delay_that_grows_does_so_up_to_its_cap() -> None:
    delay = exponential(1, factor=3, cap=20, jitter=0)
    chain = await attempts(failing(Retry(max_attempts=6, delay=delay), ValueError()), 1)
    assert waits(chain) == [1, 3, 9, 20, 20]


async def test_days_of_retries_take_a_test_no_time() -> None:
    delay = exponential(timedelta(hours=1), factor=2, cap=timedelta(days=2), jitter=0)
    with trio.fail_after(60):
        chain = await attempts(failing(Retry(max_attempts=12, delay=delay), ValueError()), 1)
    assert sum(waits(chain)) > timedelta(days=11).total_seconds()
    assert chain[-1].attempt == 12


def test_jitter_makes_a_delay_up_to_a_part_of_it_longer_or_shorter() -> None:
    delay = exponential(100, cap=100, jitter=0.2)
    seconds = [delay.after(3, random.Random(n)).total_seconds() for n in range(500)]
    assert 80 <= min(seconds) < 82
    assert 118 < max(seconds) <= 120


def test_however_many_attempts_a_delay_grows_to_no_more_than_a_century() -> None:
    century = timedelta(days=36525)
    delay = exponential(1, factor=1000, cap=century, jitter=1)
    assert all(delay.after(10**9, random.Random(n)) <= century for n in range(20))


async def test_an_error_of_a_class_has_the_rule_of_the_most_specific_class() -> None:
    rules: dict[type[Exception], Any] = {
        Exception: 7,
        RateLimited: 30.0,
        NoSuchMailbox: GIVE_UP,
        KeyError: exponential(2, jitter=0),
    }
    chain = await attempts(
        failing(
            Retry(max_attempts=9, delay=1, on=rules),
            *(RateLimited(1), Slow(1), ValueError(), KeyError(), NoSuchMailbox("ada")),
        ),
        1,
    )
    assert waits(chain) == [30, 30, 7, 16]
    assert chain[-1].attempt == 5
    assert_is_of_ada(chain[-1].error_data)


async def test_an_only_error_in_groups_has_the_rule_of_its_class() -> None:
    group = ExceptionGroup("", [ExceptionGroup("", [RateLimited(1)])])
    many = ExceptionGroup("", [RateLimited(1), KeyError()])
    rules: dict[type[Exception], Any] = {RateLimited: 30.0}
    chain = await attempts(failing(Retry(max_attempts=3, delay=1, on=rules), group, many), 1)
    assert waits(chain) == [30, 1]


async def test_a_missed_deadline_has_a_rule_too(autojump_clock: trio.testing.MockClock) -> None:
    @m25.queue("slow", retry=Retry(max_attempts=3, delay=1, on={m25.JobTimeout: 600}))
    async def slow(number: int) -> None:
        await trio.sleep_forever()

    chain = await attempts(slow, m25.Job(1, timeout=5))
    assert {job.failure_reason for job in chain} == {FailureReason.JOB_TIMEOUT}
    assert waits(chain) == [600, 600]


async def test_without_a_rule_a_job_is_tried_once() -> None:
    (only,) = await attempts(failing(None, ValueError()), 1)
    assert only.max_attempts == 1


async def test_by_default_a_rule_backs_off() -> None:
    chain = await attempts(failing(Retry(), ValueError()), 1)
    assert len(chain) == 10
    for n, seconds in enumerate(waits(chain)):
        assert 0.8 * 2**n <= seconds <= 1.2 * 2**n


# What a job says itself


async def test_a_jobs_own_numbers_go_before_its_queues() -> None:
    queue = failing(Retry(max_attempts=8, delay=90, on={ValueError: GIVE_UP}), ValueError())
    chain = await attempts(queue, m25.Job(1).retry(3, delay=5))
    assert len(chain) == 3
    assert waits(chain) == [5, 5]
    assert waits(await attempts(queue, m25.Job(1, max_attempts=2))) == [0]
    more = await attempts(queue, m25.Job(1).retry(11))
    assert len(more) == 11


async def test_a_row_of_fewer_attempts_than_its_queue_allows_is_no_more_often_tried(
    dsn: str,
) -> None:
    queue = failing(Retry(max_attempts=8, delay=0), ValueError())
    async with m25.open(dsn) as m:
        m.add_queue(queue)
        await m.start()
        async with await m25.pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            row = await connection.execute(
                "insert into m25.job (queue_name, input, timeout, attempt, max_attempts)"
                " values ('failing', '1', '5 min', 1, 2), ('failing', '2', '5 min', 1, 100)"
                " returning id"
            )
            few, many = [m25.JobId(id) for (id,) in await row.fetchall()]

        async def last(id: m25.JobId, count: int) -> bool:
            found = await chain(dsn, id)
            return len(found) == count and found[-1]["finished_at"] is not None

        await eventually(lambda: last(few, 2))
        await eventually(lambda: last(many, 8))
    assert len(await chain(dsn, few)) == 2
    assert len(await chain(dsn, many)) == 8


async def test_the_same_job_can_be_enqueued_again_after_its_queue_has_another_rule(
    dsn: str,
) -> None:
    job = m25.Job(1, id=m25.JobId.parse("01a21f1c-d854-7000-b545-70fda577ae75"))
    async with m25.open(dsn) as m:
        await m.enqueue(failing(Retry(max_attempts=4, delay=9), ValueError()), job)
        again = await m.enqueue(failing(Retry(max_attempts=5, delay=7), ValueError()), job)
        assert (again.max_attempts, again.retry_delay) == (4, timedelta(seconds=9))
        with pytest.raises(m25.errors.JobIdConflict, match="max_attempts"):
            await m.enqueue(failing(None, ValueError()), attrs.evolve(job, max_attempts=2))


# Functions


async def test_a_function_decides_by_the_job_and_the_error() -> None:
    asked: list[tuple[int, int, type[Exception]]] = []

    def decide(job: m25.RunningJob[Any, Any, Any], error: Exception) -> m25.RetryDecision:
        asked.append((job.input, job.attempt, type(error)))
        if isinstance(error, RateLimited):
            return timedelta(seconds=error.wait)
        return GIVE_UP

    chain = await attempts(failing(decide, RateLimited(45), RateLimited(5), ValueError()), 17)
    assert waits(chain) == [45, 5]
    assert asked == [(17, 1, RateLimited), (17, 2, RateLimited), (17, 3, ValueError)]
    assert chain[-1].crash_type == "ValueError"


async def test_a_function_can_be_one_of_the_rules(autojump_clock: trio.testing.MockClock) -> None:
    seen: list[BaseException] = []

    def decide(job: m25.RunningJob[Any, Any, Any], error: Exception) -> float:
        seen.append(error)
        return 3.0

    async def slow(number: int) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError

    queue = m25.Queue(
        "slow",
        handler_function=slow,
        retry=Retry(max_attempts=2, delay=1, on={m25.JobTimeout: decide}),
    )
    assert waits(await attempts(queue, m25.Job(1, timeout=5))) == [3]
    (error,) = seen
    assert isinstance(error, m25.JobTimeout)
    assert error.seconds == 5
    assert isinstance(error.__cause__, KeyError)


@pytest.mark.parametrize("answer", ["soon", None, -1, float("nan"), True, KeyError()])
async def test_a_function_that_fails_is_told_and_the_rows_numbers_decide(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def decide(job: object, error: Exception) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    queue = failing(Retry(max_attempts=3, delay=20, on={ValueError: decide}), ValueError())
    chain = await attempts(queue, 1)
    assert waits(chain) == [20, 20]
    assert told(caplog, chain[0].id) == ["RetryUndecided", "JobCrashed"]


async def test_a_function_is_not_asked_where_no_attempt_is_left() -> None:
    asked: list[object] = []

    def decide(job: object, error: Exception) -> float:
        asked.append(error)
        return 1.0

    await attempts(failing(Retry(max_attempts=2, delay=decide), ValueError()), 1)
    assert len(asked) == 1


async def test_a_function_that_cannot_be_given_the_job_is_not_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def decide(job: object, error: Exception) -> float:
        raise AssertionError

    other = m25.Queue(
        "failing",
        handler_function=failing(None, ValueError()).handler_function,
        input_to_json=str,
        input_decoder=str,
    )
    queue = failing(Retry(max_attempts=2, delay=decide), ValueError())
    async with m25.testing.open() as m:
        m.add_queue(queue)
        await m.start()
        first = await m.enqueue(other, m25.Job(1, id=None))  # type: ignore[arg-type]
        await m25.testing.drain(m, scheduled=True)
    assert told(caplog, first.id) == ["InputUndecodable"]


# What a handler raises about its job


async def test_a_handler_says_when_it_is_to_be_tried_again() -> None:
    queue = failing(Retry(max_attempts=3, delay=1), m25.RetryAfter(30))
    chain = await attempts(queue, 1)
    assert waits(chain) == [30, 30]
    assert {job.crash_type for job in chain} == {"m25.errors.RetryAfter"}
    assert waits(await attempts(queue, m25.Job(1).retry(2, delay=4))) == [30]


async def test_a_handler_gives_up() -> None:
    (only,) = await attempts(failing(Retry(delay=1), m25.GiveUp("no such street")), 1)
    assert (only.crash_type, only.crash_message) == ("m25.errors.GiveUp", "no such street")
    assert only.failure_reason is FailureReason.CRASH


@pytest.mark.parametrize(
    ("raised", "level", "text"),
    [
        (m25.GiveUp("of ada"), "WARNING", "m25.GiveUp"),
        (m25.RetryAfter(30), "INFO", "another attempt follows in 30 s"),
        (ExceptionGroup("of ada", [m25.GiveUp("of ada")]), "WARNING", "given up"),
    ],
    ids=["GiveUp", "RetryAfter", "in a group"],
)
async def test_what_a_handler_asks_for_is_no_crash_in_the_log(
    caplog: pytest.LogCaptureFixture, raised: Exception, level: str, text: str
) -> None:
    caplog.set_level("INFO", "m25")
    queue = failing(Retry(max_attempts=3), raised)
    await m25.testing.run_job(queue, 1)
    (line,) = (each for each in said(caplog) if each.levelname != "DEBUG")
    assert line.m25_event == "FailureRequested"
    assert (line.levelname, line.exc_info) == (level, None)
    assert text in line.getMessage()
    assert "ada" not in line.getMessage()


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("request_", [m25.RetryAfter(30), m25.GiveUp("no")])
async def test_what_a_handler_asks_for_keeps_its_cause(request_: Exception, grouped: bool) -> None:
    async def handler(cause: str) -> None:
        raised: Exception = NoSuchMailbox("ada") if cause == "declared" else KeyError("ada")
        try:
            raise raised
        except Exception as error:
            if not grouped:
                raise request_ from error
            request_.__cause__ = error
            raise ExceptionGroup("of a nursery", [request_]) from None

    queue = m25.Queue(
        "asks", handler_function=handler, errors=(NoSuchMailbox,), retry=Retry(max_attempts=2)
    )
    declared = await attempts(queue, "declared")
    assert declared[0].failure_reason is FailureReason.ERRORED
    assert_is_of_ada(declared[0].error_data)
    crashed = await attempts(queue, "undeclared")
    assert (crashed[0].crash_type, crashed[0].crash_message) == ("KeyError", "'ada'")
    assert "raise raised" in (crashed[0].crash_traceback or "")
    for each in (declared, crashed):
        assert waits(each) == ([30] if isinstance(request_, m25.RetryAfter) else [])


async def test_what_is_asked_for_among_other_errors_is_a_crash() -> None:
    group = ExceptionGroup("", [m25.GiveUp("no"), KeyError()])
    chain = await attempts(failing(Retry(max_attempts=2, delay=1), group), 1)
    assert len(chain) == 2
    assert chain[0].crash_type == "ExceptionGroup"


@pytest.mark.parametrize("wrong", [-1, "soon", float("inf"), None])
@pytest.mark.parametrize("kind", [m25.RetryAfter, m25.Snooze])
def test_a_delay_that_is_none_is_refused_where_it_is_raised(kind: Any, wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^delay must be"):
        kind(wrong)


async def test_a_job_is_put_off_and_the_attempt_does_not_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    ran: list[tuple[int, Any]] = []

    @m25.queue("patient", retry=Retry(max_attempts=2, delay=1))
    async def patient(number: int) -> str:
        job = m25.current_job()
        ran.append((job.attempt, job.started_at))
        if len(ran) < 6:
            raise m25.Snooze(timedelta(hours=1))
        return "at last"

    (job,) = await attempts(patient, 1)
    assert (job.output, job.attempt) == ("at last", 1)
    assert [attempt for attempt, _ in ran] == [1] * 6
    for (_, before), (_, after) in itertools.pairwise(ran):
        assert timedelta(hours=1) <= after - before < timedelta(hours=1, minutes=1)
    assert told(caplog, job.id).count("JobSnoozed") == 5
    assert "put off for 3600 s: job" in caplog.text


async def test_a_job_that_was_put_off_can_be_enqueued_again() -> None:
    @m25.queue("patient")
    async def patient(number: int) -> None:
        raise m25.Snooze(60)

    async with m25.testing.open() as m:
        m.add_queue(patient)
        await m.start()
        first = await m.enqueue(patient, 1)
        await m25.testing.drain(m)
        again = await m.enqueue(patient, m25.Job(1, id=first.id))
        assert again.scheduled_at is not None
        with pytest.raises(m25.errors.JobIdConflict, match="scheduled_at"):
            await m.enqueue(
                patient, m25.Job(1, id=first.id, scheduled_at=again.scheduled_at + timedelta(1))
            )


async def test_what_may_begin_once_only_cannot_be_put_off() -> None:
    (job,) = await attempts(failing(None, m25.Snooze(60), allowed_losses=0), 1)
    assert job.status is JobStatus.FAILED
    assert job.crash_type == "m25.errors.UsageError"
    assert "allowed_losses=0" in (job.crash_message or "")


async def test_on_a_real_database_a_job_is_put_off_tried_again_and_given_up(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    seen: list[int] = []

    @m25.queue("all of it", retry=Retry(max_attempts=5, delay=exponential(0.05)))
    async def all_of_it(number: int) -> None:
        seen.append(m25.current_job().attempt)
        match len(seen):
            case 1:
                raise m25.Snooze(0.1)
            case 2:
                raise ValueError
            case 3:
                raise m25.RetryAfter(0.1)
        raise m25.GiveUp("enough")

    async with m25.open(dsn) as m:
        m.add_queue(all_of_it)
        await m.start()
        first = (await m.enqueue(all_of_it, 1)).id
        await ended(m, all_of_it, first)

        async def all_ended() -> bool:
            found = await chain(dsn, first)
            return len(found) == 3 and found[-1]["finished_at"] is not None

        await eventually(all_ended)
    rows = await chain(dsn, first)
    assert seen == [1, 1, 2, 3]
    assert [row["crash_type"] for row in rows] == [
        "ValueError",
        "m25.errors.RetryAfter",
        "m25.errors.GiveUp",
    ]
    assert rows[2]["scheduled_at"] - rows[1]["finished_at"] == timedelta(seconds=0.1)
    assert {row["own_retry"] for row in rows} == {None}
    assert "another attempt follows in 0.1 s" in caplog.text
    assert "attempt 3 of 5; given up" in caplog.text


async def test_the_longest_delay_can_be_kept(dsn: str) -> None:
    queue = failing(Retry(max_attempts=2, delay=timedelta(days=36525)), ValueError())
    async with m25.open(dsn) as m:
        m.add_queue(queue)
        await m.start()
        first = (await m.enqueue(queue, 1)).id
        await ended(m, queue, first)
    before, after = await chain(dsn, first)
    assert after["scheduled_at"] - before["finished_at"] == timedelta(days=36525)


async def test_a_handler_in_a_process_asks_for_the_same() -> None:
    (given_up,) = await attempts(work, m25.Job(Order("give up")).retry(3))
    assert (given_up.crash_type, given_up.crash_message) == ("m25.errors.GiveUp", "no use")
    assert 'raise m25.GiveUp("no use")' in (given_up.crash_traceback or "")
    again = await attempts(work, m25.Job(Order("again")).retry(2))
    assert waits(again) == [40]
    assert isinstance(again[0].error_data, Declined)
    put_off = await m25.testing.run_job(work, Order("put off"))
    assert (put_off.status, put_off.attempt) == (JobStatus.PENDING, 1)


@pytest.mark.slow
async def test_a_handler_in_a_process_asks_by_classes_of_its_own() -> None:
    (given_up,) = await attempts(work, m25.Job(Order("give up by its own class")).retry(3))
    assert (given_up.crash_type, given_up.crash_message) == ("support.cpu.NoUse", "no use")
    again = await attempts(work, m25.Job(Order("again by its own class")).retry(2))
    assert waits(again) == [40]
    assert isinstance(again[0].error_data, Declined)
    put_off = await m25.testing.run_job(work, Order("put off by its own class"))
    assert (put_off.status, put_off.attempt) == (JobStatus.PENDING, 1)


async def test_what_is_put_off_although_its_cancel_was_asked_for_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    begun = trio.Event()

    @m25.queue("slow")
    async def slow(number: int) -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            raise m25.Snooze(60) from cancelled

    async with m25.testing.open() as m:
        m.add_queue(slow)
        await m.start(PATIENCE)
        id = (await m.enqueue(slow, 1)).id
        await begun.wait()
        await m.cancel_job(slow, id, running=True)
        await m25.testing.drain(m, scheduled=True)
        (job,) = m25.testing.jobs(m, slow)
    assert job.status is JobStatus.CANCELLED


# Lost attempts


async def test_a_lost_attempt_is_followed_at_once_and_makes_no_delay_longer() -> None:
    queue = failing(Retry(max_attempts=3, delay=exponential(10, factor=10, jitter=0)), ValueError())
    store = m25.testing.MemoryStore()
    second = timedelta(seconds=1)
    swept = SweptQueue(queue.name, 3, second)
    async with m25.testing.open(store) as m:
        await m.enqueue(queue, 1)
        for _ in range(2):
            # Of a worker that is gone at once.
            await store.claim(queue.name, token=str(uuid4()), limit=1, lease=second, start=True)
            store.move_clock(2 * second)
            suspects = await store.find_suspects([swept], 1)
            assert len(await store.sweep([swept], suspects)) == 1
        m.add_queue(queue)
        await m.start(PATIENCE)
        await m25.testing.drain(m, scheduled=True)
        found = m25.testing.jobs(m, queue)
    assert [job.losses for job in found] == [1, 2, 2, 2, 2]
    assert waits(found) == [0, 0, 10, 100]
