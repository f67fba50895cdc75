"""PgBouncer between m25 and the server, where it is installed: by transaction unless it is said."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import trio

import m25
import m25.sync
from m25 import pg
from support.poolers import bouncer
from support.processes import worker
from support.told import said
from support.waiting import ended, eventually, rows

from .test_processes import check_chains, sleeps, succeeded


async def handler(number: int) -> None:
    """Has nothing to do."""


async def test_behind_a_transaction_pooler_all_works_by_polling(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")

    class Mishap(Exception):
        pass

    @m25.queue(
        "pooled",
        errors=(Mishap,),
        max_concurrency=20,
        poll_interval=0.2,
        heartbeat_interval=0.2,
        allowed_heartbeat_misses=20,
    )
    async def pooled(number: int) -> int:
        await trio.sleep(0.01 * (number % 7))
        if number % 10 == 0 and m25.current_job().attempt == 1:
            raise Mishap(number)
        return number

    def job(number: int) -> m25.Job[int]:
        return m25.Job(number, max_attempts=2, retry_delay=0)

    async def keep_asking(client: m25.M25, first: int) -> None:
        for number in range(first, first + 100):
            await client.enqueue(pooled, job(number))

    async with (
        bouncer(dsn) as pooler,
        m25.open(pooler.dsn) as m,
        m25.open(pooler.dsn) as other,
        m25.open(pooler.dsn) as web,
    ):
        for client in (m, other):
            client.add_queue(pooled)
            await client.start()
        async with trio.open_nursery() as nursery:
            for client, first in ((web, 0), (web, 100), (m, 200), (other, 300)):
                nursery.start_soon(keep_asking, client, first)
        await web.enqueue_many(pooled, map(job, range(401, 500)))
        record = await web.enqueue(pooled, 999)
        assert (await ended(web, pooled, record.id)).output == 999

        async def all_succeeded() -> bool:
            found = await rows(dsn, "select count(*) from m25.job where status = 'succeeded'")
            return bool(found[0]["count"] == 500)

        await eventually(all_succeeded)
    found = await rows(
        dsn, "select input, output, attempt from m25.job where status = 'succeeded' order by input"
    )
    expected = [*range(400), *range(401, 500), 999]
    assert [row["output"] for row in found] == expected
    assert {row["input"] for row in found if row["attempt"] == 2} <= set(range(0, 1_000, 10))
    warnings = [each for each in said(caplog) if each.levelno > logging.INFO]
    # That of each client which listens, if it took that long.
    assert {each.name for each in warnings} <= {"m25.pg.listener"}


async def test_what_is_set_for_our_statements_is_not_left_to_others_behind_a_pooler(
    dsn: str,
) -> None:
    settings = "select name, setting from pg_settings where source = 'session' order by name"
    async with (
        bouncer(dsn) as pooler,
        m25.open(pooler.dsn) as m,
        await m25.pg.AsyncConnection.connect(
            pooler.dsn, autocommit=True, prepare_threshold=None
        ) as other,
    ):
        with pytest.raises(m25.NoJobRecordFound):
            await m.get_job(m25.Queue("pooled", handler_function=handler), m25.JobId(uuid4()))
        left = await (await other.execute(settings)).fetchall()
    assert {name for name, _ in left} <= {"application_name", "client_encoding", "DateStyle"}


@pytest.mark.slow
async def test_it_is_found_out_that_nothing_is_heard_and_others_hear_nothing_of_ours(
    dsn: str,
) -> None:
    @m25.queue("pooled", poll_interval=0.2)
    async def pooled(number: int) -> None:
        pass

    heard: set[str] = set()
    async with bouncer(dsn) as pooler, m25.open(pooler.dsn) as m:
        m.add_queue(pooled)
        await m.start()
        async with (
            pg.Listener(pooler.dsn, ping_interval=0.1, ping_timeout=0.3) as listener,
            listener.subscribe("pooled"),
            await pg.AsyncConnection.connect(pooler.dsn, autocommit=True) as stranger,
        ):
            # Its transactions are in the sessions where everybody's LISTEN was.
            for number in range(200):
                await m.enqueue(pooled, number)
                await stranger.execute("select 1")

            async def is_silent() -> bool:
                return listener.silent

            await eventually(is_silent)
            heard = {each.channel async for each in stranger.notifies(timeout=0)}
    assert {channel for channel in heard if not channel.startswith("m25_echo_")} == set()


async def test_through_a_pooler_that_pools_by_session_workers_are_notified(dsn: str) -> None:
    @m25.queue("pooled", poll_interval=600)
    async def pooled(number: int) -> int:
        return number

    async with (
        bouncer(dsn, "session", sessions=20) as pooler,
        m25.open(pooler.dsn) as m,
        m25.open(pooler.dsn) as web,
    ):
        m.add_queue(pooled)
        await m.start()
        for number in range(20):
            record = await web.enqueue(pooled, number)
            assert (await ended(web, pooled, record.id)).output == number


async def test_a_pooler_that_pools_by_statement_is_refused(dsn: str) -> None:
    async with bouncer(dsn, "statement") as pooler:
        with pytest.raises(m25.UsageError, match="pool_mode = transaction"):
            async with m25.open(pooler.dsn):
                pass


@pytest.mark.slow
async def test_all_that_handlers_have_works_through_a_pooler(dsn: str) -> None:
    await rows(dsn, "create table note (number int)")

    async def write(connection: pg.AsyncConnection[Any], number: int) -> int:
        await connection.execute("insert into note values (%s)", [number])
        return number

    async def double(number: int) -> int:
        return 2 * number

    @m25.queue("parts", limit=m25.Limit(2), rate=m25.Rate(1000), poll_interval=0.2)
    async def parts(number: int) -> int:
        return number

    @m25.queue("written", transactional=True, poll_interval=0.2)
    async def written(number: int, *, connection: pg.AsyncConnection[Any]) -> int:
        return await write(connection, number)

    @m25.queue("whole", exclusive=True, poll_interval=0.2)
    async def whole(number: int) -> int:
        job = m25.current_job()
        doubled = await job.step("double", double, number)
        await job.transact("write", write, doubled)
        await job.sleep(0.2)
        more = await job.receive("more", int)
        async with job.open_nursery() as nursery:
            started = [await nursery.start_job(parts, each) for each in range(4)]
        return doubled + more + sum(part.output for part in started)

    @m25.queue("endless", poll_interval=0.2, heartbeat_interval=0.2)
    async def endless(number: int) -> None:
        await trio.sleep_forever()

    @m25.queue("ticks", poll_interval=0.2)
    async def ticks(number: int) -> None:
        pass

    async with bouncer(dsn) as pooler, m25.open(pooler.dsn) as m, m25.open(pooler.dsn) as web:
        for queue in (parts, written, whole, endless, ticks):
            m.add_queue(queue)
        m.add_schedule("ticks", ticks, every=timedelta(seconds=1), input=7)
        await m.start()
        record = await web.enqueue(whole, 10)
        running = await web.enqueue(endless, 0)
        only = m25.Job(1, unique=m25.Unique("only", then="return"))
        twins = [(await web.enqueue(written, only)).id for _ in range(2)]
        assert twins[0] == twins[1]
        assert await web.call(written, 2) == 2
        await web.send(whole, record.id, "more", 100)
        with trio.fail_after(60):
            assert await web.result(whole, record.id) == 20 + 100 + 6
            await web.cancel_job(endless, running.id, running=True)
            assert (await ended(web, endless, running.id)).status is m25.JobStatus.CANCELLED

        async def has_ticked() -> bool:
            return bool(await rows(dsn, "select id from m25.job where queue_name = 'ticks'"))

        await eventually(has_ticked)
    found = await rows(dsn, "select number from note order by number")
    assert [row["number"] for row in found] == [1, 2, 20]


@pytest.mark.slow
async def test_poolers_and_workers_behind_them_may_be_killed(dsn: str) -> None:
    async with bouncer(dsn) as pooler, m25.open(pooler.dsn) as m:
        async with worker(pooler.dsn) as victim, worker(pooler.dsn) as survivor:
            ids = [(await m.enqueue(sleeps, 0.1 + 0.05 * (n % 13))).id for n in range(40)]
            for running in (victim, survivor):
                await running.until_printed("begun", times=3)
            await pooler.kill()
            await pooler.start()
            victim.process.kill()

            async def all_done() -> bool:
                return await succeeded(dsn) == len(ids)

            await eventually(all_done, 60)
            assert survivor.process.returncode is None
    await check_chains(dsn, ids)


async def test_a_pool_and_a_transaction_of_the_callers_work_through_a_pooler(dsn: str) -> None:
    @m25.queue("pooled")
    async def pooled(number: int) -> None:
        pass

    async with (
        bouncer(dsn) as pooler,
        m25.pg.Pool(pooler.dsn) as pool,
        m25.open(pool) as m,
        await m25.pg.AsyncConnection.connect(pooler.dsn, prepare_threshold=None) as connection,
        await m25.pg.AsyncConnection.connect(pooler.dsn, prepare_threshold=None) as undone,
    ):
        for number in range(20):
            await m.enqueue(pooled, number)
            await m.enqueue(pooled, 100 + number, connection=connection)
            await m.enqueue(pooled, 200 + number, connection=undone)
            await connection.commit()
            await undone.rollback()
    found = await rows(dsn, "select input from m25.job order by input")
    assert [row["input"] for row in found] == [*range(20), *range(100, 120)]


async def test_producers_without_trio_work_through_a_pooler(dsn: str) -> None:
    @m25.queue("pooled")
    async def pooled(number: int) -> None:
        pass

    async with bouncer(dsn) as pooler:

        def produce(first: int) -> None:
            # As it is by default, psycopg prepares what it has sent five times.
            with psycopg.connect(pooler.dsn) as connection:
                for number in range(first, first + 20):
                    m25.sync.enqueue(connection, pooled, number)
                    connection.commit()
                m25.sync.enqueue_many(connection, pooled, range(first + 20, first + 40))

        async with trio.open_nursery() as nursery:
            for first in range(0, 200, 40):
                nursery.start_soon(trio.to_thread.run_sync, produce, first)
    found = await rows(dsn, "select input from m25.job order by input")
    assert [row["input"] for row in found] == [*range(200)]
