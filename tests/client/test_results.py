"""Waiting for jobs: their results, their errors, and what it costs to wait."""

from __future__ import annotations

import pickle
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import trio
import trio.testing
from psycopg.conninfo import make_conninfo

import m25
import m25.testing
from m25 import errors
from m25._store.memory import MemoryStore
from m25._store.postgres import PostgresStore
from support.failing import connection_lost, failing
from support.insides import store_of
from support.proxy import proxied
from support.told import told
from support.waiting import eventually, rows


class Full(Exception): ...


@m25.queue("numbers", errors=(Full,), poll_interval=0.2)
async def numbers(number: int) -> int:
    if number == 0:
        raise Full("no room")
    if number < 0:
        raise ValueError("negative")
    return number + 1


@m25.queue("late")
async def late(seconds: float) -> str:
    await trio.sleep(seconds)
    return "at last"


#: Opens another client of the same jobs.
Open = Callable[[], AbstractAsyncContextManager[m25.M25]]


@pytest.fixture(params=["memory", "postgres"])
def open_client(request: pytest.FixtureRequest) -> Open:
    if request.param == "postgres":
        dsn = request.getfixturevalue("dsn")
        return lambda: m25.open(dsn)
    store = MemoryStore()
    return lambda: m25.testing.open(store)


@asynccontextmanager
async def worker(open_client: Open, *queues: m25.Queue[Any, Any, Any]) -> AsyncGenerator[m25.M25]:
    """Another client, which runs these queues."""
    async with open_client() as m:
        for queue in queues or (numbers,):
            m.add_queue(queue)
        await m.start()
        yield m


async def test_a_result_is_what_the_handler_returned(open_client: Open) -> None:
    async with open_client() as m, worker(open_client):
        with trio.fail_after(60):
            assert await m.call(numbers, 1) == 2
            record = await m.enqueue(numbers, 2)
            # By any form of its id, and also once it has ended.
            for id in (record.id, str(record.id), record.id.value):
                assert await m.result(numbers, id) == 3
            assert (await m.wait(numbers, record.id)).output == 3


async def test_a_result_is_read_though_the_rest_of_its_job_cannot_be(open_client: Open) -> None:
    # As where another version of the program takes another input.
    @m25.queue("numbers")
    async def changed(text: str) -> int:
        raise NotImplementedError(text)

    async with open_client() as m, worker(open_client):
        with trio.fail_after(60):
            record = await m.enqueue(numbers, 1)
            assert await m.result(changed, record.id) == 2
            with pytest.raises(errors.JobRecordFetchDecodeErrors, match="input"):
                await m.wait(changed, record.id)


async def test_a_result_that_cannot_be_read_says_so(open_client: Open) -> None:
    @m25.queue("numbers")
    async def changed(number: int) -> str:
        raise NotImplementedError(number)

    async with open_client() as m, worker(open_client):
        with trio.fail_after(60):
            record = await m.enqueue(numbers, 1)
            with pytest.raises(errors.JobRecordFetchDecodeErrors, match="output"):
                await m.result(changed, record.id)


async def test_a_declared_error_is_raised_as_it_is(open_client: Open) -> None:
    async with open_client() as m, worker(open_client):
        with trio.fail_after(60), pytest.raises(Full, match="no room"):
            await m.call(numbers, 0)


async def test_another_failure_says_how_and_has_the_record(open_client: Open) -> None:
    async with open_client() as m, worker(open_client):
        with trio.fail_after(60), pytest.raises(m25.JobFailed) as raised:
            await m.call(numbers, m25.Job(-1, max_attempts=2))
    error = raised.value
    assert error.record.attempt == 2
    assert error.record.crash_message == "negative"
    assert "of queue 'numbers' failed after 2 attempts: crash, ValueError; " in str(error)
    assert str(error).endswith("this error's `record` has the rest")
    assert pickle.loads(pickle.dumps(error)).record == error.record


async def test_a_cancelled_job_says_so(open_client: Open) -> None:
    async with open_client() as m, trio.open_nursery() as nursery:
        record = await m.enqueue(numbers, 1)

        async def wait() -> None:
            with pytest.raises(m25.JobCancelled) as raised:
                await m.result(numbers, record.id)
            assert raised.value.record.status is m25.JobStatus.CANCELLED
            assert "was cancelled by 'ada', because 'too late'; " in str(raised.value)

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await m.cancel_job(numbers, record.id, by="ada", reason="too late")


