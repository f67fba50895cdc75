"""Rows that cannot be read: each fails alone, and says where and why; its queue goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

import m25
from support.waiting import ended, eventually, rows


@attrs.frozen
class Line:
    product: str
    price: int


@attrs.frozen
class Order:
    lines: list[Line]


@m25.queue("orders", poll_interval=0.2, max_concurrency=20)
async def orders(order: Order) -> int:
    return sum(line.price for line in order.lines)


@m25.queue("anything", poll_interval=0.2)
async def anything(value: Any) -> bool:
    return True


async def insert(dsn: str, queue: str, **columns: str) -> m25.JobId:
    """Insert a row as it would be by somebody else's hand; the values are SQL."""
    columns = {"input": "'{\"lines\": []}'", "timeout": "'1 min'", "attempt": "1", **columns}
    (row,) = await rows(
        dsn,
        f"insert into m25.job (queue_name, {', '.join(columns)})"
        f" values ('{queue}', {', '.join(columns.values())}) returning id",
    )
    return m25.JobId(row["id"])


async def run(dsn: str, queue: m25.Queue[Any, Any, Any]) -> list[dict[str, Any]]:
    """Run a queue until nothing is pending or running any more; return the rows."""
    async with m25.open(dsn) as m:
        m.add_queue(queue)
        await m.start()

        async def all_ended() -> bool:
            return not await rows(
                dsn, "select 1 from m25.job where status in ('pending', 'reserved', 'executing')"
            )

        await eventually(all_ended)
    return await rows(
        dsn,
        "select id, status, started_at, attempt, output, failure_reason, error_data, crash_type,"
        " crash_message from m25.job order by id",
    )


async def test_among_a_hundred_good_rows_one_that_cannot_be_decoded_fails_alone(dsn: str) -> None:
    async with m25.open(dsn) as m:
        for number in range(50):
            await m.enqueue(orders, Order([Line("tea", number)]))
        poison = await insert(
            dsn,
            "orders",
            input='\'{"lines": [{"product": "tea", "price": 1}, {"product": 2, "price": 2}]}\'',
            max_attempts="1",
        )
        for number in range(50):
            await m.enqueue(orders, Order([Line("tea", number)]))
    found = await run(dsn, orders)
    assert len(found) == 101
    (failed,) = [row for row in found if row["status"] != "succeeded"]
    assert failed["id"] == poison.value
    assert failed["failure_reason"] == "crash"
    assert failed["error_data"] is None
    assert failed["crash_type"] == "m25.errors.JobRecordFetchJsonDecodeError"
    assert failed["crash_message"].startswith(f"job {poison}: input.lines[1].product: ")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("repeat('7', 5000)::jsonb", "input: an integer has too many digits"),
        ("(repeat('[', 10000) || repeat(']', 10000))::jsonb", "input: nested"),
    ],
    ids=["5,000 digits", "10,000 deep"],
)
@pytest.mark.parametrize("queue", [orders, anything], ids=lambda queue: queue.name)
async def test_json_that_python_cannot_hold_is_that_rows_failure(
    dsn: str, queue: m25.Queue[Any, Any, Any], value: str, message: str
) -> None:
    poison = await insert(dsn, queue.name, input=value, max_attempts="1")
    good = await insert(dsn, queue.name)
    found = {row["id"]: row for row in await run(dsn, queue)}
    assert found[good.value]["status"] == "succeeded"
    assert found[poison.value]["failure_reason"] == "crash"
    assert message in found[poison.value]["crash_message"]
    async with m25.open(dsn) as m:
        with pytest.raises(m25.errors.JobRecordFetchDecodeErrors) as error:
            await m.get_job(queue, poison)
    (problem,) = error.value.errors
    assert isinstance(problem, m25.errors.JobRecordFetchJsonDecodeError)
    assert problem.job_id == poison
    assert problem.field == "input"


async def test_json_that_is_too_deep_to_be_read_is_not_enqueued(dsn: str) -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    async with m25.open(dsn) as m:
        with pytest.raises(m25.ValueRefused, match="nested"):
            await m.enqueue(anything, deep)
    assert await rows(dsn, "select 1 from m25.job") == []


async def test_a_row_that_cannot_be_decoded_is_tried_as_often_as_it_asks(dsn: str) -> None:
    await insert(dsn, "orders", input="'[]'", max_attempts="3")
    found = await run(dsn, orders)
    assert sorted(row["attempt"] for row in found) == [1, 2, 3]
    assert {row["failure_reason"] for row in found} == {"crash"}


@pytest.mark.parametrize(
    ("columns", "fields"),
    [
        ({"scheduled_at": "'-infinity'"}, ["scheduled_at"]),
        ({"created_at": "'-infinity'"}, ["created_at"]),
        ({"scheduled_at": "'4000-01-01 BC'"}, ["scheduled_at"]),
        ({"timeout": "'170000000 years'"}, ["timeout"]),
        ({"retry_delay": "'-170000000 years'"}, ["retry_delay"]),
        ({"timeout": "'1 month -29 days'"}, []),
        ({"meta": "'[1]'"}, ["meta"]),
        ({"scheduled_at": "'-infinity'", "meta": "'3'"}, ["scheduled_at", "meta"]),
    ],
    ids=str,
)
async def test_a_row_of_times_that_python_cannot_hold_is_run_all_the_same(
    dsn: str, columns: dict[str, str], fields: list[str]
) -> None:
    id = await insert(dsn, "orders", **columns)
    (row,) = await run(dsn, orders)
    assert (row["id"], row["status"]) == (id.value, "succeeded")
    async with m25.open(dsn) as m:
        if not fields:
            assert (await m.get_job(orders, id)).output == 0
            return
        with pytest.raises(m25.errors.JobRecordFetchDecodeErrors) as error:
            await m.get_job(orders, id)
    assert [problem.field for problem in error.value.errors] == fields
    for problem in error.value.errors:
        assert problem.job_id == id
        assert problem.__cause__ is not None


