"""The service that listens: what it hears wakes managers, and a start does not wait for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import trio
import trio.testing

import m25
from m25._client import open_on
from m25._hints import QueueHint
from m25._services import Listener
from m25._store.memory import MemoryStore
from m25._store.protocol import Hinted
from support.runtimes import a_runtime
from support.told import told


@m25.queue("letters", poll_interval=60)
async def letters(number: int) -> int:
    return number


class Deaf(MemoryStore):
    """A store that cannot listen, so many times; then it can."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.listens = trio.Event()

    @asynccontextmanager
    async def listen(
        self, queue_names: Sequence[str], heard: Callable[[Hinted | None], None]
    ) -> AsyncGenerator[None]:
        if self.times:
            self.times -= 1
            raise OSError("no connection is to be had")
        async with super().listen(queue_names, heard):
            self.listens.set()
            yield


async def test_a_listener_that_cannot_listen_says_so_to_whoever_waits_for_it() -> None:
    listener = Listener([letters], a_runtime(store=Deaf(1)))
    with pytest.raises(OSError, match="no connection"):
        await listener.run()
    assert listener.listens.is_set()


async def test_what_is_heard_wakes_its_queue_and_a_gap_wakes_all(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    runtime = a_runtime(store=store)
    ours = runtime.hints.queues["letters"] = QueueHint()
    other = runtime.hints.queues["invoices"] = QueueHint()

    async def heard() -> tuple[bool, bool]:
        await trio.testing.wait_all_tasks_blocked()
        seen = ours.due, other.due
        ours.due = other.due = False
        return seen

    ours.due = other.due = False
    async with trio.open_nursery() as nursery:
        listener = Listener([letters], runtime)
        nursery.start_soon(listener.run)
        await listener.listens.wait()
        # It may have missed something before it listened.
        assert await heard() == (True, True)
        await store.notify(["letters"])
        assert await heard() == (True, False)
        await store.notify(["of somebody else"])
        assert await heard() == (False, False)
        nursery.cancel_scope.cancel()


async def test_queues_start_and_work_though_nobody_can_listen_at_first(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Deaf(3)
    async with open_on(store, grace=timedelta(0)) as m, open_on(store, grace=timedelta(0)) as other:
        m.add_queue(letters)
        await m.start()
        assert not store.listens.is_set()
        # Its own work it hears of without.
        record = await m.enqueue(letters, 1)
        await trio.sleep(0.01)
        assert (await m.get_job(letters, record.id)).status is m25.JobStatus.SUCCEEDED
        await store.listens.wait()
        began = trio.current_time()
        record = await other.enqueue(letters, 2)
        await trio.sleep(1)
        assert (await m.get_job(letters, record.id)).status is m25.JobStatus.SUCCEEDED
        assert trio.current_time() - began < letters.poll_interval.total_seconds()
    assert told(caplog).count("ServiceFailed") == 3
