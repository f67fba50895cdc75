"""Handlers that do what they should not: each harms its own job at most, and the row says how."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import attrs
import pytest
import trio

import m25
from m25._store.failures import RowRefused
from m25._store.protocol import Outcome
from support.insides import store_of
from support.told import lines
from support.waiting import chain, ended, eventually


class NoFunds(Exception):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit("not even this")


class Misnamed(Exception):
    pass


Misnamed.__qualname__ = "Mis\0named\ud800"


class Rude(BaseException):
    pass


async def outcome(
    dsn: str, queue: m25.Queue[Any, Any, Any], job: Any = 1
) -> m25.JobRecord[Any, Any, Any]:
    """Run one job beside a good one, which must not suffer; return what became of the first."""
    begun, go_on = trio.Event(), trio.Event()

    @m25.queue("bystanders", max_concurrency=1)
    async def bystanders(number: int) -> int:
        begun.set()
        await go_on.wait()
        return m25.current_job().attempt

    async with m25.open(dsn) as m:
        m.add_queue(queue)
        m.add_queue(bystanders)
        await m.start()
        bystander = await m.enqueue(bystanders, 1)
        await begun.wait()
        record = await ended(m, queue, (await m.enqueue(queue, job)).id)
        go_on.set()
        assert (await ended(m, bystanders, bystander.id)).output == 1
    return record


def raising(error: BaseException) -> m25.Queue[int, None, NoFunds]:
    @m25.queue("hostile", errors=(NoFunds,))
    async def hostile(number: int) -> None:
        raise error

    return hostile


async def test_a_group_of_undeclared_errors_is_a_crash_that_keeps_them_all(dsn: str) -> None:
    @m25.queue("hostile", errors=(NoFunds,))
    async def hostile(number: int) -> None:
        async def fail(error: Exception) -> None:
            raise error

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, LookupError("the first"))
            nursery.start_soon(fail, ArithmeticError("the second"))

    record = await outcome(dsn, hostile)
    assert record.failure_reason is m25.FailureReason.CRASH
    assert record.crash_type == "ExceptionGroup"
    assert record.crash_traceback is not None
    assert "LookupError: the first" in record.crash_traceback
    assert "ArithmeticError: the second" in record.crash_traceback


async def test_a_declared_error_among_others_in_a_group_is_a_crash(dsn: str) -> None:
    group = ExceptionGroup("both", [NoFunds("of them"), LookupError("and this")])
    record = await outcome(dsn, raising(group))
    assert record.failure_reason is m25.FailureReason.CRASH
    assert record.error_data is None
    assert record.crash_traceback is not None
    assert "NoFunds: of them" in record.crash_traceback


async def test_a_declared_error_alone_in_nested_groups_is_that_error(dsn: str) -> None:
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [NoFunds(3)])])
    record = await outcome(dsn, raising(group))
    assert record.failure_reason is m25.FailureReason.ERRORED
    assert isinstance(record.error_data, NoFunds)
    assert record.error_data.args == (3,)


async def test_a_value_of_the_wrong_type_that_is_returned_is_a_crash_with_its_path(
    dsn: str,
) -> None:
    @attrs.frozen
    class Receipt:
        pages: list[int]

    @m25.queue("hostile")
    async def hostile(number: int) -> Receipt:
        return Receipt([1, "two"])  # type: ignore[list-item]

    record = await outcome(dsn, hostile)
    assert record.failure_reason is m25.FailureReason.CRASH
    assert record.output is None
    assert record.crash_type == "m25.errors.ValueRefused"
    assert record.crash_message is not None
    assert record.crash_message.startswith("output.pages[1]: ")


async def test_a_declared_error_that_cannot_be_kept_is_a_crash_that_says_why(dsn: str) -> None:
    record = await outcome(dsn, raising(NoFunds(object())))
    assert record.failure_reason is m25.FailureReason.CRASH
    assert record.error_data is None
    assert record.crash_message is not None
    assert record.crash_message.startswith("error.args[0]: ")
    assert record.crash_traceback is not None
    assert "NoFunds" in record.crash_traceback


@pytest.mark.parametrize("end", ["returns", "raises", "raises a declared error"])
async def test_a_handler_that_makes_something_else_of_its_deadline_has_timed_out(
    dsn: str, end: str
) -> None:
    @m25.queue("hostile", errors=(NoFunds,))
    async def hostile(number: int) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            if end == "raises":
                raise LookupError("instead") from None
            if end == "raises a declared error":
                raise NoFunds from None

    record = await outcome(dsn, hostile, m25.Job(1, timeout=0.1))
    assert record.failure_reason is m25.FailureReason.JOB_TIMEOUT
    assert record.error_data is None


async def test_a_handler_that_does_not_end_at_its_deadline_is_settled_without_it(dsn: str) -> None:
    release = trio.Event()
    went_on = trio.Event()

    @m25.queue("hostile", heartbeat_interval=0.1, allowed_heartbeat_misses=500, max_concurrency=2)
    async def hostile(number: int) -> int:
        with trio.CancelScope(shield=True):
            await release.wait()
        went_on.set()
        return number

    async with m25.open(dsn) as m:
        m.add_queue(hostile)
        await m.start()
        job = m25.Job(1, timeout=0.1).retry(max_attempts=2, delay=60)
        try:
            record = await ended(m, hostile, (await m.enqueue(hostile, job)).id)
        finally:
            # Nothing else ends it.
            release.set()
        assert record.failure_reason is m25.FailureReason.JOB_TIMEOUT
        await went_on.wait()
        # Its slot is free again, and what it returned in the end changed nothing.
        other = await ended(m, hostile, (await m.enqueue(hostile, 2)).id)
        assert other.output == 2
        assert await m.get_job(hostile, record.id) == record
    assert [row["status"] for row in await chain(dsn, record.id)] == ["failed", "pending"]


@pytest.mark.parametrize(
    ("error", "type_", "message"),
    [
        (SystemExit(3), "SystemExit", "3"),
        (Rude("very"), "test_hostile_handlers.Rude", "very"),
        (GeneratorExit(), "GeneratorExit", ""),
        (StopIteration(), "RuntimeError", "coroutine raised StopIteration"),
        (Unprintable(), "test_hostile_handlers.Unprintable", "<str() of it raised SystemExit>"),
        (LookupError("nul \0, half \ud800"), "LookupError", "nul \\x00, half \\ud800"),
        (Misnamed("x"), "test_hostile_handlers.Mis\\x00named\\ud800", "x"),
        (LookupError("long " * 100_000), "LookupError", "long " * 2_000),
        (
            BaseExceptionGroup("rude", [Rude()]),
            "BaseExceptionGroup",
            "rude (1 sub-exception): test_hostile_handlers.Rude",
        ),
        (
            ExceptionGroup("many", [ValueError("one\nmore"), *[KeyError(2)] * 4]),
            "ExceptionGroup",
            "many (5 sub-exceptions): ValueError: one; KeyError: 2; KeyError: 2; …",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_whatever_is_raised_is_a_crash(
    dsn: str, error: BaseException, type_: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is logged of these cannot be written by whoever collects it: half a surrogate is no text.
    monkeypatch.setattr(logging.getLogger("m25"), "propagate", False)
    record = await outcome(dsn, raising(error))
    assert record.failure_reason is m25.FailureReason.CRASH
    assert record.crash_type == type_
    assert record.crash_message == message
    assert record.crash_traceback


async def test_a_cancelled_that_was_kept_and_raised_later_is_a_crash(dsn: str) -> None:
    done: list[int] = []

    @m25.queue("hostile")
    async def hostile(steals: bool) -> None:
        stolen: BaseException | None = None
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep_forever()
            except trio.Cancelled as error:
                stolen = error
        if steals:
            raise stolen
        done.append(1)

    async with m25.open(dsn) as m:
        m.add_queue(hostile)
        await m.start()
        record = await ended(m, hostile, (await m.enqueue(hostile, True)).id)
        assert record.failure_reason is m25.FailureReason.CRASH
        assert record.crash_type == "trio.Cancelled"
        # The queue goes on.
        await ended(m, hostile, (await m.enqueue(hostile, False)).id)
    assert done == [1]


async def test_a_handler_that_leaves_a_nursery_open_harms_no_other(dsn: str) -> None:
    begun, go_on = trio.Event(), trio.Event()

    async def numbers() -> AsyncIterator[int]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            yield 1

    @m25.queue("hostile")
    async def hostile(leaks: bool) -> int:
        if leaks:
            kept.append(generator := numbers())
            async for number in generator:
                return number
        begun.set()
        await go_on.wait()
        return m25.current_job().attempt

    kept: list[object] = []
    async with m25.open(dsn) as m:
        m.add_queue(hostile)
        await m.start()
        good = await m.enqueue(hostile, False)
        await begun.wait()
        record = await ended(m, hostile, (await m.enqueue(hostile, True)).id)
        assert record.failure_reason is m25.FailureReason.CRASH
        go_on.set()
        assert (await ended(m, hostile, good.id)).output == 1


@pytest.mark.parametrize("goes_on", [True, False], ids=["goes on", "ends at once"])
async def test_a_handler_that_blocks_the_loop_is_named_with_how_long_it_stood_still(
    dsn: str, goes_on: bool, caplog: pytest.LogCaptureFixture
) -> None:
    beating = trio.Event()
    told_before: list[logging.LogRecord] = []

    def stalls() -> list[logging.LogRecord]:
        return lines(caplog, "LoopStalled")

    @m25.queue("hostile", heartbeat_interval=0.1, allowed_heartbeat_misses=500)
    async def hostile(number: int) -> int:
        # A heartbeat is soon due.
        await trio.sleep(0.05)
        # Where the machine stood still, the loop did.
        told_before.extend(stalls())
        time.sleep(1.3)  # noqa: ASYNC251 - that is what it is about
        if goes_on:
            await beating.wait()
        return number

    async with m25.open(dsn) as m:
        m.add_queue(hostile)
        await m.start()
        job = await m.enqueue(hostile, 1)

        async def warning() -> logging.LogRecord | None:
            await trio.lowlevel.checkpoint()
            return next((line for line in stalls() if line not in told_before), None)

        said = await eventually(warning)
        beating.set()
        assert said.m25_queues == ("hostile",)
        assert said.m25_job_ids == (str(job.id),)
        assert 1.0 <= said.m25_seconds <= 30.0
        assert (await ended(m, hostile, job.id)).output == 1


async def test_tasks_and_threads_that_a_handler_leaves_behind_harm_no_other(dsn: str) -> None:
    left, go_on = trio.Event(), trio.Event()
    thread_may_end = threading.Event()
    threads: list[threading.Thread] = []

    async def leak() -> None:
        await go_on.wait()
        left.set()

    @m25.queue("hostile")
    async def hostile(number: int) -> int:
        trio.lowlevel.spawn_system_task(leak)
        threads.append(threading.Thread(target=thread_may_end.wait))
        threads[-1].start()
        return number

    assert (await outcome(dsn, hostile)).output == 1
    # They outlive the client, and all that was of it.
    assert threads[0].is_alive()
    thread_may_end.set()
    threads[0].join()
    go_on.set()
    await left.wait()


async def test_a_thread_that_does_not_end_at_the_deadline_is_settled_without_it(dsn: str) -> None:
    may_end = threading.Event()

    @m25.queue("hostile", heartbeat_interval=0.1, allowed_heartbeat_misses=500)
    async def hostile(number: int) -> None:
        await trio.to_thread.run_sync(may_end.wait)

    async with m25.open(dsn) as m:
        m.add_queue(hostile)
        await m.start()
        record = await m.enqueue(hostile, m25.Job(1, timeout=0.1))
        try:
            found = await ended(m, hostile, record.id)
        finally:
            may_end.set()
        assert found.failure_reason is m25.FailureReason.JOB_TIMEOUT


def endless(depth: int = 0) -> int:
    return endless(depth + 1) + 1


@pytest.mark.parametrize(
    ("does", "type_"),
    [(endless, "RecursionError"), (lambda: bytearray(2**62), "MemoryError")],
    ids=["recursion", "memory"],
)
async def test_a_handler_that_asks_too_much_of_python_crashes_alone(
    dsn: str, does: Callable[[], object], type_: str
) -> None:
    @m25.queue("hostile")
    async def hostile(number: int) -> None:
        does()

    record = await outcome(dsn, hostile)
    assert record.failure_reason is m25.FailureReason.CRASH
    assert record.crash_type == type_
    assert record.crash_traceback is not None
    assert len(record.crash_traceback) < 100_000


async def test_what_psycopg_itself_refuses_is_the_rows_fault_and_no_outage(dsn: str) -> None:
    async with m25.open(dsn) as m:
        outcome = Outcome(*[str(uuid4())] * 2, "crash", None, None, "nul \0", "", "", None)
        with pytest.raises(RowRefused, match="NUL"):
            await store_of(m).settle([outcome], 0)