@pytest.mark.parametrize("time", ["infinity", "20000-01-01"])
async def test_a_row_that_is_never_due_holds_up_no_other(dsn: str, time: str) -> None:
    id = await insert(dsn, "orders", scheduled_at=f"'{time}'")
    async with m25.open(dsn) as m:
        m.add_queue(orders)
        await m.start()
        good = await m.enqueue(orders, Order([]))
        await ended(m, orders, good.id)
        with pytest.raises(m25.errors.JobRecordFetchDecodeErrors) as error:
            await m.get_job(orders, id)
        assert [problem.field for problem in error.value.errors] == ["scheduled_at"]
    (row,) = await rows(dsn, "select status from m25.job where id = %(id)s", id=id.value)
    assert row["status"] == "pending"


@pytest.mark.parametrize("time", ["infinity", "20000-01-01"])
async def test_a_row_that_was_created_in_the_future_is_run(dsn: str, time: str) -> None:
    id = await insert(dsn, "orders", created_at=f"'{time}'")
    (row,) = await run(dsn, orders)
    assert (row["id"], row["status"]) == (id.value, "succeeded")


async def test_cancelling_a_row_that_cannot_be_read_says_so(dsn: str) -> None:
    id = await insert(dsn, "orders", input="'{}'", scheduled_at="'2999-01-01'")
    async with m25.open(dsn) as m:
        with pytest.raises(m25.errors.JobCancelFetchError) as error:
            await m.cancel_job(orders, id)
    assert isinstance(error.value.error, m25.errors.JobRecordFetchDecodeErrors)
    (row,) = await rows(dsn, "select status from m25.job")
    assert row["status"] == "cancelled"


async def test_every_variant_of_an_unreadable_record_is_raised_by_its_name(dsn: str) -> None:
    id = await insert(
        dsn,
        "orders",
        input="'{\"lines\": 3}'",
        output="'\"three\"'",
        error_data="'{}'",
        reserved_at="now()",
        started_at="now()",
        finished_at="now()",
        failure_reason="'eaten by the dog'",
    )
    async with m25.open(dsn) as m:
        with pytest.raises(m25.errors.JobRecordFetchDecodeErrors) as error:
            await m.get_job(orders, id)
    by_field = {problem.field: problem for problem in error.value.errors}
    assert list(by_field) == ["input", "output", "failure_reason", "error_data"]
    reason = by_field["failure_reason"]
    assert isinstance(reason, m25.errors.JobRecordFetchInvalidFailureReason)
    assert reason.failure_reason == "eaten by the dog"
    value = by_field["input"]
    assert isinstance(value, m25.errors.JobRecordFetchJsonDecodeError)
    assert value.path == ".lines"
    assert f"job {id}: input.lines: " in str(error.value)


async def test_a_status_that_nobody_knows_is_raised_by_its_name(dsn: str) -> None:
    id = await insert(dsn, "orders")
    # Of a later version of the table, say.
    await rows(dsn, "alter table m25.job alter column status drop expression")
    await rows(dsn, "update m25.job set status = 'paused'")
    async with m25.open(dsn) as m:
        with pytest.raises(m25.errors.JobRecordFetchDecodeErrors) as error:
            await m.get_job(orders, id)
    (problem,) = error.value.errors
    assert isinstance(problem, m25.errors.JobRecordFetchInvalidStatusError)
    assert problem.status == "paused"


async def test_current_job_says_what_of_its_row_python_cannot_hold(dsn: str) -> None:
    @m25.queue("curious", poll_interval=0.2)
    async def curious(value: Any) -> str:
        try:
            m25.current_job()
        except m25.errors.JobRecordFetchDecodeErrors as error:
            return error.errors[0].field
        return ""

    await insert(dsn, "curious", timeout="'170000000 years'")
    (row,) = await run(dsn, curious)
    assert row["output"] == "timeout"


async def test_a_row_that_cannot_be_decoded_fails_before_any_setup(dsn: str) -> None:
    entered: list[int] = []

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        entered.append(1)
        await trio.lowlevel.checkpoint()
        yield

    @m25.queue("with setup", setup=resource, poll_interval=0.2)
    async def with_setup(order: Order, _: None) -> None:
        pass

    await insert(dsn, "with setup", input="'3'", max_attempts="1")
    (row,) = await run(dsn, with_setup)
    assert row["failure_reason"] == "crash"
    assert row["started_at"] is not None
    assert entered == []


async def test_an_output_that_the_database_refuses_fails_its_job_alone(dsn: str) -> None:
    @m25.queue("picky", max_concurrency=10)
    async def picky(number: int) -> int:
        return number

    await rows(dsn, "alter table m25.job add check (output is null or output <> '13')")
    async with m25.open(dsn) as m:
        for number in range(20):
            record = await m.enqueue(picky, number)
            if number == 13:
                unlucky = record.id
    found = await run(dsn, picky)
    (failed,) = [row for row in found if row["status"] != "succeeded"]
    assert failed["id"] == unlucky.value
    assert failed["failure_reason"] == "crash"
    assert "check constraint" in failed["crash_message"]
