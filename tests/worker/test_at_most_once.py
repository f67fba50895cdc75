"""With `allowed_losses=0` a job of one attempt begins at most once, whatever happens."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

import m25
from support.told import told
from support.waiting import chain, ended, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Once:
    """A queue whose one job notes each time that it begins, and goes on until it is cancelled."""

    def __init__(self, **options: Any) -> None:
        self.begun = 0
        self.has_begun = trio.Event()
        self.queue = m25.queue("once", allowed_losses=0, poll_interval=0.05, **options)(self._run)

    async def _run(self, number: int) -> None:
        self.begun += 1
        self.has_begun.set()
        await trio.sleep_forever()


async def test_an_orderly_stop_ends_what_has_begun_and_says_so(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    once = Once()
    async with m25.open(dsn, shutdown_grace=0.05) as m:
        m.add_queue(once.queue)
        await m.start()
        id = (await m.enqueue(once.queue, 1)).id
        await once.has_begun.wait()
        await m.stop()
        await m.start()
        record = await ended(m, once.queue, id)
    assert once.begun == 1
    assert record.failure_reason is m25.FailureReason.CRASH
    assert record.crash_type == "m25.errors.CutShort"
    assert len(await chain(dsn, id)) == 1
    assert told(caplog, id) == ["JobCrashed"]


async def test_three_deploys_are_one_beginning(dsn: str) -> None:
    once = Once()
    for _ in range(3):
        with trio.CancelScope() as scope:
            async with m25.open(dsn) as m:
                m.add_queue(once.queue)
                await m.start()
                if once.begun == 0:
                    id = (await m.enqueue(once.queue, 1)).id
                    await once.has_begun.wait()
                # As a nursery does whose other child has failed.
                scope.cancel()
                await trio.lowlevel.checkpoint()
    assert once.begun == 1
    (row,) = await chain(dsn, id)
    assert (row["status"], row["crash_type"]) == ("failed", "m25.errors.CutShort")


async def test_a_manager_that_is_run_again_begins_nothing_again(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = Once(max_concurrency=2)
    async with m25.open(dsn) as m:
        m.add_queue(once.queue)
        await m.start()
        id = (await m.enqueue(once.queue, 1)).id
        await once.has_begun.wait()
        store = m._runtime.store
        claim = store.claim

        async def fail(*args: Any, **options: Any) -> Any:
            monkeypatch.setattr(store, "claim", claim)
            raise ArithmeticError("a bug of ours")

        monkeypatch.setattr(store, "claim", fail)
        m._runtime.hints.work(once.queue.name)
        record = await ended(m, once.queue, id)
    assert once.begun == 1
    assert record.crash_type == "m25.errors.CutShort"


async def test_an_attempt_that_was_asked_for_beside_it_follows(dsn: str) -> None:
    """Two attempts are what the job asked for: the second is no repetition of the first."""
    once = Once()
    async with m25.open(dsn, shutdown_grace=0) as m:
        m.add_queue(once.queue)
        await m.start()
        id = (await m.enqueue(once.queue, m25.Job(1).retry(2))).id
        await once.has_begun.wait()
    attempts = await chain(dsn, id)
    assert [(row["attempt"], row["status"]) for row in attempts] == [(1, "failed"), (2, "pending")]


async def test_what_has_not_begun_is_released_by_a_stop(dsn: str) -> None:
    entered = trio.Event()

    @asynccontextmanager
    async def setup() -> AsyncIterator[None]:
        entered.set()
        await trio.sleep_forever()
        yield

    @m25.queue("not begun", allowed_losses=0, setup=setup)
    async def not_begun(number: int, _: None) -> None:
        raise AssertionError("its setup does not end")

    async with m25.open(dsn, shutdown_grace=0) as m:
        m.add_queue(not_begun)
        await m.start()
        id = (await m.enqueue(not_begun, 1)).id
        await entered.wait()
    (row,) = await chain(dsn, id)
    assert row["status"] == "pending"


async def test_an_executor_that_does_not_answer_ends_the_attempt_for_good(dsn: str) -> None:
    once = Once(heartbeat_interval=0.1, allowed_heartbeat_misses=0)
    async with m25.open(dsn, shutdown_grace=0.1) as m, m25.open(dsn) as other:
        m.add_queue(once.queue)
        await m.start()
        id = (await m.enqueue(once.queue, 1)).id
        await once.has_begun.wait()
        store = m._runtime.store

        async def unheard(*args: Any) -> None:
            await trio.sleep_forever()

        store.heartbeat = unheard  # type: ignore[method-assign]
        other.add_queue(once.queue)
        await other.start()

        async def is_failed() -> bool:
            return (await chain(dsn, id))[0]["status"] == "failed"

        await eventually(is_failed)
        assert len(await chain(dsn, id)) == 1
    assert once.begun == 1
