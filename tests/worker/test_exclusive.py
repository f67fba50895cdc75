"""`exclusive=True`: two handlers of one job never run at once, in whatever process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import m25
from m25._client import open_on
from m25._store.memory import MemoryStore
from m25._worker.lease import LEASE_OVER, Lease
from support.links import Link
from support.told import lines, told

LEASE = 20.0
MARGIN = LEASE / 4
ZERO = timedelta(0)


@attrs.define
class Span:
    """When a handler ran, by Trio's clock."""

    where: str
    began: float
    ended: float | None = None


@attrs.define
class Spans:
    """What the handlers of one job did."""

    all: list[Span] = attrs.field(factory=list)
    #: How long a handler goes on once it is cancelled, in seconds.
    cleans_up: float = 0.0
    takes: float = 10_000.0

    async def run(self, where: str) -> str:
        span = Span(where, trio.current_time())
        self.all.append(span)
        try:
            await trio.sleep(self.takes)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.cleans_up)
            span.ended = trio.current_time()
        return where

    def overlap(self) -> bool:
        return any(
            earlier.ended is None or later.began < earlier.ended
            for earlier, later in zip(self.all, self.all[1:], strict=False)
        )


class Two:
    """Two workers of an exclusive queue on one store; the link of the first can be cut."""

    def __init__(self, store: MemoryStore, spans: Spans, **options: Any) -> None:
        self.spans = spans
        self.link = Link(store)
        self.store = store
        options = {"exclusive": True, "poll_interval": 1, **options}

        def queue(where: str) -> m25.Queue[int, str, Any]:
            @m25.queue("alone", **options)
            async def alone(number: int) -> str:
                return await spans.run(where)

            return alone

        self.queues = [queue("first"), queue("second")]
        self.clients: list[m25.M25] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Two]:
        """The first has begun a job, and the second is there."""
        async with AsyncExitStack() as stack:
            for store, queue in zip((self.link, self.store), self.queues, strict=True):
                m = await stack.enter_async_context(open_on(store, grace=ZERO))
                m.add_queue(queue)
                await m.start()
                self.clients.append(m)
                if len(self.clients) == 1:
                    await m.enqueue(queue, 1)
                    await self.begun(1)
            try:
                yield self
            finally:
                self.link.mend()

    async def begun(self, times: int) -> None:
        with trio.fail_after(300):
            while len(self.spans.all) < times:  # noqa: ASYNC110 - on a clock that jumps
                await trio.sleep(0.01)


