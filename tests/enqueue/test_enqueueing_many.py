"""Many jobs at once: all are put, or none."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import pg
from support.waiting import ended, eventually, rows


@attrs.frozen
class Letter:
    number: int


@m25.queue("letters", poll_interval=600)
async def letters(letter: Letter) -> int:
    return letter.number


@m25.queue("parcels")
async def parcels(number: int) -> None:
    pass


async def numbers(dsn: str) -> list[int]:
    found = await rows(dsn, "select (input ->> 'number')::int as n from m25.job order by id")
    return [row["n"] for row in found]


@pytest.mark.parametrize("size", [0, 1, 499, 500, 501, 2_345])
async def test_any_number_is_put_in_order_and_each_id_comes_back(dsn: str, size: int) -> None:
    async with m25.open(dsn) as m:
        found = await m.enqueue_many(letters, (Letter(number) for number in range(size)))
        assert len(found.ids) == size
        assert found.conflicts == {}
        if size:
            record = await m.get_job(letters, found.ids[-1])
            assert record.input == Letter(size - 1)
            assert found.ids[:2] == list(found.ids)[:2]
    assert await numbers(dsn) == list(range(size))


async def test_they_may_come_from_an_async_iterable(dsn: str) -> None:
    async def source() -> AsyncIterator[Letter | m25.Job[Letter]]:
        for number in range(700):
            if number % 100 == 0:
                await trio.sleep(0.001)
            yield m25.Job(Letter(number)).with_priority(3) if number % 2 else Letter(number)

    async with m25.open(dsn) as m, aclosing(source()) as jobs:
        await m.enqueue_many(letters, jobs)
    assert await numbers(dsn) == list(range(700))
    assert len(await rows(dsn, "select 1 from m25.job where priority = 3")) == 350


async def test_workers_are_woken(dsn: str) -> None:
    async with m25.open(dsn) as m, m25.open(dsn) as worker:
        worker.add_queue(letters)
        await worker.start()
        found = await m.enqueue_many(letters, [Letter(1), Letter(2)])
        for id in found.ids:
            await ended(m, letters, id)


@pytest.mark.parametrize("bad", [0, 3, 700])
async def test_one_that_is_refused_is_named_and_none_is_put(dsn: str, bad: int) -> None:
    jobs: list[Any] = [Letter(number) for number in range(800)]
    jobs[bad] = Letter("three")  # type: ignore[arg-type]
    async with m25.open(dsn) as m:
        with pytest.raises(m25.ValueRefused, match="number") as caught:
            await m.enqueue_many(letters, jobs)
        assert any(f"at position {bad}," in note for note in caught.value.__notes__)
        await m.enqueue_many(letters, [Letter(1)])
    assert await numbers(dsn) == [1]


async def test_where_the_database_refuses_one_is_told_as_closely_as_is_known(dsn: str) -> None:
    await rows(dsn, """alter table m25.job add check (input <> '{"number": 603}')""")
    async with m25.open(dsn) as m:
        with pytest.raises(m25.errors.JobRecordFetchQueryError, match="check constraint") as caught:
            await m.enqueue_many(letters, map(Letter, range(1_200)))
        assert any("from position 600 on" in note for note in caught.value.__notes__)
    assert await numbers(dsn) == []


async def test_a_source_that_fails_puts_none(dsn: str) -> None:
    def source() -> Iterator[Letter]:
        yield from (Letter(number) for number in range(1_200))
        raise LookupError("no more")

    async with m25.open(dsn) as m:
        with pytest.raises(LookupError, match="no more"):
            await m.enqueue_many(letters, source())
    assert await numbers(dsn) == []


async def test_what_is_not_iterable_is_refused(dsn: str) -> None:
    async with m25.open(dsn) as m:
        with pytest.raises(TypeError, match="not iterable"):
            await m.enqueue_many(letters, Letter(1))  # type: ignore[call-overload]
        with pytest.raises(TypeError, match=r"a m25\.pg\.AsyncConnection is needed"):
            await m.enqueue_many(letters, [], connection="dbname=x")  # type: ignore[arg-type]


async def test_a_key_that_is_held_refuses_all(dsn: str) -> None:
    async with m25.open(dsn) as m:
        holder = await m.enqueue(letters, m25.Job(Letter(0)).with_unique_key("k"))
        with pytest.raises(m25.UniqueKeyConflict) as caught:
            await m.enqueue_many(letters, [Letter(1), m25.Job(Letter(2)).with_unique_key("k")])
        assert caught.value.job_id == holder.id
        assert any("at position 1," in note for note in caught.value.__notes__)
    assert await numbers(dsn) == [0]


async def test_keys_that_are_held_can_be_skipped_and_are_told(dsn: str) -> None:
    async with m25.open(dsn) as m:
        holder = await m.enqueue(letters, m25.Job(Letter(0)).with_unique_key("0"))
        jobs = [
            m25.Job(Letter(number)).with_unique_key(str(number % 600)) for number in range(1_000)
        ]
        found = await m.enqueue_many(letters, jobs, skip_conflicts=True)
        assert sorted(found.conflicts) == [0, *range(600, 1_000)]
        assert found.conflicts[0].job_id == found.ids[0] == holder.id
        assert found.conflicts[600].job_id == holder.id
        assert found.conflicts[601].unique_key == "1"
        # Of two with one key the first is put.
        assert found.conflicts[601].job_id == found.ids[1] == found.ids[601]
    assert await numbers(dsn) == list(range(600))


async def test_ids_of_ones_own_make_it_safe_to_repeat(dsn: str) -> None:
    jobs = [m25.Job(Letter(number), id=m25.JobId(uuid4())) for number in range(600)]
    async with m25.open(dsn) as m:
        first = await m.enqueue_many(letters, jobs)
        again = await m.enqueue_many(letters, [*jobs, Letter(600)])
        assert list(again.ids)[:600] == list(first.ids) == [job.id for job in jobs]
        with pytest.raises(m25.errors.InvalidJob, match="is on queue 'letters'"):
            await m.enqueue_many(parcels, [1, m25.Job(2, id=jobs[0].id)])
    assert sorted(await numbers(dsn)) == list(range(601))


async def test_in_the_callers_transaction_they_share_its_end(dsn: str) -> None:
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        await m.enqueue_many(letters, map(Letter, range(700)), connection=connection)
        assert await numbers(dsn) == []
        await connection.rollback()
        await m.enqueue_many(letters, map(Letter, range(3)), connection=connection)
        # A refusal leaves what came before it, and the transaction, as they were.
        with pytest.raises(m25.ValueRefused):
            await m.enqueue_many(letters, [Letter(3), None], connection=connection)  # type: ignore[list-item]
        await connection.commit()
    assert await numbers(dsn) == [0, 1, 2]


async def test_cancelled_midway_none_is_put_and_the_client_goes_on(dsn: str) -> None:
    reached = trio.Event()

    async def source() -> AsyncIterator[Letter]:
        for number in range(1_500):
            yield Letter(number)
        reached.set()
        await trio.sleep_forever()

    async with m25.open(dsn, pool_size=1) as m:
        async with trio.open_nursery() as nursery:

            async def put() -> None:
                async with aclosing(source()) as jobs:
                    await m.enqueue_many(letters, jobs)

            nursery.start_soon(put)
            await reached.wait()
            nursery.cancel_scope.cancel()
        await m.enqueue_many(letters, [Letter(7)])
    assert await numbers(dsn) == [7]


async def test_a_source_without_end_takes_no_memory(dsn: str) -> None:
    async def peak(size: int) -> int:
        tracemalloc.start()
        try:
            found = await m.enqueue_many(letters, map(Letter, range(size)))
            assert len(found.ids) == size
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    async with m25.open(dsn) as m:
        await peak(1_000)
        few, many = await peak(1_000), await peak(8_000)
    # The ids are kept, sixteen bytes each.
    assert many - few < 7_000 * 40


async def test_it_fails_as_one_when_the_database_does(dsn: str) -> None:
    async def source() -> AsyncIterator[Letter]:
        for number in range(1_000):
            yield Letter(number)

        async def cut() -> bool:
            found = await rows(
                dsn,
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where datname = current_database() and state = 'idle in transaction'",
            )
            return bool(found)

        await eventually(cut)
        yield Letter(1_000)

    async with m25.open(dsn) as m, aclosing(source()) as jobs:
        with pytest.raises(m25.errors.JobRecordFetchQueryError):
            await m.enqueue_many(letters, jobs)
        await m.enqueue_many(letters, [Letter(1)])
    assert await numbers(dsn) == [1]


async def test_without_a_database_it_is_the_same(autojump_clock: trio.testing.MockClock) -> None:
    async with m25.testing.open() as m:
        m.add_queue(letters)
        jobs = [m25.Job(Letter(number)).with_unique_key(str(number % 2)) for number in range(4)]
        with pytest.raises(m25.UniqueKeyConflict):
            await m.enqueue_many(letters, jobs)
        assert m25.testing.jobs(m, letters) == []
        found = await m.enqueue_many(letters, jobs, skip_conflicts=True)
        assert sorted(found.conflicts) == [2, 3]
        await m.start()
        await m25.testing.drain(m)
        assert [job.output for job in m25.testing.jobs(m, letters)] == [0, 1]


async def test_after_the_block_it_is_refused(dsn: str) -> None:
    async with m25.open(dsn) as m:
        pass
    with pytest.raises(m25.errors.ClientClosed):
        await m.enqueue_many(letters, [Letter(1)])
