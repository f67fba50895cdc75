"""What is enqueued is there, once, or was refused with nothing written."""

from __future__ import annotations

import math
from typing import Any
from uuid import uuid4

import attrs
import pytest
import trio
import trio.testing

import m25
from m25 import pg
from support.waiting import ended, rows


@attrs.frozen
class Line:
    product: str
    price: float


@attrs.frozen
class Order:
    lines: list[Line]


@m25.queue("orders")
async def orders(order: Order) -> int:
    return len(order.lines)


@m25.queue("notes")
async def notes(note: dict[str, Any]) -> None:
    pass


async def count(dsn: str) -> int:
    (row,) = await rows(dsn, "select count(*) from m25.job")
    return row["count"]


@pytest.mark.parametrize(
    ("queue", "value", "path"),
    [
        (orders, Order([Line("tea", 1), Line("jam", math.nan)]), ".lines[1].price"),
        (orders, Order([Line("te\0a", 1)]), ".lines[0].product"),
        (orders, Order([Line("\ud800", 1)]), ".lines[0].product"),
        (orders, Order([Line(3, 1)]), ".lines[0].product"),  # type: ignore[arg-type]
        (orders, {"lines": []}, ""),
        (notes, {"a": {1, 2}}, "['a']"),
        (notes, {"a": [1, math.inf]}, "['a'][1]"),
        (notes, {"a": {2: 3}}, "['a'][2]"),
    ],
)
async def test_a_value_that_json_cannot_hold_is_refused_with_the_path(
    dsn: str, queue: m25.Queue[Any, Any, Any], value: Any, path: str
) -> None:
    async with m25.open(dsn) as m:
        with pytest.raises(m25.ValueRefused) as refused:
            await m.enqueue(queue, value)
    assert refused.value.path.replace('"', "'") == path
    assert f"input{refused.value.path}" in str(refused.value)
    assert await count(dsn) == 0


async def test_meta_that_json_cannot_hold_is_refused(dsn: str) -> None:
    async with m25.open(dsn) as m:
        with pytest.raises(m25.ValueRefused, match="meta"):
            await m.enqueue(notes, m25.Job({}, meta={"when": object()}))
    assert await count(dsn) == 0


async def test_a_held_unique_key_is_refused_and_its_holder_named(dsn: str) -> None:
    async with m25.open(dsn) as m:
        first = await m.enqueue(notes, m25.Job({}, unique_key="k"))
        with pytest.raises(m25.UniqueKeyConflict) as conflict:
            await m.enqueue(orders, m25.Job(Order([]), unique_key="k"))
        assert conflict.value.job_id == first.id
        assert conflict.value.unique_key == "k"
        assert await count(dsn) == 1


async def test_a_unique_key_is_held_until_its_job_fails_or_is_cancelled(dsn: str) -> None:
    @m25.queue("keyed")
    async def keyed(fails: bool) -> None:
        if fails:
            raise RuntimeError

    async with m25.open(dsn) as m:
        m.add_queue(keyed)
        pending = await m.enqueue(keyed, m25.Job(False, unique_key="k"))
        await m.cancel_job(keyed, pending.id)
        failing = await m.enqueue(keyed, m25.Job(True, unique_key="k"))
        await m.start()
        await ended(m, keyed, failing.id)
        succeeding = await m.enqueue(keyed, m25.Job(False, unique_key="k"))
        await ended(m, keyed, succeeding.id)
        with pytest.raises(m25.UniqueKeyConflict) as conflict:
            await m.enqueue(keyed, m25.Job(False, unique_key="k"))
    assert conflict.value.job_id == succeeding.id


async def test_a_unique_key_passes_from_an_attempt_to_the_next(dsn: str) -> None:
    @m25.queue("keyed")
    async def keyed(number: int) -> None:
        raise RuntimeError

    async with m25.open(dsn) as m:
        m.add_queue(keyed)
        await m.start()
        first = await m.enqueue(keyed, m25.Job(1, unique_key="k", max_attempts=2, retry_delay=60))
        await ended(m, keyed, first.id)
        with pytest.raises(m25.UniqueKeyConflict) as conflict:
            await m.enqueue(keyed, m25.Job(1, unique_key="k"))
        retry = await m.get_job(keyed, conflict.value.job_id)
    assert retry.attempt == 2
    assert retry.previous_attempt_id == first.id


