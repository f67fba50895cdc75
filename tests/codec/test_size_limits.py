"""What is too large is refused where it is made, and harms nobody else."""

from __future__ import annotations

import pytest
import trio

import m25
from support.waiting import ended, rows


class TooMuch(Exception):
    pass


@m25.queue("weighed", errors=(TooMuch,), size_limit=1_000, poll_interval=600)
async def weighed(text: str) -> str:
    match text:
        case "large output":
            return "x" * 1_000
        case "large error":
            raise TooMuch("é" * 500)
    return text


@m25.queue("unweighed")
async def unweighed(number: int) -> str:
    return "x" * number


async def test_an_input_that_is_too_large_is_not_put(dsn: str) -> None:
    async with m25.open(dsn) as m:
        await m.enqueue(weighed, "x" * 998)
        for text in ("x" * 999, "é" * 500):
            with pytest.raises(m25.ValueRefused, match="size_limit of 1,000") as caught:
                await m.enqueue(weighed, text)
            assert caught.value.what == "input"
        with pytest.raises(m25.ValueRefused, match="size_limit"):
            await m.enqueue_many(weighed, ["x", "x" * 999])
    assert len(await rows(dsn, "select 1 from m25.job")) == 1


async def test_an_output_or_an_error_that_is_too_large_is_a_crash(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(weighed)
        await m.start()
        for text, what in (("large output", "output: takes 1,002 bytes"), ("large error", "error")):
            record = await ended(m, weighed, (await m.enqueue(weighed, text)).id)
            assert record.failure_reason is m25.FailureReason.CRASH
            assert record.crash_type == "m25.errors.ValueRefused"
            assert record.crash_message is not None
            assert what in record.crash_message
        record = await ended(m, weighed, (await m.enqueue(weighed, "small")).id)
        assert record.output == "small"


async def test_a_hundred_megabytes_are_refused_by_default(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(unweighed)
        await m.start()
        with trio.fail_after(30):
            record = await ended(m, unweighed, (await m.enqueue(unweighed, 100_000_000)).id)
        assert record.crash_message is not None
        assert "100,000,002 bytes" in record.crash_message
        assert len(record.crash_message) < 500


async def test_what_is_in_the_table_is_read_whatever_its_size(dsn: str) -> None:
    async with m25.open(dsn) as m:
        await rows(
            dsn,
            "insert into m25.job (queue_name, input, timeout, attempt, max_attempts)"
            " values ('weighed', to_jsonb(repeat('x', 990) || 'large'), '1 min', 1, 1)",
        )
        await rows(
            dsn,
            "insert into m25.job (queue_name, input, timeout, attempt, max_attempts)"
            " values ('unweighed', '3', '1 min', 1, 1)",
        )
        (row,) = await rows(dsn, "select id from m25.job where queue_name = 'weighed'")
        record = await m.get_job(weighed, m25.JobId(row["id"]))
        assert len(record.input) == 995
