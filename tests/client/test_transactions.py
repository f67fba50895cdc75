"""`connection=`: a job, its reading and its cancelling as part of the caller's own transaction."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest
import trio
from psycopg.rows import dict_row

import m25
from m25 import pg
from support.told import told
from support.waiting import ended, eventually, rows


@m25.queue("orders", poll_interval=0.2)
async def orders(number: int) -> int:
    return number


async def inputs(dsn: str) -> list[int]:
    return [row["input"] for row in await rows(dsn, "select input from m25.job order by input")]


async def test_a_job_goes_with_its_savepoint(dsn: str) -> None:
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        async with connection.transaction():
            await m.enqueue(orders, 1, connection=connection)
            with pytest.raises(LookupError):
                async with connection.transaction():
                    await m.enqueue(orders, 2, connection=connection)
                    raise LookupError
            await m.enqueue(orders, 3, connection=connection)
    assert await inputs(dsn) == [1, 3]


async def test_a_connection_that_commits_by_itself_enqueues_at_once(dsn: str) -> None:
    connecting = pg.AsyncConnection.connect(dsn, autocommit=True, row_factory=dict_row)
    async with m25.open(dsn) as m, await connecting as connection:
        record = await m.enqueue(orders, 1, connection=connection)
        assert (await m.get_job(orders, record.id)) == record
        # What its rows are to its user is nothing to us.
        assert (await m.get_job(orders, record.id, connection=connection)) == record


async def test_a_job_is_not_run_before_its_transaction_commits(dsn: str) -> None:
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        m.add_queue(orders)
        await m.start()
        record = await m.enqueue(orders, 1, connection=connection)
        other = await m.enqueue(orders, 2)
        await ended(m, orders, other.id)
        found = await m.get_job(orders, record.id, connection=connection)
        assert found.status is m25.JobStatus.PENDING
        await connection.commit()
        assert (await ended(m, orders, record.id)).output == 1


async def test_a_job_is_enqueued_read_and_cancelled_within_one_transaction(dsn: str) -> None:
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        record = await m.enqueue(orders, m25.Job(1, unique_key="k"), connection=connection)
        await m.cancel_job(orders, record.id, connection=connection)
        # Its key is free again, here and now.
        again = await m.enqueue(orders, m25.Job(2, unique_key="k"), connection=connection)
        found = await m.get_job(orders, record.id, connection=connection)
        assert found.status is m25.JobStatus.CANCELLED
        with pytest.raises(m25.InvalidState):
            await m.cancel_job(orders, record.id, connection=connection)
        with pytest.raises(m25.errors.JobCancelFetchError):
            await m.cancel_job(orders, m25.JobId(uuid4()), connection=connection)
        with pytest.raises(m25.NoJobRecordFound):
            await m.get_job(orders, m25.JobId(uuid4()), connection=connection)
        await connection.commit()
        assert (await m.get_job(orders, again.id)).status is m25.JobStatus.PENDING
    assert await inputs(dsn) == [1, 2]


@pytest.mark.parametrize("autocommit", [False, True])
async def test_a_cancel_that_may_be_rolled_back_is_not_told_of(
    dsn: str, caplog: pytest.LogCaptureFixture, *, autocommit: bool
) -> None:
    caplog.set_level("INFO", "m25")
    async with (
        m25.open(dsn) as m,
        await pg.AsyncConnection.connect(dsn, autocommit=autocommit) as connection,
    ):
        id = (await m.enqueue(orders, 1)).id
        async with connection.transaction(force_rollback=True):
            await m.cancel_job(orders, id, connection=connection)
        assert told(caplog, id) == []
        assert (await m.get_job(orders, id)).status is m25.JobStatus.PENDING
        await m.cancel_job(orders, id, connection=connection)
        assert told(caplog, id) == (["JobCancelled"] if autocommit else [])


async def test_a_database_error_on_the_callers_connection_is_chained(dsn: str) -> None:
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await connection.execute("select 1 / 0")
        with pytest.raises(m25.errors.JobRecordFetchQueryError) as failed:
            await m.enqueue(orders, 1, connection=connection)
        assert isinstance(failed.value.__cause__, psycopg.errors.InFailedSqlTransaction)
        await connection.close()
        with pytest.raises(m25.errors.JobRecordFetchQueryError) as closed:
            await m.get_job(orders, m25.JobId(uuid4()), connection=connection)
        assert isinstance(closed.value.__cause__, psycopg.OperationalError)
        await m.enqueue(orders, 2)
    assert await inputs(dsn) == [2]


async def test_a_connection_to_a_database_without_the_table_is_an_error_that_says_so(
    dsn: str, empty_dsn: str
) -> None:
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(empty_dsn) as connection:
        with pytest.raises(m25.errors.JobRecordFetchQueryError, match="does not exist"):
            await m.enqueue(orders, 1, connection=connection)


async def test_a_key_that_an_open_transaction_holds_is_waited_for_and_keeps_no_other_waiting(
    dsn: str,
) -> None:
    answers: list[str] = []

    async def enqueue(m: m25.M25) -> None:
        try:
            await m.enqueue(orders, m25.Job(2, unique_key="k"))
        except m25.UniqueKeyConflict:
            answers.append("refused")
        else:
            answers.append("enqueued")

    for ending in ("commit", "rollback"):
        async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
            await m.enqueue(orders, m25.Job(1, unique_key="k"), connection=connection)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(enqueue, m)
                with trio.fail_after(60):
                    for _ in range(20):
                        await m.enqueue(orders, 9)
                assert len(answers) == (ending == "rollback")
                await getattr(connection, ending)()
            await rows(dsn, "delete from m25.job")
    assert answers == ["refused", "enqueued"]


async def test_a_handler_may_enqueue_the_next_job_in_a_transaction_of_its_own(dsn: str) -> None:
    async with pg.Pool(dsn) as pool, m25.open(pool) as m:

        @m25.queue("chained")
        async def chained(number: int) -> int:
            async with pool.connection() as connection:
                await connection.execute("insert into work values (%s)", [number])
                if number:
                    await m.enqueue(chained, number - 1, connection=connection)
            return number

        await rows(dsn, "create table work (number int)")
        m.add_queue(chained)
        await m.start()
        await m.enqueue(chained, 3)

        async def all_succeeded() -> bool:
            found = await rows(dsn, "select status from m25.job")
            return [row["status"] for row in found] == ["succeeded"] * 4

        await eventually(all_succeeded)
    assert len(await rows(dsn, "select * from work")) == 4
