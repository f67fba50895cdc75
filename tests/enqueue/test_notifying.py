"""Notifying workers: a hint that costs something, may fail, and can be left out."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import psycopg
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import pg
from m25._enqueue.notifier import Notifier
from support.notifications import full_queue, server_with_few_notifications
from support.waiting import eventually, rows


@m25.queue("hinted", poll_interval=60)
async def hinted(number: int) -> None:
    pass


@m25.queue("polled", poll_interval=0.2)
async def polled(number: int) -> None:
    pass


@pytest.fixture(scope="module")
def small_server() -> Generator[str]:
    with server_with_few_notifications() as dsn:
        yield dsn


async def test_with_a_full_queue_of_notifications_jobs_are_put_and_run(small_server: str) -> None:
    await rows(small_server, "truncate m25.job")
    async with m25.open(small_server) as m, m25.open(small_server) as worker:
        worker.add_queue(polled)
        await worker.start()
        async with full_queue(small_server):
            await m.enqueue(polled, 1)
            async with trio.open_nursery() as nursery:
                for number in range(2, 12):
                    nursery.start_soon(m.enqueue, polled, number)
            await m.enqueue_many(polled, range(12, 20))
            await m.enqueue(polled, m25.Job(20).with_unique_key("k"))

            async def all_succeeded() -> bool:
                found = await rows(
                    small_server, "select count(*) from m25.job where status = 'succeeded'"
                )
                return found[0]["count"] == 20

            await eventually(all_succeeded)
        await m.enqueue(polled, 21)


async def test_a_transaction_that_does_not_notify_can_be_prepared(small_server: str) -> None:
    await rows(small_server, "truncate m25.job")
    connect = pg.AsyncConnection.connect
    async with m25.open(small_server) as m, await connect(small_server) as connection:
        await connection.tpc_begin("one")
        await m.enqueue(hinted, 1, connection=connection)
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="NOTIFY"):
            await connection.tpc_prepare()
        await connection.close()
    async with m25.open(small_server) as m, await connect(small_server) as connection:
        await connection.tpc_begin("two")
        await m.enqueue(hinted, 2, connection=connection, notify=False)
        await m.enqueue_many(hinted, [3, 4], connection=connection, notify=False)
        await connection.tpc_prepare()
        await connection.tpc_commit()
    assert len(await rows(small_server, "select 1 from m25.job")) == 3


async def test_workers_are_notified_unless_the_caller_says_no(dsn: str) -> None:
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        heard: list[object] = []

        async def has_heard() -> bool:
            return bool(heard)

        async with m._runtime.store.listen(["hinted"], heard.append):
            # First, that something may have been missed.
            await eventually(has_heard)
            assert heard == [None]
            heard.clear()
            await m.enqueue(hinted, 1, connection=connection, notify=False)
            await m.enqueue_many(hinted, [2], connection=connection, notify=False)
            await connection.commit()
            await m.enqueue(hinted, 3, notify=False)
            await m.enqueue_many(hinted, [4], notify=False)
            await trio.sleep(0.2)
            assert heard == []
            await m.enqueue_many(hinted, [5])
            await eventually(has_heard)
            heard.clear()
            await m.enqueue_many(hinted, [6], connection=connection)
            await connection.commit()
            await eventually(has_heard)
    assert len(await rows(dsn, "select 1 from m25.job")) == 6


async def test_a_key_that_is_waited_for_on_a_queue_that_was_never_notified(dsn: str) -> None:
    holder = "insert into m25.job (queue_name, input, timeout, attempt, unique_key) values"
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(holder + " ('other', '1', '1 minute', 1, 'k')")
        refused: list[str] = []

        async def put(queue: m25.Queue[int, None, Any]) -> None:
            try:
                await m.enqueue(queue, m25.Job(1).with_unique_key("k"))
            except m25.UniqueKeyConflict:
                refused.append(queue.name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(put, hinted)
            await trio.sleep(0.2)
            # It finds that the key is waited for, and waits with the first.
            nursery.start_soon(put, polled)
            await trio.sleep(0.2)
            await connection.commit()
        assert sorted(refused) == ["hinted", "polled"]
        # The client goes on.
        await m.enqueue(polled, 2)


async def test_a_client_that_enqueues_to_ever_new_queues_does_not_grow(
    autojump_clock: trio.testing.MockClock,
) -> None:
    notifier = Notifier(m25.testing.MemoryStore())
    for number in range(20_000):
        assert notifier.in_statement([f"queue of customer {number}"])
        if number % 100 == 0:
            await trio.sleep(0.1)
    assert len(notifier._notified_at) <= 1_100
