"""A job begins while its claim is being committed; what becomes of it where the commit fails."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

import m25
from m25._store.postgres import PostgresStore
from m25._store.protocol import ClaimedJob, Release
from support.failing import connection_lost
from support.insides import store_of
from support.told import told
from support.waiting import chain, ended, eventually, rows

#: What happens to the first claim that has taken something, once its jobs have begun.
WriteResult = Callable[[PostgresStore, list[ClaimedJob]], Awaitable[None]]


async def committed(store: PostgresStore, claims: list[ClaimedJob]) -> None:
    """Only the answer is lost."""


async def undone(store: PostgresStore, claims: list[ClaimedJob]) -> None:
    """The server goes down, and knows nothing of it."""
    await store.release([Release(*claim) for claim in claims], [])


class Doubt:
    """Loses the answer to the first claim that takes something, when it is told to."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, store: PostgresStore, result: WriteResult
    ) -> None:
        self.taken = trio.Event()
        self.lost = trio.Event()
        claim = store.claim

        async def claim_and_lose(*args: Any, token: str, on_rows: Any, **kwargs: Any) -> Any:
            found = await claim(*args, token=token, on_rows=on_rows, **kwargs)
            if found and not self.taken.is_set():
                self.taken.set()
                await self.lost.wait()
                await result(store, [ClaimedJob(row.id, token) for row in found])
                raise connection_lost()
            return found

        monkeypatch.setattr(store, "claim", claim_and_lose)


class Work:
    """A queue whose jobs say when they begin, and end when they are told to."""

    def __init__(self, name: str = "doubtful") -> None:
        self.starts: list[int] = []
        self.cancelled: list[int] = []
        self.begun, self.go_on = trio.Event(), trio.Event()
        options: dict[str, Any] = {
            "poll_interval": 0.2,
            "heartbeat_interval": 0.2,
            "allowed_heartbeat_misses": 200,
        }
        self.queue = m25.queue(name, **options)(self._run)

    async def _run(self, number: int) -> int:
        self.starts.append(number)
        self.begun.set()
        try:
            await self.go_on.wait()
        except trio.Cancelled:
            self.cancelled.append(number)
            raise
        return number


@pytest.mark.parametrize("result", [committed, undone])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_job_goes_on_and_its_result_is_kept_whatever_became_of_the_commit(
    dsn: str, monkeypatch: pytest.MonkeyPatch, result: WriteResult, when: str
) -> None:
    """It ends before its claim is known to be lost, or after it was made sure of."""
    work = Work()
    async with m25.open(dsn) as m:
        m.add_queue(work.queue)
        await m.start()
        doubt = Doubt(monkeypatch, store_of(m), result)
        record = await m.enqueue(work.queue, 25)
        await work.begun.wait()
        if when == "before":
            work.go_on.set()
            await trio.testing.wait_all_tasks_blocked()
        doubt.lost.set()
        if when == "after":
            await eventually(lambda: beaten(dsn))
            work.go_on.set()
        assert (await ended(m, work.queue, record.id)).output == 25
    assert work.starts == [25]
    assert work.cancelled == []
    assert len(await chain(dsn, record.id)) == 1


async def beaten(dsn: str) -> bool:
    return bool(await rows(dsn, "select 1 from m25.job where latest_heartbeat_at is not null"))


async def test_a_job_that_somebody_else_has_claimed_meanwhile_is_given_up(
    dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "m25")
    theirs, ours = Work(), Work()

    async def taken_over(store: PostgresStore, claims: list[ClaimedJob]) -> None:
        await undone(store, claims)
        await theirs.begun.wait()

    async with m25.open(dsn) as other, m25.open(dsn) as m:
        m.add_queue(ours.queue)
        await m.start()
        doubt = Doubt(monkeypatch, store_of(m), taken_over)
        record = await m.enqueue(ours.queue, 25)
        await ours.begun.wait()
        other.add_queue(theirs.queue)
        await other.start()
        doubt.lost.set()

        async def is_given_up() -> bool:
            return ours.cancelled == [25]

        await eventually(is_given_up)
        theirs.go_on.set()
        ours.go_on.set()
        assert (await ended(m, ours.queue, record.id)).output == 25
    assert "ClaimFenced" in told(caplog)
    assert (ours.starts, theirs.starts) == ([25], [25])
    assert len(await chain(dsn, record.id)) == 1


async def test_a_client_that_is_left_in_doubt_leaves_nothing_behind(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    async with m25.open(dsn, shutdown_grace=0) as m:
        m.add_queue(work.queue)
        await m.start()
        Doubt(monkeypatch, store_of(m), committed)
        record = await m.enqueue(work.queue, 25)
        await work.begun.wait()
    (row,) = await chain(dsn, record.id)
    assert (row["status"], row["attempt"], row["claim_token"]) == ("pending", 1, None)


async def test_a_job_that_was_waiting_as_its_queue_starts_has_its_own_deadline(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not that of the start, or of whoever waits for the start."""
    left: list[float] = []

    @m25.queue("waiting", default_job_timeout=60)
    async def handler(number: int) -> int:
        left.append(trio.current_effective_deadline() - trio.current_time())
        return number

    async with m25.open(dsn) as m:
        record = await m.enqueue(handler, 25)
        claim = store_of(m).claim

        async def claim_and_commit_late(*args: Any, **kwargs: Any) -> Any:
            found = await claim(*args, **kwargs)
            if found:
                # Whatever can begin before the answer is here does.
                await trio.testing.wait_all_tasks_blocked()
            return found

        monkeypatch.setattr(store_of(m), "claim", claim_and_commit_late)
        m.add_queue(handler)
        await m.start(queue_init_timeout=30)
        await ended(m, handler, record.id)
    assert left == [pytest.approx(60, abs=25)]