@pytest.mark.parametrize("after", [0.0, 2.5, 4.9])
async def test_a_worker_that_is_cut_off_stops_before_another_starts_its_job(
    after: float, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    spans = Spans(cleans_up=MARGIN - 0.1)
    async with Two(MemoryStore(), spans).running() as two:
        await trio.sleep(after)
        two.link.cut()
        await two.begun(2)
        assert [span.where for span in spans.all] == ["first", "second"]
        assert not spans.overlap()
        two.link.mend()
        await trio.sleep(60)
        # What the first has to say comes too late, and the second goes on.
        assert [(row.status, row.losses) for row in two.store.rows()] == [
            ("failed", 1),
            ("executing", 1),
        ]
    assert told(caplog).count("JobLeaseOver") == 1


async def test_a_link_that_is_back_before_the_lease_is_over_costs_the_attempt_alone(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The handler was cancelled by then, and counts as lost; its worker writes that itself."""
    spans = Spans()
    async with Two(MemoryStore(), spans).running() as two:
        two.link.cut()
        while spans.all[0].ended is None:  # noqa: ASYNC110
            await trio.sleep(0.01)
        two.link.mend()
        await two.begun(2)
        assert not spans.overlap()
        (first, second) = two.store.rows()
        assert (first.failure_reason, first.losses) == ("heartbeat_timeout", 1)
        assert second.losses == 1
    (line,) = lines(caplog, "JobLeaseOver")
    assert "no heartbeat was confirmed for 15.000 s" in line.getMessage()


async def test_a_short_cut_costs_nothing(autojump_clock: trio.testing.MockClock) -> None:
    spans = Spans(takes=120)
    async with Two(MemoryStore(), spans).running() as two:
        for _ in range(4):
            two.link.cut()
            await trio.sleep(9)
            two.link.mend()
            await trio.sleep(11)
        await trio.sleep(60)
        assert [(row.status, row.losses) for row in two.store.rows()] == [("succeeded", 0)]


async def test_what_returns_although_its_lease_is_over_counts_if_nobody_else_has_the_job(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("alone", exclusive=True)
    async def alone(number: int) -> str:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return "saved"

    store = MemoryStore()
    link = Link(store)
    async with open_on(link, grace=ZERO) as m:
        m.add_queue(alone)
        await m.start()
        record = await m.enqueue(alone, 1)
        await trio.sleep(1)
        link.cut()
        await trio.sleep(LEASE)
        link.mend()
        assert await m.result(alone, record.id) == "saved"


async def test_a_handler_that_outlasts_its_deadline_is_waited_for(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Elsewhere its attempt would be ended, and the next would run beside it."""
    spans = Spans(cleans_up=100, takes=10_000)
    store = MemoryStore()
    two = Two(store, spans, default_job_timeout=10, retry=m25.Retry(max_attempts=2))
    async with two.running():
        await two.begun(2)
        assert not spans.overlap()
        assert [row.failure_reason for row in store.rows()] == ["job_timeout", None]
        spans.cleans_up = 0
    (line,) = lines(caplog, "HandlerHeldUp")
    assert "goes on past 10.000 s" in line.getMessage()


async def test_a_handler_that_outlasts_its_lease_is_told_of(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing can stop what shields itself: it is fenced, as ever."""
    spans = Spans(cleans_up=100)
    async with Two(MemoryStore(), spans).running() as two:
        two.link.cut()
        await two.begun(2)
        assert spans.overlap()
        spans.cleans_up = 0
        await trio.sleep(200)
        two.link.mend()
        await trio.sleep(10)
        assert [row.status for row in two.store.rows()] == ["failed", "executing"]
    assert told(caplog).count("LeaseOutrun") == 1


async def test_a_lease_is_counted_from_when_its_heartbeat_was_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The database has counted since it was written; the answer may have taken its time."""

    @m25.queue("alone", exclusive=True)
    async def alone(number: int) -> None: ...

    began = trio.current_time()
    lease = Lease(alone, began, started=True)
    await trio.sleep(10)
    lease.renewed(began + 2)
    assert await lease.hold(trio.sleep_forever) is LEASE_OVER
    assert trio.current_time() - began == pytest.approx(2 + LEASE - MARGIN)


async def test_a_claim_that_comes_when_its_lease_is_over_begins_no_handler(
    autojump_clock: trio.testing.MockClock,
) -> None:
    begun: list[float] = []

    @m25.queue("alone", exclusive=True)
    async def alone(number: int) -> None:
        begun.append(trio.current_time())

    store = MemoryStore()
    link = Link(store)
    async with open_on(link, grace=ZERO) as m, open_on(store, grace=ZERO) as web:
        original = store.claim
        claims = 0

        async def claim(*arguments: Any, **options: Any) -> Any:
            nonlocal claims
            if (answer := await original(*arguments, **options)) and (claims := claims + 1) == 1:
                link.cut()
            return answer

        store.claim = claim  # type: ignore[method-assign]
        m.add_queue(alone)
        await m.start()
        await web.enqueue(alone, 1)
        await trio.sleep(LEASE)
        began_at = trio.current_time()
        link.mend()
        await trio.sleep(30)
        (at,) = begun
        assert at >= began_at
        # What the first claim has given was released, and claimed once more.
        assert claims == 2
        assert [(row.status, row.losses) for row in store.rows()] == [("succeeded", 0)]


async def test_setup_and_start_count_as_well(autojump_clock: trio.testing.MockClock) -> None:
    """A job that is reserved can be taken once `reserved_timeout` is over, heartbeats or not."""
    setups: list[str] = []
    spans = Spans()

    def queue(where: str) -> m25.Queue[int, str, Any]:
        @asynccontextmanager
        async def setup() -> AsyncIterator[None]:
            setups.append(where)
            if where == "second":
                yield
                return
            with contextlib.ExitStack() as stack:
                stack.callback(setups.append, "left")
                await trio.sleep(5)
                yield

        @m25.queue(
            "alone",
            exclusive=True,
            setup=setup,
            executor_init_timeout=10,
            reserved_timeout=12,
            poll_interval=1,
        )
        async def alone(number: int, resource: None) -> str:
            return await spans.run(where)

        return alone

    store = MemoryStore()
    link = Link(store)
    async with open_on(link, grace=ZERO) as m, open_on(store, grace=timedelta(0)) as other:
        m.add_queue(first := queue("first"))
        await m.start()
        await m.enqueue(first, 1)
        while not setups:  # noqa: ASYNC110
            await trio.sleep(0.01)
        other.add_queue(queue("second"))
        await other.start()
        link.cut()
        while not spans.all:  # noqa: ASYNC110
            await trio.sleep(0.01)
        assert setups[:3] == ["first", "left", "second"]
        link.mend()
        await trio.sleep(30)
        assert [span.where for span in spans.all] == ["second"]


async def test_a_worker_whose_sessions_are_gone_keeps_its_job_until_the_lease_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """In other queues its job is taken over three seconds after its sessions have gone."""
    spans = Spans(cleans_up=MARGIN - 0.1)
    store = MemoryStore()
    async with Two(store, spans).running() as two:
        two.link.cut()
        store._workers.end_sessions(two.clients[0]._runtime.worker_id)
        await two.begun(2)
        assert not spans.overlap()
        assert spans.all[1].began - spans.all[0].began >= LEASE


def test_what_cannot_be_exclusive_is_refused() -> None:
    def blocks(number: int) -> None:
        time.sleep(number)

    async def waits(number: int) -> None:
        await trio.sleep(number)

    with pytest.raises(m25.errors.InvalidQueue, match='cannot be had with runs="thread"'):
        m25.queue("alone", exclusive=True, runs="thread")(blocks)
    with pytest.raises(m25.errors.InvalidQueue, match="misses must be at least 2"):
        m25.queue("alone", exclusive=True, allowed_heartbeat_misses=1)(waits)
    with pytest.raises(m25.errors.InvalidQueue, match="must be at least 1 s"):
        m25.queue("alone", exclusive=True, heartbeat_interval=0.2)(waits)
    with pytest.raises(m25.errors.InvalidQueue, match="exclusive must be True or False"):
        m25.queue("alone", exclusive="yes")(waits)  # type: ignore[call-overload]