async def test_the_id_of_any_attempt_names_the_job(open_client: Open) -> None:
    runs = 0

    @m25.queue("third time")
    async def third_time(_: None) -> int:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ValueError
        return runs

    async with open_client() as m, worker(open_client, third_time):
        first = await m.enqueue(third_time, m25.Job(None, max_attempts=3))
        with trio.fail_after(60):
            end = await m.wait(third_time, first.id)
            attempts = await m.attempts(third_time, first.id)
            assert [record.attempt for record in attempts] == [1, 2, 3]
            for attempt in attempts:
                assert await m.result(third_time, attempt.id) == 3
                assert await m.current(third_time, attempt.id) == end
        # A row by itself is what it was.
        assert (await m.get_job(third_time, first.id)).status is m25.JobStatus.FAILED


async def test_who_waits_by_a_later_attempt_is_told_of_the_end(open_client: Open) -> None:
    @m25.queue("twice", poll_interval=60)
    async def twice(_: None) -> None:
        raise ValueError

    async with open_client() as m:
        async with worker(open_client, twice):
            first = await m.enqueue(twice, m25.Job(None, max_attempts=2, retry_delay=60))

            async def second() -> m25.JobRecord[None, None, Any] | None:
                record = await m.current(twice, first.id)
                return record if record.attempt == 2 else None

            record = await eventually(second)
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                assert (await m.wait(twice, record.id)).id == record.id

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.2)
            with trio.fail_after(60):
                await m.cancel_job(twice, record.id)


async def test_a_job_that_is_not_there_is_an_error(open_client: Open) -> None:
    unknown = m25.JobId(uuid4())
    async with open_client() as m:
        on_another = await m.enqueue(late, 0.0)
        calls: list[Any] = [m.wait, m.result, m.current, m.attempts]
        for call in calls:
            for id in (unknown, on_another.id):
                with trio.fail_after(60), pytest.raises(m25.NoJobRecordFound):
                    await call(numbers, id)
        with pytest.raises(m25.errors.InvalidJob):
            await m.result(numbers, "no id")


async def test_a_job_that_is_deleted_while_somebody_waits_is_no_job_any_more(dsn: str) -> None:
    async with m25.open(dsn) as m, trio.open_nursery() as nursery:
        record = await m.enqueue(numbers, 1)

        async def wait() -> None:
            with trio.fail_after(60), pytest.raises(m25.NoJobRecordFound):
                await m.wait(numbers, record.id)

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.1)
        await rows(dsn, "delete from m25.job")


async def test_a_call_with_an_id_of_ones_own_can_be_repeated(open_client: Open) -> None:
    job = m25.Job(5, id=m25.JobId(uuid4()))
    async with open_client() as m, worker(open_client):
        with trio.fail_after(60):
            assert await m.call(numbers, job) == await m.call(numbers, job) == 6


async def test_a_handler_can_call_another_queue(open_client: Open) -> None:
    @m25.queue("outer")
    async def outer(number: int) -> int:
        return await m25.current_job().m.call(numbers, number)

    async with open_client() as m, worker(open_client, numbers, outer):
        with trio.fail_after(60):
            assert await m.call(outer, 1) == 2


async def test_who_waits_when_the_client_is_closed_is_told(open_client: Open) -> None:
    async with trio.open_nursery() as nursery:
        waiting = trio.Event()

        async def wait(m: m25.M25, id: m25.JobId) -> None:
            with pytest.raises(m25.errors.ClientClosed):
                waiting.set()
                await m.wait(numbers, id)

        async with open_client() as m:
            record = await m.enqueue(numbers, 1)
            nursery.start_soon(wait, m, record.id)
            await waiting.wait()
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(m25.errors.ClientClosed):
            await m.wait(numbers, record.id)


async def test_who_waits_in_the_clean_up_of_a_cancelled_client_is_told(open_client: Open) -> None:
    told: list[str] = []
    async with worker(open_client, late):
        with trio.CancelScope() as scope:
            async with open_client() as m:
                id = (await m.enqueue(late, 60.0)).id
                await eventually(lambda: is_executing(m, id))

                async def follow() -> None:
                    async for _ in m.progress(late, id):
                        pass

                waits: dict[str, Callable[[], Awaitable[Any]]] = {
                    "wait": lambda: m.wait(late, id),
                    "call": lambda: m.call(late, 0.0),
                    "progress": follow,
                    "cancel_job": lambda: m.cancel_job(late, id, running=True, wait=True),
                }
                scope.cancel()
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.move_on_after(60, shield=True):
                        # What answers those that wait ends first.
                        await trio.testing.wait_all_tasks_blocked()
                        for name, wait in waits.items():
                            with pytest.raises(m25.errors.ClientClosed):
                                await wait()
                            told.append(name)
    assert told == list(waits)


async def is_executing(m: m25.M25, id: m25.JobId) -> bool:
    return (await m.get_job(late, id)).status is m25.JobStatus.EXECUTING