async def test_of_many_that_enqueue_one_key_at_once_one_succeeds(dsn: str) -> None:
    won = lost = 0
    async with m25.open(dsn) as one, m25.open(dsn) as other, trio.open_nursery() as nursery:

        async def enqueue(m: m25.M25) -> None:
            nonlocal won, lost
            try:
                await m.enqueue(notes, m25.Job({}, unique_key="k"))
            except m25.UniqueKeyConflict:
                lost += 1
            else:
                won += 1

        for _ in range(25):
            nursery.start_soon(enqueue, one)
            nursery.start_soon(enqueue, other)
    assert (won, lost) == (1, 49)
    assert await count(dsn) == 1


async def test_concurrent_enqueues_each_have_their_own_answer(dsn: str) -> None:
    outcomes: dict[int, object] = {}
    async with m25.open(dsn) as m:
        await m.enqueue(notes, m25.Job({}, unique_key="taken"))
        async with trio.open_nursery() as nursery:

            async def enqueue(number: int) -> None:
                try:
                    job = m25.Job({"n": number}, unique_key="taken" if number % 10 == 3 else None)
                    outcomes[number] = (await m.enqueue(notes, job)).input
                except m25.UniqueKeyConflict as conflict:
                    outcomes[number] = type(conflict)

            for number in range(100):
                nursery.start_soon(enqueue, number)
    for number, outcome in outcomes.items():
        assert outcome == (m25.UniqueKeyConflict if number % 10 == 3 else {"n": number})
    assert await count(dsn) == 91


async def test_an_enqueue_that_is_cancelled_harms_no_other(dsn: str) -> None:
    async with m25.open(dsn) as m, trio.open_nursery() as nursery:
        async with trio.open_nursery() as cancelled:
            for _ in range(10):
                nursery.start_soon(m.enqueue, notes, {})
                cancelled.start_soon(m.enqueue, notes, {"cancelled": True})
            await trio.testing.wait_all_tasks_blocked()
            cancelled.cancel_scope.cancel()
    (row,) = await rows(dsn, "select count(*) from m25.job where input = '{}'")
    assert row["count"] == 10


async def test_enqueueing_the_same_id_again_changes_nothing(dsn: str) -> None:
    job = m25.Job({"a": 1}, id=m25.JobId(uuid4()))
    async with m25.open(dsn) as m:
        first = await m.enqueue(notes, job)
        assert await m.enqueue(notes, job) == first
        assert first.id == job.id
        with pytest.raises(m25.errors.InvalidJob, match="'notes'"):
            await m.enqueue(orders, m25.Job(Order([]), id=job.id))
    assert await count(dsn) == 1


async def test_a_job_enqueued_in_a_transaction_exists_if_that_commits(dsn: str) -> None:
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        record = await m.enqueue(notes, {}, connection=connection)
        with pytest.raises(m25.NoJobRecordFound):
            await m.get_job(notes, record.id)
        assert (await m.get_job(notes, record.id, connection=connection)).id == record.id
        await connection.commit()
        assert (await m.get_job(notes, record.id)).id == record.id


async def test_a_job_enqueued_in_a_transaction_is_gone_if_that_is_rolled_back(dsn: str) -> None:
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        record = await m.enqueue(notes, {}, connection=connection)
        await connection.rollback()
        with pytest.raises(m25.NoJobRecordFound):
            await m.get_job(notes, record.id)


async def test_a_refused_key_leaves_the_callers_transaction_usable(dsn: str) -> None:
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        held = await m.enqueue(notes, m25.Job({}, unique_key="k"))
        async with connection.transaction():
            await connection.execute("create table own (id int)")
            with pytest.raises(m25.UniqueKeyConflict) as conflict:
                await m.enqueue(notes, m25.Job({}, unique_key="k"), connection=connection)
            with pytest.raises(m25.ValueRefused):
                await m.enqueue(notes, {"a": math.nan}, connection=connection)
            await connection.execute("insert into own values (1)")
    assert conflict.value.job_id == held.id
    assert await rows(dsn, "select * from own") == [{"id": 1}]


