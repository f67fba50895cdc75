"""Whatever a job does ends or spends its own attempt, is counted, and harms no other job."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio

import m25
from m25 import FailureReason, JobStatus
from support.told import told
from support.waiting import PATIENCE, chain, ended, eventually, rows


class NotAnException(BaseException):
    """What only bare `except` clauses catch."""


def exits(value: Any) -> Any:
    raise SystemExit(2)


def raises_a_base_exception(value: Any) -> Any:
    raise NotAnException("from a codec")


@pytest.mark.parametrize("code", [exits, raises_a_base_exception])
@pytest.mark.parametrize("where", ["input_decoder", "output_to_json", "error_to_json"])
async def test_whatever_a_codec_raises_is_that_attempts_crash_alone(
    dsn: str, code: Callable[[Any], Any], where: str, caplog: pytest.LogCaptureFixture
) -> None:
    def plain(value: Any) -> Any:
        return value

    codecs: dict[str, Any] = {
        f"{what}_{way}": plain
        for what in ("input", "output", "error")
        for way in ("to_json", "decoder")
    }

    def only_the_bad(value: Any) -> Any:
        return code(value) if "bad" in str(value) else value

    go_on = trio.Event()

    @m25.queue("coded", errors=(LookupError,), **{**codecs, where: only_the_bad})
    async def coded(text: str) -> str:
        if text == "good":
            await go_on.wait()
        if where == "error_to_json" and text == "bad":
            raise LookupError("bad")
        return text

    async with m25.open(dsn) as m:
        m.add_queue(coded)
        await m.start()
        good = await m.enqueue(coded, "good")
        bad = await m.enqueue(coded, "bad")
        await eventually_failed(dsn, bad.id)
        go_on.set()
        assert (await ended(m, coded, good.id)).status is JobStatus.SUCCEEDED
    (row,) = await chain(dsn, bad.id)
    assert row["failure_reason"] == "crash"
    assert "ServiceFailed" not in told(caplog)


async def eventually_failed(dsn: str, id: m25.JobId) -> None:
    async def is_failed() -> bool:
        return (await chain(dsn, id))[0]["status"] == "failed"

    await eventually(is_failed)


async def test_a_group_as_deep_as_python_goes_is_a_crash_of_its_own_job(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    @m25.queue("deep")
    async def deep(levels: int) -> int:
        error: BaseException = ValueError("at the bottom")
        for _ in range(levels):
            error = BaseExceptionGroup("deeper", [error])
        if levels:
            raise error
        return levels

    async with m25.open(dsn) as m:
        m.add_queue(deep)
        await m.start()
        bad = await ended(m, deep, (await m.enqueue(deep, 1_500)).id)
        good = await ended(m, deep, (await m.enqueue(deep, 0)).id)
    assert bad.failure_reason is FailureReason.CRASH
    assert good.status is JobStatus.SUCCEEDED
    assert "ServiceFailed" not in told(caplog)


async def test_a_record_factory_of_the_programs_does_not_disturb_a_job(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    former = logging.getLogRecordFactory()

    def factory(*args: Any, **options: Any) -> logging.LogRecord:
        record = former(*args, **options)
        record.job_id = record.queue = record.attempt = "theirs"
        return record

    @m25.queue("logged")
    async def logged(number: int) -> int:
        raise ValueError("no")

    logging.setLogRecordFactory(factory)
    try:
        async with m25.open(dsn) as m:
            m.add_queue(logged)
            await m.start()
            record = await ended(m, logged, (await m.enqueue(logged, 1)).id)
    finally:
        logging.setLogRecordFactory(former)
    assert record.crash_type == "ValueError"
    assert told(caplog) == ["JobCrashed"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_logging_handler_that_raises_ends_no_job(dsn: str) -> None:
    class Raises(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise SystemExit("a logging handler")

    @m25.queue("unlogged")
    async def unlogged(number: int) -> int:
        raise ValueError("no")

    handler = Raises()
    logging.getLogger("m25").addHandler(handler)
    try:
        async with m25.open(dsn) as m:
            m.add_queue(unlogged)
            await m.start()
            record = await ended(m, unlogged, (await m.enqueue(unlogged, 1)).id)
    finally:
        logging.getLogger("m25").removeHandler(handler)
    assert (record.attempt, record.crash_type) == (1, "ValueError")


async def test_a_job_that_interrupts_its_process_is_counted_and_ends(dsn: str) -> None:
    """It raises KeyboardInterrupt by itself, and would end each process that runs it."""
    begun = 0

    @m25.queue("interrupts", allowed_losses=2)
    async def interrupts(number: int) -> None:
        nonlocal begun
        begun += 1
        raise KeyboardInterrupt

    async with m25.open(dsn) as m:
        id = (await m.enqueue(interrupts, 1)).id
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            async with m25.open(dsn) as m:
                m.add_queue(interrupts)
                await m.start()
                await trio.sleep_forever()
    attempts = await chain(dsn, id)
    assert begun == 3
    assert [row["status"] for row in attempts] == ["failed"] * 3
    assert [row["losses"] for row in attempts] == [1, 2, 3]


async def test_an_interrupt_spends_only_the_attempt_that_it_came_out_of(dsn: str) -> None:
    begun = trio.Event()

    @m25.queue("interrupted")
    async def interrupted(raises: bool) -> None:
        if raises:
            await begun.wait()
            raise KeyboardInterrupt
        begun.set()
        await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        async with m25.open(dsn) as m:
            m.add_queue(interrupted)
            await m.start()
            poison = await m.enqueue(interrupted, True)
            other = await m.enqueue(interrupted, False)
            await trio.sleep_forever()
    assert [row["status"] for row in await chain(dsn, poison.id)] == ["failed", "pending"]
    (row,) = await chain(dsn, other.id)
    assert (row["status"], row["attempt"], row["losses"]) == ("pending", 1, 0)


async def test_a_refused_output_is_tried_as_often_as_the_queue_allows(dsn: str) -> None:
    @m25.queue("refused", retry=m25.Retry(max_attempts=2, delay=0))
    async def refused(number: int) -> int:
        return number

    await rows(
        dsn,
        "alter table m25.job add constraint refuses check"
        " (queue_name <> 'refused' or output is null)",
    )
    async with m25.open(dsn) as m:
        m.add_queue(refused)
        # A row may allow more than its queue, where an older program has inserted it.
        id = (await m.enqueue(refused, 1)).id
        await rows(dsn, "update m25.job set max_attempts = 5 where id = %(id)s", id=id)
        await m.start()
        with trio.fail_after(PATIENCE):
            record = await m.wait(refused, id)
    assert (record.attempt, record.failure_reason) == (2, FailureReason.CRASH)