async def test_a_wait_that_is_cancelled_leaves_nothing_behind(open_client: Open) -> None:
    async with open_client() as m:
        record = await m.enqueue(late, m25.Job(0.0, priority=1))
        for call in (m.wait(late, record.id), m.result(late, record.id), m.call(late, 0.0)):
            with trio.move_on_after(0.2) as scope:
                await call
            assert scope.cancelled_caught
        waiters = m._waiters
        assert not waiters._waits
        assert not waiters._by_first
        assert not waiters._due
        # And nobody waits less well after that.
        async with worker(open_client, late):
            with trio.fail_after(60):
                assert await m.result(late, record.id) == "at last"


async def test_the_end_is_found_without_notifications(open_client: Open) -> None:
    # As behind a pooler, or where a worker of the original m25 wrote the end.
    async with open_client() as m, worker(open_client):
        store = store_of(m)

        @asynccontextmanager
        async def deaf(_waiter: str, _heard: object) -> AsyncGenerator[None]:
            yield

        store.listen_for_ends = deaf  # type: ignore[method-assign]
        with trio.fail_after(60):
            assert await m.call(numbers, 1) == 2
            assert await m.result(numbers, (await m.enqueue(numbers, 2)).id) == 3


async def test_who_polls_more_often_than_others_who_wait_is_not_kept_waiting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("rare", poll_interval=3600)
    async def rare(_: None) -> None: ...

    store = MemoryStore()

    @asynccontextmanager
    async def deaf(_waiter: str, _heard: object) -> AsyncGenerator[None]:
        yield

    store.listen_for_ends = deaf  # type: ignore[method-assign]
    async with m25.testing.open(store) as m, worker(lambda: m25.testing.open(store)):
        async with trio.open_nursery() as nursery:
            record = await m.enqueue(rare, None)
            nursery.start_soon(m.wait, rare, record.id)
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(60):
                assert await m.call(numbers, 1) == 2
            nursery.cancel_scope.cancel()


async def test_waits_outlast_an_outage(
    dsn: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxied(dsn) as proxy, m25.open(proxy.dsn) as m, trio.open_nursery() as nursery:
        record = await m.enqueue(numbers, 1)
        outputs: list[int] = []

        async def wait() -> None:
            outputs.append(await m.result(numbers, record.id))

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.1)
        # How long it waits for a connection before it says that there is none.
        monkeypatch.setattr(store_of(m)._pool, "_timeout", 1.0)
        proxy.refuses = True
        await proxy.cut()

        async def is_told() -> bool:
            return "DatabaseFailing" in told(caplog)

        await eventually(is_told)
        async with worker(lambda: m25.open(dsn)):

            async def has_ended() -> object:
                return await rows(dsn, "select id from m25.job where finished_at is not null")

            await eventually(has_ended)
        assert not outputs
        proxy.refuses = False

        async def has_result() -> object:
            return outputs

        assert await eventually(has_result) == [2]


async def test_a_row_that_is_locked_is_watched_as_soon_as_it_is_not(dsn: str) -> None:
    @m25.queue("slow", poll_interval=600)
    async def slow(number: int) -> int:
        return number

    async with m25.open(dsn) as m, await m25.pg.AsyncConnection.connect(dsn) as stranger:
        record = await m.enqueue(slow, 1)
        await stranger.execute("select from m25.job for update")
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                assert (await m.wait(slow, record.id)).status is m25.JobStatus.CANCELLED

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.1)
            await stranger.rollback()

            async def is_watched() -> object:
                return await rows(dsn, "select id from m25.job where waiter is not null")

            await eventually(is_watched)
            with trio.fail_after(60):
                await m.cancel_job(slow, record.id)


async def test_an_end_that_comes_while_its_job_is_asked_for_is_not_missed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("rare", poll_interval=3600)
    async def rare(_: None) -> None:
        raise ValueError

    store = MemoryStore()
    async with m25.testing.open(store) as m, trio.open_nursery() as nursery:
        async with m25.testing.open(store) as worker:
            worker.add_queue(rare)
            await worker.start()
            first = await m.enqueue(rare, m25.Job(None, max_attempts=2, retry_delay=3600))
            await m25.testing.drain(worker)
        second = await m.current(rare, first.id)
        # Whoever begins to listen asks for all once more, and would find the end by that.
        listens = await m.enqueue(rare, None)
        nursery.start_soon(m.wait, rare, listens.id)
        await trio.testing.wait_all_tasks_blocked()
        watch = store.watch

        async def ends_meanwhile(*arguments: Any) -> Any:
            answer = await watch(*arguments)
            store.watch = watch  # type: ignore[method-assign]
            await store.cancel(str(second.id), rare.name)
            await trio.testing.wait_all_tasks_blocked()
            return answer

        store.watch = ends_meanwhile  # type: ignore[method-assign]
        with trio.fail_after(60):
            assert (await m.wait(rare, second.id)).status is m25.JobStatus.CANCELLED
        nursery.cancel_scope.cancel()