async def test_a_worker_is_woken_when_the_callers_transaction_commits(dsn: str) -> None:
    began = trio.Event()

    @m25.queue("prompt", poll_interval=60)
    async def prompt(number: int) -> None:
        began.set()

    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        m.add_queue(prompt)
        await m.start()
        await m.enqueue(prompt, 1, connection=connection)
        assert not began.is_set()
        await connection.commit()
        with trio.fail_after(30):
            await began.wait()


async def test_a_connection_of_another_kind_is_refused(dsn: str) -> None:
    async with m25.open(dsn) as m:
        with pytest.raises(TypeError, match=r"m25\.pg\.AsyncConnection"):
            await m.enqueue(notes, {}, connection=object())  # type: ignore[arg-type]


async def test_a_pending_job_can_be_cancelled_and_does_not_run(dsn: str) -> None:
    ran: list[int] = []

    @m25.queue("cancelled")
    async def cancelled(number: int) -> None:
        ran.append(number)

    async with m25.open(dsn) as m:
        m.add_queue(cancelled)
        one, two = [await m.enqueue(cancelled, number) for number in (1, 2)]
        record = await m.cancel_job(cancelled, one.id)
        await m.start()
        await ended(m, cancelled, two.id)
    assert record.status is m25.JobStatus.CANCELLED
    assert record.cancelled_at is not None
    assert ran == [2]


async def test_cancelling_in_a_transaction_takes_effect_with_it(dsn: str) -> None:
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        record = await m.enqueue(notes, {})
        await m.cancel_job(notes, record.id, connection=connection)
        await connection.rollback()
        assert (await m.get_job(notes, record.id)).status is m25.JobStatus.PENDING


async def test_only_a_pending_job_can_be_cancelled(dsn: str) -> None:
    release = trio.Event()
    begun = trio.Event()

    @m25.queue("busy")
    async def busy(number: int) -> None:
        begun.set()
        await release.wait()

    async with m25.open(dsn) as m:
        m.add_queue(busy)
        await m.start()
        record = await m.enqueue(busy, 1)
        await begun.wait()
        with pytest.raises(m25.InvalidState) as running:
            await m.cancel_job(busy, record.id)
        release.set()
        await ended(m, busy, record.id)
        with pytest.raises(m25.InvalidState) as finished:
            await m.cancel_job(busy, record.id)
        cancelled = await m.enqueue(notes, {})
        await m.cancel_job(notes, cancelled.id)
        with pytest.raises(m25.InvalidState) as twice:
            await m.cancel_job(notes, cancelled.id)
    assert running.value.status is m25.JobStatus.EXECUTING
    assert finished.value.status is m25.JobStatus.SUCCEEDED
    assert twice.value.status is m25.JobStatus.CANCELLED


async def test_a_job_that_is_not_there_is_not_found(dsn: str) -> None:
    unknown = m25.JobId(uuid4())
    async with m25.open(dsn) as m:
        other = await m.enqueue(orders, Order([]))
        with pytest.raises(m25.NoJobRecordFound):
            await m.get_job(notes, unknown)
        with pytest.raises(m25.NoJobRecordFound):
            await m.get_job(notes, other.id)
        with pytest.raises(m25.errors.JobCancelFetchError) as error:
            await m.cancel_job(notes, unknown)
        with pytest.raises(m25.NoJobRecordFound) as as_elsewhere:
            await m.cancel_job(notes, other.id)
        assert (await m.get_job(orders, other.id)).status is m25.JobStatus.PENDING
    assert isinstance(error.value.error, m25.NoJobRecordFound)
    assert type(as_elsewhere.value) is type(error.value) is m25.errors.JobCancelNotFound
    assert (as_elsewhere.value.job_id, as_elsewhere.value.queue_name) == (other.id, "notes")
    assert error.value.__cause__ is error.value.error
