"""Handlers use up what m25 could have shared with them, and keep their jobs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from psycopg.conninfo import make_conninfo

import m25
from support.proxy import proxied
from support.waiting import PATIENCE, ended, eventually, rows

#: For queues whose leases are renewed often, and last long enough for a machine that stands still.
OPTIONS: dict[str, Any] = {
    "heartbeat_interval": 0.25,
    "allowed_heartbeat_misses": 100,
    "poll_interval": 0.5,
    "max_concurrency": 50,
}


async def beaten(dsn: str, queue: m25.Queue[Any, Any, Any], jobs: int) -> None:
    """Wait until so many jobs of a queue have had two heartbeats that were sent from now on."""
    query = (
        "select count(*) as n from m25.job where queue_name = %(queue)s"
        " and latest_heartbeat_at > %(since)s"
    )
    for _ in range(2):
        (now,) = await rows(dsn, "select clock_timestamp() as since")

        async def all_have(since: object = now["since"]) -> bool:
            (found,) = await rows(dsn, query, queue=queue.name, since=since)
            return found["n"] == jobs

        await eventually(all_have)


@pytest.mark.parametrize("kwargs", [{}, pytest.param({"autocommit": True}, marks=pytest.mark.slow)])
async def test_handlers_that_hold_every_connection_of_the_callers_pool_keep_their_jobs(
    dsn: str, kwargs: dict[str, Any]
) -> None:
    starts: Counter[int] = Counter()
    all_hold, go_on = trio.Event(), trio.Event()
    holding = 0

    async with m25.pg.Pool(dsn, max_size=4, kwargs=kwargs) as pool:

        @m25.queue("imports", **OPTIONS)
        async def imports(number: int) -> int:
            nonlocal holding
            starts[number] += 1
            async with pool.connection():
                holding += 1
                if holding == 4:
                    all_hold.set()
                await go_on.wait()
            return number

        async with m25.open(pool) as m, m25.open(dsn) as other:
            ids = list((await m.enqueue_many(imports, range(4))).ids)
            m.add_queue(imports)
            await m.start()
            other.add_queue(imports)
            await other.start()
            with trio.fail_after(60):
                await all_hold.wait()
                await beaten(dsn, imports, 4)
                go_on.set()
                for id in ids:
                    record = await ended(other, imports, id)
                    assert record.status is m25.JobStatus.SUCCEEDED
                    assert record.attempt == 1
    assert starts == dict.fromkeys(range(4), 1)


async def test_handlers_that_enqueue_many_from_slow_sources_keep_their_jobs(dsn: str) -> None:
    starts: Counter[int] = Counter()
    all_wait, go_on = trio.Event(), trio.Event()
    waiting = 0

    @m25.queue("fed")
    async def fed(number: int) -> None: ...

    async with m25.open(dsn, pool_size=4) as m, m25.open(dsn) as other:

        @m25.queue("feeding", **OPTIONS)
        async def feeding(number: int) -> int:
            starts[number] += 1
            answer = await m.enqueue_many(fed, slow())
            return len(answer.ids)

        async def slow() -> AsyncIterator[int]:
            nonlocal waiting
            yield 0
            waiting += 1
            if waiting == 4:
                all_wait.set()
            await go_on.wait()
            for number in range(1, 4):
                yield number

        ids = list((await other.enqueue_many(feeding, range(4))).ids)
        m.add_queue(feeding)
        await m.start()
        other.add_queue(feeding)
        await other.start()
        with trio.fail_after(60):
            await all_wait.wait()
            await beaten(dsn, feeding, 4)
            go_on.set()
        for id in ids:
            record = await ended(other, feeding, id)
            assert (record.output, record.attempt) == (4, 1)
    assert starts == dict.fromkeys(range(4), 1)


async def test_handlers_in_every_thread_of_trios_keep_their_jobs_while_m25_connects_anew(
    dsn: str,
) -> None:
    starts: Counter[int] = Counter()
    go_on = threading.Event()

    @m25.queue("threads", **OPTIONS)
    async def threads(number: int) -> int:
        starts[number] += 1
        await trio.to_thread.run_sync(go_on.wait)
        return number

    try:
        async with proxied(dsn) as proxy:
            by_name = make_conninfo(proxy.dsn, host="localhost")
            async with m25.open(by_name) as m, m25.open(dsn) as other:
                ids = list((await m.enqueue_many(threads, range(40))).ids)
                m.add_queue(threads)
                await m.start()
                with trio.fail_after(60):
                    while len(starts) < 40:  # noqa: ASYNC110 - handlers say nothing more
                        await trio.sleep(0.05)
                other.add_queue(threads)
                await other.start()
                await proxy.cut()
                await beaten(dsn, threads, 40)
                found = await rows(dsn, "select id, attempt from m25.job")
                assert len(found) == 40
                go_on.set()
                for id in ids:
                    assert (await ended(other, threads, id)).attempt == 1
    finally:
        go_on.set()
    assert starts == dict.fromkeys(range(40), 1)


async def test_a_process_holds_a_small_number_of_connections_however_much_it_runs(
    dsn: str,
) -> None:
    @m25.queue("small", **OPTIONS)
    async def small(number: int) -> None:
        nonlocal done
        await trio.sleep(0.01)
        done += 1

    async def count(m: m25.M25) -> int:
        query = "select count(*) as n from pg_stat_activity where application_name = 'counted'"
        return int((await rows(dsn, query))[0]["n"])

    named = make_conninfo(dsn, application_name="counted")
    most = done = 0
    async with m25.open(named, pool_size=2) as m:
        m.add_queue(small)
        await m.start()
        await m.enqueue_many(small, range(300))
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(m.enqueue, small, number)
                while done < 320:
                    most = max(most, await count(m))
        assert most <= 2 + 5
        # Those of the worker's stay while it runs.
        assert 3 <= await count(m) <= 2 + 5
        await m.stop()

        async def are_few() -> bool:
            return await count(m) <= 2

        # Their sessions end a little after they are closed.
        await eventually(are_few)