async def test_what_ended_while_nobody_listened_is_asked_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("rare", poll_interval=3600)
    async def rare(_: None) -> None: ...

    store = MemoryStore()
    again = trio.Event()

    @asynccontextmanager
    async def reconnects(_: str, heard: Callable[[None], None]) -> AsyncGenerator[None]:
        async def gap() -> None:
            await again.wait()
            heard(None)

        heard(None)
        async with trio.open_nursery() as reconnecting:
            reconnecting.start_soon(gap)
            yield

    store.listen_for_ends = reconnects  # type: ignore[method-assign]
    async with m25.testing.open(store) as m, trio.open_nursery() as nursery:
        record = await m.enqueue(rare, None)
        nursery.start_soon(m.wait, rare, record.id)
        await trio.testing.wait_all_tasks_blocked()
        await m.cancel_job(rare, record.id)
        nursery.cancel_scope.deadline = trio.current_time() + 60
        again.set()
    assert not nursery.cancel_scope.cancelled_caught


async def test_a_thousand_who_wait_cost_next_to_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    statements: list[str] = []
    original = store._way.call

    def counted(name: str, **options: Any) -> Any:
        statements.append(name)
        return original(name, **options)

    store._way.call = counted  # type: ignore[method-assign]
    async with m25.testing.open(store) as m, trio.open_nursery() as nursery:
        many = await m.enqueue_many(late, [0.0] * 1000)
        for id in many.ids:
            nursery.start_soon(m.wait, late, id)
        await trio.sleep(1)
        statements.clear()
        await trio.sleep(100)
        assert 18 <= len(statements) <= 30
        nursery.cancel_scope.cancel()


async def test_many_waits_share_statements(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    #: Of those statements that are the first of some waits, how many of them.
    first: list[int] = []
    asked: set[str] = set()
    original = PostgresStore.watch

    async def watch(self: PostgresStore, ids: Any, waiter: str) -> Any:
        # Later ones are as many as the jobs take time.
        if new := set(ids) - asked:
            asked.update(new)
            first.append(len(new))
        return await original(self, ids, waiter)

    monkeypatch.setattr(PostgresStore, "watch", watch)
    async with m25.open(dsn) as m:
        put = await m.enqueue_many(numbers, range(1, 201))
        outputs: list[int] = []

        async def wait(id: m25.JobId) -> None:
            outputs.append(await m.result(numbers, id))

        async def all_are_asked_for() -> bool:
            return len(asked) == 200

        async with trio.open_nursery() as nursery:
            for id in put.ids:
                nursery.start_soon(wait, id)
            await eventually(all_are_asked_for)

            async def all_have_results() -> bool:
                return len(outputs) == 200

            async with worker(lambda: m25.open(dsn)):
                await eventually(all_have_results)
    assert sorted(outputs) == list(range(2, 202))
    assert sum(first) == 200
    assert len(first) < 20


async def test_a_role_that_may_not_write_into_rows_waits_by_polling(dsn: str) -> None:
    role = f"m25_test_{uuid4().hex[:12]}"
    await rows(dsn, f"create role {role}")
    await rows(dsn, f"grant usage on schema m25 to {role}")
    await rows(dsn, f"grant select, insert on all tables in schema m25 to {role}")
    try:
        restricted = make_conninfo(dsn, options=f"-c role={role}")
        async with m25.open(restricted) as m, worker(lambda: m25.open(dsn)):
            with trio.fail_after(60):
                assert await m.call(numbers, 1) == 2
                record = await m.enqueue(numbers, m25.Job(2, priority=1))
                assert await m.result(numbers, record.id) == 3
    finally:
        await rows(dsn, f"drop owned by {role}")
        await rows(dsn, f"drop role {role}")


async def test_listening_ends_once_nobody_has_waited_for_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    listening = 0
    listen = store.listen_for_ends

    @asynccontextmanager
    async def counted(channel: str, heard: Callable[[str | None], None]) -> AsyncGenerator[None]:
        nonlocal listening
        listening += 1
        try:
            async with listen(channel, heard):
                yield
        finally:
            listening -= 1

    store.listen_for_ends = counted  # type: ignore[method-assign]
    async with m25.testing.open(store) as m:
        m.add_queue(late)
        await m.start()
        for _ in range(3):
            assert await m.call(late, 1.0) == "at last"
            assert listening == 1
        await trio.sleep(70)
        assert listening == 0
        assert await m.call(late, 1.0) == "at last"
        assert listening == 1


async def test_a_wait_goes_on_where_a_statement_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    errors = [connection_lost("watch"), connection_lost("watch")]
    failing(monkeypatch, store, "watch", lambda: errors.pop() if errors else None)
    async with m25.testing.open(store) as m:
        m.add_queue(numbers)
        await m.start()
        with trio.fail_after(60):
            record = await m.enqueue(numbers, 1)
            assert await m.result(numbers, record.id) == 2
    assert not errors
