"""Queues that say for how long they keep their jobs: one process deletes those that are older."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import pg
from support.told import told


def queue(keep: m25.Keep | None) -> m25.Queue[int, int, Any]:
    # Hours are to pass without much to do.
    @m25.queue("work", keep=keep, poll_interval=600, heartbeat_interval=600)
    async def work(number: int) -> int:
        return number

    return work


HOUR = timedelta(hours=1)


async def test_processes_prune_by_themselves_and_one_of_them_has_the_turn(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")
    work = queue(m25.Keep(succeeded=HOUR))
    store = m25.testing.MemoryStore()
    async with m25.testing.open(store) as m, m25.testing.open(store) as other:
        for client in (m, other):
            client.add_queue(work)
            await client.start()
        await m.enqueue_many(work, range(20))
        await trio.sleep(50 * 60)
        assert len(store.rows()) == 20
        await trio.sleep(2 * 3_600)
        assert store.rows() == []
        assert told(caplog).count("JobsPruned") == 1
        assert "pruned jobs of queue 'work': 20, with 20 rows" in caplog.messages


async def test_a_queue_that_says_nothing_keeps_its_jobs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    work = queue(None)
    store = m25.testing.MemoryStore()
    async with m25.testing.open(store) as m:
        m.add_queue(work)
        await m.start()
        await m.enqueue(work, 1)
        await trio.sleep(2 * 3_600)
        assert len(store.rows()) == 1
        with pytest.raises(m25.UsageError, match="keeps its jobs for ever"):
            await m.prune(work)


async def test_what_is_pruned_by_hand_is_what_is_old_in_whatever_order_the_ids_are(
    dsn: str,
) -> None:
    work = queue(m25.Keep(succeeded=HOUR, failed=HOUR, cancelled=HOUR))
    async with (
        m25.open(dsn) as m,
        await pg.AsyncConnection.connect(dsn, autocommit=True) as connection,
    ):
        await m.enqueue_many(work, range(2_500))
        await connection.execute("update m25.job set cancelled_at = now() - interval '2 hours'")
        # Random ids, as those of the original, and such as m25 made a year ago.
        await connection.execute(
            "update m25.job set id = case when random() < 0.5 then gen_random_uuid()"
            " else ('017' || substr(id::text, 4))::uuid end"
        )
        (young,) = (await m.enqueue_many(work, [1])).ids
        await m.cancel_job(work, young)
        assert await m.prune(work) == 2_500
        assert (await m.get_job(work, young)).status is m25.JobStatus.CANCELLED


def test_a_keep_says_for_how_long() -> None:
    with pytest.raises(m25.errors.InvalidQueue, match="says for how long"):
        m25.Keep()
    with pytest.raises(m25.errors.InvalidQueue, match="a time of Keep must be more than zero"):
        m25.Keep(failed=-1)  # type: ignore[arg-type]
    with pytest.raises(m25.errors.InvalidQueue, match=r"keep must be a m25\.Keep"):
        queue(HOUR)  # type: ignore[arg-type]
