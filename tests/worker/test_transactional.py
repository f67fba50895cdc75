"""Handlers in a transaction: what they write, their output and their success are one commit."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import psycopg
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import pg
from support.proxy import Strike, proxied
from support.told import lines, told
from support.waiting import PATIENCE, ended, eventually, rows

TABLE = "create table invoice (number integer, unique (number) deferrable initially deferred)"
#: Their leases are long enough for a machine that stands still.
OPTIONS: dict[str, Any] = {
    "transactional": True,
    "poll_interval": 0.2,
    "heartbeat_interval": 0.25,
    "allowed_heartbeat_misses": 200,
}


async def write(connection: pg.AsyncConnection[Any], number: int) -> None:
    await connection.execute("insert into invoice values (%s)", [number])


async def written(dsn: str) -> list[int]:
    return [row["number"] for row in await rows(dsn, "select number from invoice order by number")]


@m25.queue("invoices", **OPTIONS)
async def invoices(number: int, *, connection: pg.AsyncConnection[Any]) -> int:
    await write(connection, number)
    return 2 * number


@m25.queue("letters")
async def letters(text: str) -> None: ...


@pytest.fixture
async def database(dsn: str) -> str:
    await rows(dsn, TABLE)
    return dsn


@asynccontextmanager
async def running(
    dsn: str, *queues: m25.Queue[Any, Any, Any], **options: Any
) -> AsyncGenerator[m25.M25]:
    async with m25.open(dsn, **options) as m:
        for queue in queues:
            m.add_queue(queue)
        await m.start()
        yield m


async def outcome(
    dsn: str, queue: m25.Queue[Any, Any, Any], value: object = 1
) -> m25.JobRecord[Any, Any, Any]:
    """How a job ends."""
    async with running(dsn, queue) as m:
        record = await m.enqueue(queue, value)
        with trio.fail_after(PATIENCE):
            return await m.wait(queue, record.id)


async def test_what_is_written_and_the_success_are_one_commit(database: str) -> None:
    seen: list[tuple[list[int], str]] = []

    async def look(record: m25.JobRecord[Any, Any, Any], m: m25.M25) -> None:
        seen.append((await written(database), (await m.get_job(watched, record.id)).status.value))

    @m25.queue("watched", **OPTIONS)
    async def watched(number: int, *, connection: pg.AsyncConnection[Any]) -> int:
        await write(connection, number)
        job = m25.current_job()
        await job.m.enqueue(letters, "to ada", connection=connection)
        await look(job, job.m)
        return 2 * number

    record = await outcome(database, watched, 7)
    assert (record.status, record.output) == (m25.JobStatus.SUCCEEDED, 14)
    assert seen == [([], "executing")]
    assert await written(database) == [7]
    assert len(await rows(database, "select id from m25.job where queue_name = 'letters'")) == 1


async def test_what_raises_is_rolled_back_and_settled_apart(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    class TooLate(Exception): ...

    @m25.queue("raising", errors=(TooLate,), retry=m25.Retry(max_attempts=2, delay=0), **OPTIONS)
    async def raising(number: int, *, connection: pg.AsyncConnection[Any]) -> None:
        await write(connection, number)
        if m25.current_job().attempt == 1:
            raise OSError
        raise TooLate("the books are closed")

    record = await outcome(database, raising)
    assert isinstance(record.error_data, TooLate)
    assert record.attempt == 2
    assert await written(database) == []
    assert "JobSucceeded" not in told(caplog)


async def commits(connection: pg.AsyncConnection[Any]) -> None:
    await connection.commit()


async def commits_by_hand(connection: pg.AsyncConnection[Any]) -> None:
    await connection.execute("rollback")


async def closes(connection: pg.AsyncConnection[Any]) -> None:
    await connection.close()


async def catches(connection: pg.AsyncConnection[Any]) -> None:
    with contextlib.suppress(psycopg.Error):
        await connection.execute("nonsense")


async def breaks_a_constraint(connection: pg.AsyncConnection[Any]) -> None:
    await write(connection, 1)


async def keeps_a_step(_: pg.AsyncConnection[Any]) -> None:
    await m25.current_job().step("step", nothing)


async def nothing() -> None: ...


NOBODY = m25.JobId("01a21f00-0000-7000-8000-000000000009")


async def cancels_and_waits(_: pg.AsyncConnection[Any]) -> None:
    await m25.current_job().m.cancel_job(letters, NOBODY, running=True, wait=True)


async def follows(_: pg.AsyncConnection[Any]) -> None:
    async for _progress in m25.current_job().m.progress(letters, NOBODY):
        pass


@pytest.mark.parametrize(
    ("act", "crash_type", "text"),
    [
        (commits, "psycopg.ProgrammingError", "Explicit commit() forbidden"),
        (commits_by_hand, "m25.errors.UsageError", "was ended in the handler"),
        (closes, "m25.errors.UsageError", "was ended in the handler"),
        (catches, "m25.errors.UsageError", "its error was caught"),
        (breaks_a_constraint, "psycopg.errors.UniqueViolation", "invoice_number_key"),
        (keeps_a_step, "m25.errors.UsageError", "job.step() cannot be called within"),
        (cancels_and_waits, "m25.errors.UsageError", "wait=True) cannot be called within"),
        (follows, "m25.errors.UsageError", "progress() cannot be called within"),
    ],
)
async def test_what_cannot_be_committed_is_a_crash_that_says_why(
    act: Callable[[pg.AsyncConnection[Any]], Any], crash_type: str, text: str, database: str
) -> None:
    @m25.queue("wrong", **OPTIONS)
    async def wrong(number: int, *, connection: pg.AsyncConnection[Any]) -> None:
        await write(connection, number)
        await act(connection)

    record = await outcome(database, wrong)
    assert record.status is m25.JobStatus.FAILED
    assert record.crash_type == crash_type
    assert record.crash_message is not None
    assert text in record.crash_message
    assert await written(database) == []


async def test_a_savepoint_of_the_handlers_own_is_its_own(database: str) -> None:
    @m25.queue("savepoints", **OPTIONS)
    async def savepoints(number: int, *, connection: pg.AsyncConnection[Any]) -> None:
        await write(connection, number)
        with contextlib.suppress(ZeroDivisionError):
            async with connection.transaction():
                await write(connection, number + 1)
                raise ZeroDivisionError
        async with connection.transaction():
            await write(connection, number + 2)

    assert (await outcome(database, savepoints)).status is m25.JobStatus.SUCCEEDED
    assert await written(database) == [1, 3]


async def test_what_setup_and_around_raise_afterwards_rolls_back_too(database: str) -> None:
    raises: list[str] = []

    @asynccontextmanager
    async def setup() -> AsyncGenerator[str]:
        yield "resource"
        if raises == ["setup"]:
            raise OSError("setup")

    @asynccontextmanager
    async def around(_: m25.RunningJob[Any, Any, Any]) -> AsyncGenerator[None]:
        yield
        if raises == ["around"]:
            raise OSError("around")

    @m25.queue("within", setup=setup, **OPTIONS)
    async def within(number: int, resource: str, *, connection: pg.AsyncConnection[Any]) -> str:
        await write(connection, number)
        return resource

    async with running(database, within, around=[around]) as m:
        for who in ("setup", "around", "nobody"):
            raises[:] = [who]
            record = await ended(m, within, (await m.enqueue(within, 1)).id)
            assert record.output == ("resource" if who == "nobody" else None)
    assert await written(database) == [1]


async def test_a_worker_that_lost_its_claim_commits_nothing(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    @m25.queue("lost", **{**OPTIONS, "heartbeat_interval": 30})
    async def lost(number: int, *, connection: pg.AsyncConnection[Any]) -> None:
        await write(connection, number)
        await rows(database, "update m25.job set claim_token = gen_random_uuid()")

    async with running(database, lost) as m:
        record = await m.enqueue(lost, 1)

        async def discarded() -> bool:
            return "ResultDiscarded" in told(caplog)

        await eventually(discarded)
        assert (await m.get_job(lost, record.id)).status is m25.JobStatus.EXECUTING
    assert await written(database) == []
    assert "JobSucceeded" not in told(caplog)


async def test_a_deadline_ends_the_query_and_rolls_back(database: str) -> None:
    @m25.queue("slow", default_job_timeout=0.3, **OPTIONS)
    async def slow(number: int, *, connection: pg.AsyncConnection[Any]) -> None:
        await write(connection, number)
        await connection.execute("select pg_sleep(60)")

    record = await outcome(database, slow)
    assert record.failure_reason is m25.FailureReason.JOB_TIMEOUT
    assert await written(database) == []


async def test_who_waits_for_a_connection_does_not_use_up_the_jobs_time(database: str) -> None:
    #: By Trio's clock, from when on a job's time counts, and when all but the first one wait.
    counted_from: list[float] = []
    all_wait = 0.0

    @m25.queue("turns", default_job_timeout=60, **OPTIONS)
    async def turns(number: int, *, connection: pg.AsyncConnection[Any]) -> None:
        nonlocal all_wait
        counted_from.append(trio.current_effective_deadline() - 60)
        await write(connection, number)
        if len(counted_from) == 1:
            await trio.testing.wait_all_tasks_blocked()
            all_wait = trio.current_time()
            # Longer than the others may have existed before they waited.
            await trio.sleep(all_wait - put_at + 0.1)

    async with running(database, turns, transactional_connections=1) as m:
        put_at = trio.current_time()
        # One claim takes all of them.
        many = await m.enqueue_many(turns, range(5))
        for id in many.ids:
            assert (await ended(m, turns, id)).status is m25.JobStatus.SUCCEEDED
    assert await written(database) == [0, 1, 2, 3, 4]
    assert min(counted_from[1:]) > all_wait


@pytest.mark.parametrize(
    ("request_", "when", "runs"),
    [(b"COMMIT", "done", 1), (b"COMMIT", "before", 2), (rb"m25[._]succeed", "before", 2)],
)
async def test_a_connection_that_is_lost_at_the_end_costs_no_attempt(
    request_: bytes,
    when: Literal["done", "before"],
    runs: int,
    database: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "m25")
    starts: list[int] = []

    @m25.queue("unanswered", **OPTIONS)
    async def unanswered(number: int, *, connection: pg.AsyncConnection[Any]) -> None:
        starts.append(number)
        await write(connection, number)
        if len(starts) == 1:
            proxy.strike(Strike(when, re.compile(request_), lambda: None))

    async with proxied(database) as proxy, running(proxy.dsn, unanswered) as m:
        record = await m.enqueue(unanswered, 1)
        with trio.fail_after(PATIENCE):
            final = await m.wait(unanswered, record.id)
            assert (final.status, final.attempt) == (m25.JobStatus.SUCCEEDED, 1)

            async def succeeded() -> bool:
                return len(lines(caplog, "JobSucceeded")) == 1

            await eventually(succeeded)
    assert len(starts) == runs
    assert await written(database) == [1]
    assert ("CommitUnanswered" in told(caplog)) == (request_ == b"COMMIT")
    assert "ResultDiscarded" not in told(caplog)


# Declarations, and tests of one's own


def test_a_transactional_handler_takes_a_connection_by_name() -> None:
    with pytest.raises(m25.errors.InvalidQueue, match="has no parameter `connection`"):

        @m25.queue("no", transactional=True)
        async def _no(_: int) -> None: ...

    with pytest.raises(m25.errors.InvalidQueue, match="takes \\(_, connection\\)"):

        @m25.queue("not", transactional=False)
        async def _not(_: int, *, connection: pg.AsyncConnection[Any]) -> None: ...

    with pytest.raises(m25.errors.InvalidQueue, match="cannot be had with runs='thread'"):

        @m25.queue("thread", transactional=True, runs="thread")
        def _thread(_: int, *, connection: pg.AsyncConnection[Any]) -> None: ...


async def test_a_test_gives_the_connection_and_rolls_all_back(database: str) -> None:
    async with await pg.AsyncConnection.connect(database) as connection:
        job = await m25.testing.run_job(invoices, 4, connection=connection)
        assert job.output == 8
        cursor = await connection.execute("select number from invoice")
        assert await cursor.fetchall() == [(4,)]

        async with m25.testing.open(m25.testing.MemoryStore(connection=connection)) as m:
            m.add_queue(invoices)
            await m.start()
            await m.enqueue_many(invoices, [5, 6])
            await m25.testing.drain(m)
            assert [job.output for job in m25.testing.jobs(m, invoices)] == [10, 12]
        cursor = await connection.execute("select number from invoice order by number")
        assert await cursor.fetchall() == [(4,), (5,), (6,)]
        await connection.rollback()
    assert await written(database) == []


async def test_without_a_connection_a_test_is_told_how_to_give_one() -> None:
    job = await m25.testing.run_job(invoices, 4)
    assert job.crash_type == "m25.errors.UsageError"
    assert "run_job(…, connection=…)" in (job.crash_message or "")
