"""Jobs are taken from processes that are gone, and from no others."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import Any

import pytest
import trio
import trio.testing

import m25
from m25._client import open_on
from m25._store.memory import MemoryStore
from support.processes import worker
from support.waiting import chain, eventually, rows


@m25.queue("sleeps", poll_interval=5)
async def sleeps(seconds: float) -> int:
    return os.getpid()


class Cluster:
    """Two clients on one store; the first runs jobs that go on for long."""

    def __init__(self, store: MemoryStore, **options: Any) -> None:
        self.store = store
        self.starts: list[int] = []
        self.queues = [m25.queue("long", **options)(self._run) for _ in range(2)]

    async def _run(self, number: int) -> None:
        self.starts.append(number)
        await trio.sleep(10_000)

    def losses(self) -> int:
        return sum(row.losses for row in self.store.rows())


async def running(nursery: trio.Nursery, cluster: Cluster, store: Any, which: int) -> m25.M25:
    opened = trio.Event()
    clients: list[m25.M25] = []

    async def run() -> None:
        async with open_on(store, grace=timedelta(0)) as m:
            m.add_queue(cluster.queues[which])
            await m.start()
            clients.append(m)
            opened.set()
            await trio.sleep_forever()

    nursery.start_soon(run)
    await opened.wait()
    return clients[0]


@pytest.mark.parametrize("stands_still", [5.0, 15.0, 30.0, 120.0, 3600.0])
async def test_a_server_that_stands_still_costs_no_job(
    stands_still: float, autojump_clock: trio.testing.MockClock
) -> None:
    """As while a table is locked: every call waits, and at the end every lease is over."""
    free_at = 0.0

    async def fault(call: str, phase: str) -> None:
        if phase == "before":
            await trio.sleep_until(free_at)

    store = MemoryStore(fault=fault)
    cluster = Cluster(store, max_concurrency=20)
    async with trio.open_nursery() as nursery:
        owner = await running(nursery, cluster, store, 0)
        await owner.enqueue_many(cluster.queues[0], range(20))
        await trio.sleep(1)
        await running(nursery, cluster, store, 1)
        for pause in (0.0, 1.0, 2.5, 4.0):
            await trio.sleep(60 + pause)
            free_at = trio.current_time() + stands_still
            await trio.sleep(stands_still + 60)
        nursery.cancel_scope.cancel()
    assert sorted(cluster.starts) == list(range(20))
    assert cluster.losses() == 0


@pytest.mark.parametrize("jump", [-3600, -60, 10, 60, 3600])
async def test_a_clock_that_is_set_costs_no_job(
    jump: int, autojump_clock: trio.testing.MockClock
) -> None:
    store = MemoryStore()
    cluster = Cluster(store, max_concurrency=20)
    async with trio.open_nursery() as nursery:
        owner = await running(nursery, cluster, store, 0)
        await owner.enqueue_many(cluster.queues[0], range(20))
        await running(nursery, cluster, store, 1)
        for pause in (0.0, 1.0, 2.5, 4.0):
            await trio.sleep(60 + pause)
            store.move_clock(timedelta(seconds=jump))
        await trio.sleep(120)
        nursery.cancel_scope.cancel()
    assert sorted(cluster.starts) == list(range(20))
    assert cluster.losses() == 0


async def test_a_process_that_starts_as_the_database_is_back_sweeps_no_healthy_job(
    autojump_clock: trio.testing.MockClock,
) -> None:
    free_at = 0.0

    async def fault(call: str, phase: str) -> None:
        if phase == "before" and call in ("heartbeat", "find_suspects", "survey", "claim"):
            await trio.sleep_until(free_at)

    store = MemoryStore(fault=fault)
    cluster = Cluster(store, max_concurrency=20)
    async with trio.open_nursery() as nursery:
        owner = await running(nursery, cluster, store, 0)
        await owner.enqueue_many(cluster.queues[0], range(20))
        await trio.sleep(60)
        free_at = trio.current_time() + 100
        await trio.sleep_until(free_at)
        # Its first look may come before any owner's heartbeat.
        await running(nursery, cluster, store, 1)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert sorted(cluster.starts) == list(range(20))
    assert cluster.losses() == 0


async def test_another_queues_long_interval_delays_no_takeover(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """After a look that failed, a queue waits for its own owners alone."""
    store = MemoryStore()
    quick = Cluster(store, heartbeat_interval=1, poll_interval=1)

    @m25.queue("slow neighbour", heartbeat_interval=600, poll_interval=1)
    async def slow(number: int) -> None:
        pass

    async with open_on(store, grace=timedelta(0)) as m:
        await m.enqueue(quick.queues[0], 1)
        await store.claim("long", token="gone", limit=1, lease=quick.queues[0].lease, start=True)
        m.add_queue(quick.queues[0])
        m.add_queue(slow)
        await m.start()
        # heartbeat_interval × (allowed misses + 1) + poll_interval + 1 s
        await trio.sleep(4 + 1 + 1)
        assert quick.starts == [1]


async def test_an_attempt_that_was_lost_is_followed_at_once_whatever_its_retry_delay(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    cluster = Cluster(store)
    (queue, _) = cluster.queues
    async with open_on(store, grace=timedelta(0)) as m:
        await m.enqueue(queue, m25.Job(1).retry(3, delay=3600))
        await store.claim("long", token="gone", limit=1, lease=queue.lease, start=True)
        m.add_queue(queue)
        await m.start()
        await trio.sleep(queue.lease.total_seconds() + 12)
    assert cluster.starts == [1]


@pytest.mark.slow
async def test_the_jobs_of_a_killed_process_run_again_before_its_leases_end_by_default(
    dsn: str,
) -> None:
    """It is known to be gone by its sessions."""
    async with m25.open(dsn) as m, worker(dsn, program="plain.py") as killed:
        record = await m.enqueue(sleeps, 600.0)
        await killed.until_printed("begun")
        await eventually(lambda: rows(dsn, "select id from m25.worker where session_pids <> '{}'"))
        m.add_queue(sleeps)
        await m.start()
        killed.process.kill()
        await killed.process.wait()
        # Nobody waits for the end of its lease: that is an hour away.
        await rows(dsn, "update m25.job set lease_expires_at = now() + interval '1 hour'")

        async def runs_again() -> bool:
            return (await chain(dsn, record.id))[-1]["status"] == "succeeded"

        # Ten seconds are promised where the machine has nothing else to do.
        await eventually(runs_again, 60)
    attempts = await chain(dsn, record.id)
    assert [row["losses"] for row in attempts] == [1, 1]


@pytest.mark.slow
async def test_a_worker_whose_sessions_are_ended_again_and_again_loses_no_job(dsn: str) -> None:
    async with m25.open(dsn) as m, worker(dsn, program="plain.py") as harassed:
        record = await m.enqueue(sleeps, 600.0)
        await harassed.until_printed("begun")
        m.add_queue(sleeps)
        await m.start()
        with trio.move_on_after(8):
            while True:
                await rows(
                    dsn,
                    "select pg_terminate_backend(pid) from m25.worker,"
                    " unnest(session_pids) as pid where id <> %(own)s",
                    own=m._runtime.worker_id,
                )
                await trio.sleep(0.7)
        (row,) = await chain(dsn, record.id)
        assert (row["status"], row["losses"]) == ("executing", 0)
        harassed.process.send_signal(signal.SIGKILL)


async def test_a_worker_says_that_it_is_there_and_says_goodbye(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(sleeps)
        await m.start()
        (found,) = await eventually(lambda: rows(dsn, "select * from m25.worker"))
        assert found["queues"] == ["sleeps"]
        assert str(found["id"]) == m._runtime.worker_id
        (queue,) = await rows(dsn, "select * from m25.queue")
        assert queue["name"] == "sleeps"
        assert queue["default_job_timeout"] == sleeps.default_job_timeout
    (found,) = await rows(dsn, "select * from m25.worker")
    assert found["ended_at"] is not None
    assert found["session_pids"] == []


async def test_old_rows_are_deleted_in_any_order(dsn: str) -> None:
    @m25.queue("fails")
    async def fails(number: int) -> None:
        raise ValueError(number)

    async with m25.open(dsn) as m:
        m.add_queue(fails)
        await m.start()
        record = await m.enqueue(fails, m25.Job(1).retry(3))

        async def ended() -> bool:
            found = await chain(dsn, record.id)
            return [row["status"] for row in found] == ["failed"] * 3

        await eventually(ended)
    # The oldest first: the chain's later rows name it.
    await rows(dsn, "delete from m25.job where id = %(id)s", id=record.id.value)
    assert len(await rows(dsn, "select * from m25.job")) == 2
