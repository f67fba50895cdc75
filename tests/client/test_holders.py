"""Places of a limit that are held outside of jobs: `async with m.limiter(…)`."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any, Literal
from uuid import uuid4

import psycopg
import pytest
import trio
import trio.lowlevel
import trio.testing
from psycopg.conninfo import make_conninfo

import m25
import m25.testing
from m25 import errors, pg
from m25._store.protocol import AskedPlace
from support.waiting import rows

GPU = m25.Limit(2, name="gpu")


class Calls:
    """The calls of a store, counted; those named in `lost` find no database."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self.lost: set[str] = set()
        #: Calls that are done, and whose answers are lost.
        self.unanswered: set[str] = set()
        #: Calls whose answers do not come before this is set.
        self.held_up: dict[str, trio.Event] = {}

    async def __call__(self, call: str, when: Literal["before", "after"]) -> None:
        if when == "before":
            self.counts[call] += 1
            if call in self.lost or "all" in self.lost:
                raise psycopg.OperationalError("away")
        elif call in self.unanswered:
            raise psycopg.OperationalError("the answer is lost")
        elif (event := self.held_up.get(call)) is not None:
            await event.wait()


class Running:
    """How much runs at once, and how much did at the most."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def one(self, seconds: float) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await trio.sleep(seconds)
        finally:
            self.now -= 1


async def held(m: m25.M25, name: str = "gpu") -> int:
    return {limit.name: limit.held for limit in await m.limits()}.get(name, 0)


async def hold_until(
    m: m25.M25,
    until: trio.Event,
    limit: Any = GPU,
    *,
    key: str | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    async with m.limiter(limit, key=key):
        task_status.started()
        await until.wait()


async def test_no_more_hold_a_place_than_the_limit_and_all_have_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = Running()

    async def work(limiter: m25.Limiter) -> None:
        async with limiter:
            await running.one(3)

    store = m25.testing.MemoryStore()
    async with m25.testing.open(store) as m, m25.testing.open(store) as other:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for client in (m, other):
                    limiter = client.limiter(GPU)
                    for _ in range(10):
                        nursery.start_soon(work, limiter)
        assert running.most == 2
        assert await held(m) == 0


async def test_jobs_and_holders_are_never_more_and_both_go_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = Running()

    @m25.queue("pictures", limit=GPU, max_concurrency=5)
    async def pictures(_: int) -> None:
        await running.one(0.3)

    store = m25.testing.MemoryStore()
    async with m25.testing.open(store) as worker, m25.testing.open(store) as m:
        worker.add_queue(pictures)
        await worker.start()
        await m.enqueue_many(pictures, range(1_000))
        with trio.fail_after(30):
            for _ in range(10):
                async with m.limiter(pictures):
                    await running.one(0.3)
        before = Counter(job.status for job in m25.testing.jobs(worker, pictures))
        # Others wait for a place all the time, and jobs go on.
        until = trio.Event()
        async with trio.open_nursery() as nursery:

            async def again_and_again() -> None:
                while not until.is_set():
                    async with m.limiter(GPU):
                        await running.one(1.5)

            for _ in range(5):
                nursery.start_soon(again_and_again)
            await trio.sleep(60)
            after = Counter(job.status for job in m25.testing.jobs(worker, pictures))
            until.set()
    assert after[m25.JobStatus.SUCCEEDED] >= before[m25.JobStatus.SUCCEEDED] + 10
    assert running.most == 2


async def test_by_a_key_each_has_its_own_places(autojump_clock: trio.testing.MockClock) -> None:
    limit = m25.Limit(1, name="api", key="customer")
    async with m25.testing.open() as m:
        for key in ("ada", "bob", 'a "b", {c}\\ NULL', "é" * 200):
            async with m.limiter(limit, key=key):
                (record,) = await m.limits()
                assert (record.held, record.key, list(record.named_keys)) == (1, "customer", [key])
        with pytest.raises(errors.UsageError, match="counts by a key: give one"):
            async with m.limiter("api"):
                pytest.fail("it has no place")


async def test_what_cannot_be_meant_is_refused_and_says_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("plain")
    async def plain(_: int) -> None: ...

    @m25.queue("letters", rate=m25.Rate(1))
    async def letters(_: int) -> None: ...

    async with m25.testing.open() as m:
        m.add_queue(letters)
        await m.start()
        with pytest.raises(errors.UsageError, match="needs a name"):
            m.limiter(m25.Limit(3))
        with pytest.raises(errors.UsageError, match="neither a limit nor a rate"):
            m.limiter(plain)
        with pytest.raises(ValueError, match="lease must be"):
            m.limiter(GPU, lease=0.5)
        with pytest.raises(ValueError, match="key"):
            m.limiter(GPU, key="\0")
        for what, match in (("unheard of", "no program has declared"), (letters, "is a rate")):
            with pytest.raises(errors.UsageError, match=match):
                async with m.limiter(what):
                    pytest.fail("it has no place")
        with pytest.raises(errors.UsageError, match="counts by no key"):
            async with m.limiter(GPU, key="ada"):
                pytest.fail("it has no place")
        async with m.limiter(GPU):
            with pytest.raises(errors.UsageError, match="this task holds a place"):
                async with m.limiter("gpu"):
                    pytest.fail("it has no place")
        assert await held(m) == 0


async def test_a_handler_does_not_wait_for_its_own_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    other = m25.Limit(1, name="other")

    @m25.queue("parts", limit=other)
    async def parts(_: int) -> None: ...

    @m25.queue("pictures", limit=m25.Limit(1, name="gpu", key="customer"))
    async def pictures(_: int) -> list[str]:
        found: list[str] = []
        job = m25.current_job()
        with pytest.raises(errors.UsageError, match="'pictures' has a place of the limit 'gpu'"):
            async with job.m.limiter("gpu", key="another"):
                pytest.fail("it has no place")
        async with job.m.limiter(other):
            found.append("held")
            async with job.open_nursery() as nursery:
                with pytest.raises(errors.UsageError, match="within a place of the limit 'other'"):
                    await nursery.start_job(parts, 1)
        return found

    async with m25.testing.open() as m:
        m.add_queue(pictures)
        m.add_queue(parts)
        await m.start()
        assert await m.call(pictures, 1) == ["held"]


async def test_who_stops_waiting_leaves_nothing_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls = Calls()
    async with m25.testing.open(m25.testing.MemoryStore(fault=calls)) as m:
        async with trio.open_nursery() as nursery:
            until = trio.Event()
            for _ in range(2):
                await nursery.start(hold_until, m, until)
            with trio.move_on_after(5) as waited:
                async with m.limiter(GPU):
                    pytest.fail("it has no place")
            assert waited.cancelled_caught
            until.set()
        # What is granted to somebody who has gone meanwhile is given back.
        calls.held_up["take_places"] = trio.Event()
        with trio.move_on_after(5):
            async with m.limiter(GPU):
                pytest.fail("it has no answer")
        assert await held(m) == 1
        calls.held_up.pop("take_places").set()
        await trio.sleep(1)
        assert await held(m) == 0
        # And so is what was asked for without an answer.
        calls.held_up["take_places"] = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold_until, m, until)
            await trio.sleep(1)
            assert await held(m) == 1
            nursery.cancel_scope.cancel()
        with trio.move_on_after(5):
            calls.held_up.clear()
            calls.unanswered.add("take_places")
            async with m.limiter(m25.Limit(1, name="other")):
                pytest.fail("it has no answer")
        assert await held(m, "other") == 1
        calls.unanswered.clear()
        await trio.sleep(5)
        assert await held(m, "other") == 0
        calls.held_up["take_places"] = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold_until, m, trio.Event())
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
    # The block of the client was left while it was under way.
    async with m25.testing.open(m._runtime.store) as m:  # type: ignore[arg-type]
        assert await held(m) == 0


async def test_a_block_that_is_cancelled_gives_its_place_back_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls = Calls()
    async with m25.testing.open(m25.testing.MemoryStore(fault=calls)) as m:
        with trio.move_on_after(1):
            async with m.limiter(GPU):
                await trio.sleep_forever()
        assert await held(m) == 0
        with pytest.raises(KeyError):
            async with m.limiter(GPU):
                raise KeyError
        assert await held(m) == 0
        # Where the database is away, it takes five seconds at most, and is done once it is back.
        began = trio.current_time()
        async with m.limiter(GPU):
            calls.lost.add("release_places")
        assert trio.current_time() - began <= 5
        assert await held(m) == 1
        calls.lost.clear()
        await trio.sleep(20)
        assert await held(m) == 0
        assert calls.counts["sweep_holders"] == 0


async def test_a_block_goes_on_for_as_long_as_its_lease_is_renewed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls = Calls()
    async with m25.testing.open(m25.testing.MemoryStore(fault=calls)) as m:
        async with m.limiter(GPU), m.limiter(m25.Limit(1, name="other")):
            await trio.sleep(1_000)
        # Of both by one statement, four times in the time of a lease.
        assert 380 <= calls.counts["renew_places"] <= 420


async def test_a_block_is_cancelled_before_its_place_is_given_away(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls = Calls()
    store = m25.testing.MemoryStore(fault=calls)
    running = Running()
    limit = m25.Limit(1, name="one")

    async def hold_next(m: m25.M25) -> None:
        async with m.limiter(limit):
            await running.one(1)

    async with m25.testing.open(store) as m, m25.testing.open(store) as other:
        with pytest.raises(errors.PlaceLost, match="'one'") as caught:
            async with m.limiter(limit, lease=20):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(hold_next, other)
                    await trio.sleep(50)
                    calls.lost.add("renew_places")
                    began = trio.current_time()
                    await running.one(1_000)
        assert (caught.value.limit, caught.value.key) == ("one", None)
        # Since the latest renewal three quarters of the lease have passed, or nearly.
        assert 9 <= trio.current_time() - began <= 15
        calls.lost.clear()
        with trio.fail_after(30):
            await hold_next(other)
    assert running.most == 1


async def test_a_block_whose_place_was_given_away_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = m25.testing.MemoryStore()
    async with m25.testing.open(store) as m:
        with pytest.raises(errors.PlaceLost):
            async with m.limiter(GPU):
                # As for the others when this process stands still.
                for id in list(store._holders._holders):
                    store._holders.release([id])
                await trio.sleep_forever()
        with pytest.raises(errors.PlaceLost):
            async with m.limiter(GPU):
                # It ends late, and as if nothing were.
                with trio.CancelScope(shield=True):
                    for id in list(store._holders._holders):
                        store._holders.release([id])
                    await trio.sleep(60)
        with pytest.raises(KeyError):
            async with m.limiter(GPU):
                store._holders.release(list(store._holders._holders))
                with trio.CancelScope(shield=True):
                    await trio.sleep(60)
                raise KeyError


async def test_the_place_of_who_is_gone_is_given_to_who_waits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limit = m25.Limit(1, name="one")
    store = m25.testing.MemoryStore()

    @m25.queue("pictures", limit=limit, poll_interval=1)
    async def pictures(_: int) -> None: ...

    await store.declare_limit("one", 1, None)
    async with m25.testing.open(store) as m:
        for wait in ("holder", "job"):
            gone = AskedPlace(f"00000000-0000-0000-0000-{wait:0>12}", None, timedelta(seconds=10))
            assert await store.take_places("one", [gone])
            began = trio.current_time()
            with trio.fail_after(60):
                if wait == "holder":
                    async with m.limiter(limit):
                        pass
                else:
                    m.add_queue(pictures)
                    await m.start()
                    await m.call(pictures, 1)
            assert 10 <= trio.current_time() - began <= 16


async def test_many_who_wait_idly_cost_few_statements(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls = Calls()
    until = trio.Event()
    async with m25.testing.open(m25.testing.MemoryStore(fault=calls)) as m:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                await nursery.start(hold_until, m, until)
            for _ in range(1_000):
                nursery.start_soon(hold_until, m, until)
            await trio.sleep(10)
            calls.counts.clear()
            await trio.sleep(100)
            # To ask, to look for who is gone, and to renew.
            assert sum(calls.counts.values()) <= 250
            until.set()
        # Each that gives its place back, and each statement that takes some.
        assert calls.counts["take_places"] <= 1_200
        calls.counts.clear()
        await trio.sleep(300)
        assert sum(calls.counts.values()) == 0


async def test_who_came_first_is_first(autojump_clock: trio.testing.MockClock) -> None:
    limit = m25.Limit(1, name="one")
    order: list[int] = []

    async def work(m: m25.M25, number: int) -> None:
        async with m.limiter(limit):
            order.append(number)
            await trio.sleep(0.1)

    async with m25.testing.open() as m, trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(work, m, number)
            await trio.lowlevel.checkpoint()
            await trio.sleep(0.001)
    assert order == list(range(50))


async def test_of_many_keys_none_is_passed_over(autojump_clock: trio.testing.MockClock) -> None:
    """Not even where one statement does not ask for all of them."""
    limit = m25.Limit(1, name="api", key="customer")
    had = Counter[str]()

    async def work(m: m25.M25, key: str) -> None:
        async with m.limiter(limit, key=key):
            had[key] += 1
            if key == "free":
                free.set()

    free = trio.Event()
    until = trio.Event()
    async with m25.testing.open() as m, trio.open_nursery() as nursery:
        for number in range(600):
            await nursery.start(
                lambda *, task_status, n=number: hold_until(
                    m, until, limit, key=f"full {n}", task_status=task_status
                )
            )
        for number in range(600):
            nursery.start_soon(work, m, f"full {number}")
        await trio.sleep(3)
        nursery.start_soon(work, m, "free")
        with trio.fail_after(30):
            await free.wait()
        until.set()
    assert len(had) == 601


async def test_a_client_that_is_closed_refuses_and_cancels(
    autojump_clock: trio.testing.MockClock,
) -> None:
    outcomes: list[str] = []

    async def work(limiter: m25.Limiter) -> None:
        try:
            async with limiter:
                await trio.sleep_forever()
        except errors.ClientClosed:
            outcomes.append("closed")
        except errors.PlaceLost:
            outcomes.append("lost")

    async with trio.open_nursery() as nursery:
        async with m25.testing.open() as m:
            limiter = m.limiter(GPU)
            for _ in range(3):
                nursery.start_soon(work, limiter)
            await trio.sleep(1)
    assert sorted(outcomes) == ["closed", "lost", "lost"]
    with pytest.raises(errors.ClientClosed):
        async with limiter:
            pytest.fail("it has no place")


async def test_a_queue_without_a_limit_asks_for_no_holders(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls = Calls()

    @m25.queue("plain")
    async def plain(_: int) -> None: ...

    async with m25.testing.open(m25.testing.MemoryStore(fault=calls)) as m:
        m.add_queue(plain)
        await m.start()
        await m.call(plain, 1)
        await trio.sleep(600)
    assert calls.counts["find_suspects"] > 50
    assert not [call for call in calls.counts if "holder" in call or "place" in call]


async def test_places_are_renewed_while_others_have_all_connections(
    dsn: str, mock_clock: trio.testing.MockClock
) -> None:
    async def lease_ends_at() -> Any:
        (row,) = await rows(dsn, "select lease_expires_at from m25.limit_holder")
        return row["lease_expires_at"]

    # Trio's clock stands still but for the jumps: they are longer than the lease is, together.
    async with (
        pg.Pool(dsn, max_size=1) as pool,
        m25.open(pool) as m,
        m.limiter(GPU, lease=60),
        pool.connection(),
    ):
        for _ in range(5):
            before = await lease_ends_at()
            mock_clock.jump(16)
            while await lease_ends_at() == before:
                pass


async def test_who_may_not_take_places_is_told(dsn: str) -> None:
    mark = f"m25_{uuid4().hex[:12]}"
    grants = "grant usage on schema m25 to {0}; grant select on all tables in schema m25 to {0};"
    create = f"create role {mark} login password '{mark}';" + grants.format(mark)
    await rows(dsn, create)  # type: ignore[arg-type]
    try:
        async with m25.open(make_conninfo(dsn, user=mark, password=mark)) as m:
            with pytest.raises(errors.JobRecordFetchQueryError, match="permission denied"):
                async with m.limiter(GPU):
                    pytest.fail("it has no place")
    finally:
        await rows(dsn, f"drop owned by {mark} cascade; drop role {mark}")  # type: ignore[arg-type]


async def test_the_same_over_a_database(dsn: str) -> None:
    running = Running()
    limit = m25.Limit(2, name="gpu")

    @m25.queue("pictures", limit=limit, max_concurrency=5)
    async def pictures(_: int) -> None:
        await running.one(0.01)

    async def work(m: m25.M25) -> None:
        async with m.limiter(limit):
            await running.one(0.01)

    async with m25.open(dsn) as m, m25.open(dsn) as other:
        m.add_queue(pictures)
        await m.start()
        with trio.fail_after(60):
            put = await m.enqueue_many(pictures, range(20))
            async with trio.open_nursery() as nursery:
                for client in (m, other):
                    for _ in range(10):
                        nursery.start_soon(work, client)
            for id in put.ids:
                await m.wait(pictures, id)
        assert await held(other) == 0
    assert running.most == 2
