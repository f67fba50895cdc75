"""Nurseries of jobs, as handlers use them: mostly in memory, where time costs nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import psycopg
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25._store.memory import MemoryStore
from m25.errors import UsageError


class NoPicture(Exception):
    pass


@asynccontextmanager
async def serving(*queues: m25.Queue[Any, Any, Any], **options: Any) -> AsyncGenerator[m25.M25]:
    async with m25.testing.open(**options) as m:
        for queue in queues:
            m.add_queue(queue)
        await m.start()
        yield m


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves(each)]
    return [error]


@m25.queue("double")
async def double(number: int) -> int:
    return 2 * number


async def test_a_job_has_the_results_of_those_that_it_starts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("sum")
    async def total(numbers: list[int]) -> int:
        async with m25.current_job().open_nursery() as nursery:
            first = await nursery.start_job(double, 100)
            parts = await nursery.start_many(double, numbers)
            assert await first.result() == 200
        return sum(part.output for part in parts)

    async with serving(total, double) as m:
        assert await m.call(total, [1, 2, 3]) == 12
        children = m25.testing.jobs(m, double)
        (parent,) = m25.testing.jobs(m, total)
        assert {child.parent_id for child in children} == {parent.id}


async def test_a_child_that_fails_cancels_the_others_and_is_raised_in_a_group(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cancelled: list[int] = []

    @m25.queue("picture", errors=(NoPicture,))
    async def picture(number: int) -> int:
        if number == 2:
            raise NoPicture("two")
        try:
            await trio.sleep(50)
        except trio.Cancelled:
            cancelled.append(number)
            raise
        return number

    seen: list[BaseException] = []

    @m25.queue("album")
    async def album(_: None) -> str:
        try:
            async with m25.current_job().open_nursery() as nursery:
                await nursery.start_many(picture, [1, 2, 3])
        except* NoPicture as group:
            seen.extend(group.exceptions)
        return "without"

    async with serving(album, picture) as m:
        assert await m.call(album, None) == "without"
        assert [type(error) for error in seen] == [NoPicture]
        assert sorted(cancelled) == [1, 3]
        statuses = [job.status.value for job in m25.testing.jobs(m, picture)]
        assert sorted(statuses) == ["cancelled", "cancelled", "failed"]


async def test_what_the_block_raises_cancels_the_children_and_comes_in_a_group(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("sleep")
    async def sleep(seconds: int) -> None:
        await trio.sleep(seconds)

    @m25.queue("top")
    async def top(_: None) -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with m25.current_job().open_nursery() as nursery:
                await nursery.start_job(sleep, 100)
                raise KeyError("mine")
        assert [type(each) for each in leaves(caught.value)] == [KeyError]

    async with serving(top, sleep) as m:
        await m.call(top, None)
        (child,) = m25.testing.jobs(m, sleep)
        assert child.status is m25.JobStatus.CANCELLED


async def test_a_cancel_reaches_everything_below_and_the_top_ends_last(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ended: list[int] = []

    @m25.queue("node", max_concurrency=20)
    async def node(depth: int) -> None:
        try:
            async with m25.current_job().open_nursery() as nursery:
                if depth:
                    await nursery.start_many(node, [depth - 1] * 2)
                await trio.sleep(1000)
        finally:
            ended.append(depth)

    async with serving(node) as m:
        top = await m.enqueue(node, 3)
        await trio.sleep(10)
        began = trio.current_time()
        await m.cancel_job(node, top.id, running=True, wait=True)
        assert trio.current_time() - began < 1
        assert {job.status.value for job in m25.testing.jobs(m, node)} == {"cancelled"}
        assert len(m25.testing.jobs(m, node)) == 15
        assert ended[-1] == 3


async def test_a_cancel_that_reaches_the_children_first_is_their_parents_end_all_the_same(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    @m25.queue("sleep")
    async def sleep(seconds: int) -> None:
        await trio.sleep(seconds)

    @m25.queue("top")
    async def top(_: None) -> None:
        async with m25.current_job().open_nursery() as nursery:
            await nursery.start_job(sleep, 1000)

    looks_late: set[str] = set()
    look = MemoryStore.find_cancel_requests

    async def look_late(store: MemoryStore, jobs: Any) -> Any:
        if late := looks_late & {job.id for job in jobs}:
            looks_late.difference_update(late)
            await trio.sleep(1)
        return await look(store, jobs)

    monkeypatch.setattr(MemoryStore, "find_cancel_requests", look_late)
    async with serving(top, sleep) as m:
        parent = await m.enqueue(top, None)
        await trio.sleep(10)
        looks_late.add(str(parent.id))
        await m.cancel_job(top, parent.id, running=True, wait=True)
        assert not looks_late
        found = (*m25.testing.jobs(m, top), *m25.testing.jobs(m, sleep))
        assert [job.status.value for job in found] == ["cancelled"] * 2


async def test_a_deadline_reaches_everything_below(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("sleep")
    async def sleep(seconds: int) -> None:
        await trio.sleep(seconds)

    @m25.queue("top", default_job_timeout=5)
    async def top(_: None) -> None:
        async with m25.current_job().open_nursery() as nursery:
            await nursery.start_job(sleep, 1000)

    async with serving(top, sleep) as m:
        with pytest.raises(m25.JobFailed) as caught:
            await m.call(top, None)
        assert caught.value.record.failure_reason is m25.FailureReason.JOB_TIMEOUT
        (child,) = m25.testing.jobs(m, sleep)
        assert child.status is m25.JobStatus.CANCELLED


async def test_parents_that_wait_leave_their_slots_to_their_children(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = 0

    @m25.queue("node", max_concurrency=10)
    async def node(depth: int) -> int:
        nonlocal running
        if not depth:
            running += 1
            assert running <= 10
            await trio.sleep(0.1)
            running -= 1
            return 1
        async with m25.current_job().open_nursery() as nursery:
            child = await nursery.start_job(node, depth - 1)
        return child.output

    async with serving(node) as m:
        async with m.open_nursery() as nursery:
            parents = await nursery.start_many(node, [1] * 100)
        assert sum(parent.output for parent in parents) == 100


async def test_a_handler_goes_on_in_a_slot(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """However it has waited: by a result, a call, or in a timeout of its own."""
    running = most = 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    @m25.queue("top", max_concurrency=2)
    async def top(_: None) -> None:
        await work()
        assert await m25.current_job().m.call(double, 1) == 2
        await work()
        with trio.move_on_after(0.5):
            await m25.current_job().m.call(never, 1)
        await work()

    @m25.queue("never")
    async def never(_: int) -> None:
        await trio.sleep(10_000)

    async with serving(top, double, never) as m:
        async with m.open_nursery() as nursery:
            await nursery.start_many(top, [None] * 8)
        assert most == 2
        for job in m25.testing.jobs(m, never):
            await m.cancel_job(never, job.id, running=True)


async def test_beyond_max_waiting_a_handler_keeps_its_slot(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    @m25.queue("top", max_concurrency=3)
    async def top(_: None) -> int:
        return await m25.current_job().m.call(double, 1)

    async with serving(top, double, max_waiting=1) as m:
        async with m.open_nursery() as nursery:
            await nursery.start_many(top, [None] * 9)
    assert "TooManyWaiting" not in caplog.text
    assert "keeps its slot" in caplog.text


# Run again


async def again(
    end: Callable[[int], Awaitable[None]], **options: Any
) -> tuple[list[int], list[str]]:
    """A job of two children, of which one fails once, that ends as `end` has it in its first run.

    Returns how often each child was run, and their statuses.
    """
    runs = [0, 0]
    tops = 0

    @m25.queue("child")
    async def child(number: int) -> int:
        runs[number] += 1
        if number == 1 and runs[1] == 1:
            raise ValueError("the first time")
        return number

    @m25.queue("top", **options)
    async def top(_: None) -> int:
        nonlocal tops
        tops += 1
        async with m25.current_job().open_nursery() as nursery:
            first = await nursery.start_job(child, 0)
            await first.result()
            await end(tops)
            second = await nursery.start_job(child, 1)
        return first.output + second.output

    async with serving(top, child) as m:
        record = await m.enqueue(top, None)
        await m.wait(top, record.id)
        return runs, [job.status.value for job in m25.testing.jobs(m, top)]


async def test_a_retry_finds_what_succeeded_and_starts_what_failed_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def end(run: int) -> None:
        pass

    runs, statuses = await again(end, retry=m25.Retry(max_attempts=2, delay=1))
    assert runs == [1, 2]
    assert statuses == ["failed", "succeeded"]


async def test_a_job_that_a_stop_cuts_short_finds_its_children_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    runs = 0

    @m25.queue("child")
    async def child(_: None) -> int:
        nonlocal runs
        runs += 1
        await trio.sleep(30)
        return 7

    @m25.queue("top")
    async def top(_: None) -> int:
        async with m25.current_job().open_nursery() as nursery:
            part = await nursery.start_job(child, None)
        return part.output

    store = m25.testing.MemoryStore()
    async with serving(child, store=store) as workers:
        async with serving(top, store=store, shutdown_grace=1) as m:
            record = await m.enqueue(top, None)
            await trio.sleep(5)
        assert [job.status.value for job in m25.testing.jobs(workers, top)] == ["pending"]
        assert [job.status.value for job in m25.testing.jobs(workers, child)] == ["executing"]
        async with serving(top, store=store) as m:
            assert await m.result(top, record.id) == 7
    assert runs == 1


async def test_children_are_known_by_their_keys_and_each_has_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("top")
    async def top(_: None) -> None:
        async with m25.current_job().open_nursery("one") as nursery:
            await nursery.start_job(double, 1, key="a")
            with pytest.raises(UsageError, match="has the key 'a'"):
                await nursery.start_job(double, 1, key="a")
            for no_text in ("", "\ud800", 1):
                with pytest.raises(ValueError, match="key"):
                    await nursery.start_job(double, 1, key=no_text)  # type: ignore[arg-type]
            with pytest.raises(UsageError, match="give start_job a key"):
                await nursery.start_job(double, m25.Job(1, id=m25.current_job().id))
        with pytest.raises(UsageError, match="was left"):
            await nursery.start_job(double, 1)
        with pytest.raises(UsageError, match="named 'one'"):
            m25.current_job().open_nursery("one")
        with pytest.raises(ValueError, match="a nursery's name"):
            m25.current_job().open_nursery("")

    async with serving(top, double) as m:
        await m.call(top, None)


async def test_a_detached_job_is_neither_waited_for_nor_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("sleep")
    async def sleep(seconds: int) -> None:
        await trio.sleep(seconds)

    @m25.queue("top", retry=m25.Retry(max_attempts=2, delay=1))
    async def top(_: None) -> None:
        async with m25.current_job().open_nursery() as nursery:
            child = await nursery.start_job(sleep, 100, detached=True)
            with pytest.raises(UsageError, match="detached=True"):
                await child.result()
            raise ValueError("twice")

    async with serving(top, sleep) as m:
        record = await m.enqueue(top, None)
        await m.wait(top, record.id)
        (child,) = m25.testing.jobs(m, sleep)
        assert child.status is m25.JobStatus.EXECUTING
        assert child.parent_id is None


async def test_a_clients_nursery_ends_with_its_block(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("sleep")
    async def sleep(seconds: int) -> None:
        await trio.sleep(seconds)

    async with serving(sleep, double) as m:
        with trio.move_on_after(5) as scope:
            async with m.open_nursery() as nursery:
                await nursery.start_many(sleep, [100, 200])
        assert scope.cancelled_caught
        statuses = {job.status.value for job in m25.testing.jobs(m, sleep)}
        assert statuses == {"cancelled"}
        async with m.open_nursery():
            pass


async def test_a_job_that_somebody_cancels_is_an_error_of_its_nursery(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("sleep")
    async def sleep(seconds: int) -> None:
        await trio.sleep(seconds)

    async with serving(sleep) as m:
        with pytest.raises(ExceptionGroup) as caught:
            async with m.open_nursery() as nursery:
                child = await nursery.start_job(sleep, 100)
                await trio.sleep(1)
                await m.cancel_job(sleep, child.id, running=True, by="ada")
        (error,) = leaves(caught.value)
        assert isinstance(error, m25.JobCancelled)
        assert error.record.cancelled_by == "ada"


async def test_a_handler_that_is_cancelled_while_it_waits_needs_no_slot_to_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("top", max_concurrency=1)
    async def top(seconds: int) -> None:
        if seconds:
            await trio.sleep(seconds)
        else:
            await m25.current_job().m.call(never, None)

    @m25.queue("never")
    async def never(_: None) -> None:
        await trio.sleep(10_000)

    async with serving(top, never) as m:
        waiting = await m.enqueue(top, 0)
        await trio.sleep(1)
        await m.enqueue(top, 200)
        await trio.sleep(1)
        began = trio.current_time()
        await m.cancel_job(top, waiting.id, running=True, wait=True)
        assert trio.current_time() - began < 1
        for job in m25.testing.jobs(m, top) + m25.testing.jobs(m, never):
            if not job.finished_at and not job.cancelled_at:
                queue: Any = top if job.queue_name == "top" else never
                await m.cancel_job(queue, job.id, running=True)


async def test_what_a_handler_has_started_ends_with_its_attempt_though_the_handler_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("sleep")
    async def sleep(seconds: int) -> None:
        await trio.sleep(seconds)

    @m25.queue("top", default_job_timeout=5)
    async def top(_: None) -> None:
        async with m25.current_job().open_nursery() as nursery:
            await nursery.start_job(sleep, 1000)
            with trio.CancelScope(shield=True):
                await trio.sleep(60)

    async with serving(top, sleep) as m:
        record = await m.enqueue(top, None)
        ended = await m.wait(top, record.id)
        assert ended.failure_reason is m25.FailureReason.JOB_TIMEOUT
        await trio.sleep(1)
        (child,) = m25.testing.jobs(m, sleep)
        assert child.status is m25.JobStatus.CANCELLED


async def test_a_start_that_raised_can_be_tried_again_with_its_key(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("charge")
    async def charge(_: str) -> str:
        return "charged"

    @m25.queue("top")
    async def top(_: None) -> str:
        job = m25.current_job()
        ada = m25.Job("ada").with_unique_key("account")
        async with job.open_nursery() as nursery:
            with pytest.raises(m25.UniqueKeyConflict):
                await nursery.start_job(charge, ada, key="ada")
            await job.m.cancel_job(charge, other.id)
            child = await nursery.start_job(charge, ada, key="ada")
        return child.output

    async with serving(top, charge) as m:
        later = datetime.now(UTC) + timedelta(days=1)
        other = await m.enqueue(
            charge, m25.Job("bob", scheduled_at=later).with_unique_key("account")
        )
        assert await m.call(top, None) == "charged"


async def test_a_block_that_is_being_left_waits_for_what_is_being_started(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """In a run after the first, which asks the database before it starts anything."""

    class Slow(MemoryStore):
        async def latest(self, ids: Any) -> Any:
            await trio.sleep(0.5)
            return await super().latest(ids)

    ended: list[bool] = []

    @m25.queue("top", retry=m25.Retry(max_attempts=2, delay=0))
    async def top(_: None) -> None:
        job = m25.current_job()
        if job.attempt == 1:
            async with job.open_nursery("first") as nursery:
                await nursery.start_job(double, 1)
            raise OSError
        children: list[m25.ChildJob[int]] = []
        begun = trio.Event()

        async def start(nursery: m25.JobNursery) -> None:
            begun.set()
            children.append(await nursery.start_job(double, 2, key="late"))

        async with trio.open_nursery() as tasks:
            async with job.open_nursery() as nursery:
                tasks.start_soon(start, nursery)
                await begun.wait()
            ended.extend(child.has_ended for child in children)

    async with serving(top, double, store=Slow()) as m:
        await m.call(top, None)
    assert ended == [True]


async def test_a_nursery_has_a_scope_whose_cancel_ends_its_block_and_its_jobs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("sleep")
    async def sleep(seconds: int) -> None:
        await trio.sleep(seconds)

    async with serving(sleep) as m:
        async with m.open_nursery() as nursery:
            child = await nursery.start_job(sleep, 100)
            nursery.cancel_scope.cancel()
            await trio.sleep_forever()
        assert child.record.status is m25.JobStatus.CANCELLED
        assert child.record.cancel_reason == "its nursery is left: its block has ended"


async def test_children_are_told_which_of_them_was_the_reason_of_their_cancel(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("sleep")
    async def sleep(seconds: int) -> None:
        await trio.sleep(seconds)
        raise ValueError("too long")

    async with serving(sleep) as m:
        with pytest.raises(ExceptionGroup):
            async with m.open_nursery() as nursery:
                short, long = await nursery.start_many(sleep, [1, 100])
        assert long.record.cancel_reason is not None
        assert str(short.id) in long.record.cancel_reason


async def test_a_nursery_starts_jobs_within_its_block_alone() -> None:
    @m25.queue("one")
    async def one(_: None) -> None:
        nursery = m25.current_job().open_nursery()
        with pytest.raises(UsageError, match="async with"):
            await nursery.start_job(one, None)

    assert (await m25.testing.run_job(one, None)).status is m25.JobStatus.SUCCEEDED


async def test_to_wait_for_a_job_is_refused_where_nobody_would_run_it() -> None:
    @m25.queue("one")
    async def one(_: None) -> str:
        job = m25.current_job()
        with pytest.raises(UsageError, match=r"testing\.open"):
            await job.m.call(one, None)
        async with job.open_nursery() as nursery:
            await nursery.start_job(one, None)
        return "never"

    record = await m25.testing.run_job(one, None)
    assert record.crash_type == "ExceptionGroup"
    assert "testing.open" in (record.crash_message or "")


async def test_a_setup_opens_no_nursery(autojump_clock: trio.testing.MockClock) -> None:
    refused: list[str] = []

    @asynccontextmanager
    async def setup() -> AsyncGenerator[None]:
        with pytest.raises(UsageError, match="not in `setup`") as caught:
            m25.current_job().open_nursery()
        refused.append(str(caught.value))
        yield

    @m25.queue("top", setup=setup)
    async def top(_: int, __: None) -> None:
        async with m25.current_job().open_nursery():
            pass

    async with serving(top) as m:
        await m.call(top, 1)
    assert len(refused) == 1


async def test_a_block_that_finds_a_job_failed_cancels_the_others_that_run(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its earlier run had started all; this one comes to the first."""

    @m25.queue("child")
    async def child(seconds: int) -> None:
        await trio.sleep(seconds)
        if seconds == 10:
            raise OSError

    started: list[int] = []

    @m25.queue("top")
    async def top(_: None) -> list[str]:
        with pytest.RaisesGroup(m25.JobFailed):
            async with m25.current_job().open_nursery() as nursery:
                for seconds in (10, 500, 600):
                    await nursery.start_job(child, seconds)
                    started.append(seconds)
        return [job.status.value for job in m25.testing.jobs(workers, child)]

    store = m25.testing.MemoryStore()
    async with serving(child, store=store) as workers:
        async with serving(top, store=store, shutdown_grace=1) as m:
            record = await m.enqueue(top, None)
            await trio.sleep(5)
        await trio.sleep(20)
        async with serving(top, store=store) as m:
            assert await m.result(top, record.id) == ["failed", "cancelled", "cancelled"]
    assert started == [10, 500, 600, 10]


async def test_what_a_run_does_not_start_again_ends_before_its_nursery_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What another nursery of the job has started goes on."""
    ended: list[str] = []

    @m25.queue("child")
    async def child(name: str) -> None:
        try:
            await trio.sleep(60)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            ended.append(name)

    at_the_end: list[list[str]] = []

    @m25.queue("top")
    async def top(_: None) -> None:
        job = m25.current_job()
        async with job.open_nursery("all") as others:
            await others.start_job(child, "another's")
            async with job.open_nursery() as nursery:
                if not started.is_set():
                    await nursery.start_job(child, "given up")
                    started.set()
                    await trio.sleep_forever()
            at_the_end.append(list(ended))

    started = trio.Event()
    store = m25.testing.MemoryStore()
    async with serving(child, store=store) as workers:
        async with serving(top, store=store, shutdown_grace=1) as m:
            record = await m.enqueue(top, None)
            await started.wait()
            await trio.sleep(5)
        async with serving(top, store=store) as m:
            await m.result(top, record.id)
        found = {job.input: job for job in m25.testing.jobs(workers, child)}
    assert at_the_end == [["given up"]]
    assert found["another's"].status is m25.JobStatus.SUCCEEDED
    assert found["given up"].status is m25.JobStatus.CANCELLED
    assert "has not asked for it again" in str(found["given up"].cancel_reason)


def shaky(error: psycopg.Error, *, call: str = "start_children") -> MemoryStore:
    """A store in which every second start fails; every fourth has done its work by then."""
    calls = 0

    async def fault(called: str, phase: Literal["before", "after"]) -> None:
        nonlocal calls
        if called == call:
            calls += phase == "before"
            if calls % 2 and phase == ("after" if calls % 4 == 1 else "before"):
                await trio.sleep(0.1)
                raise error

    return MemoryStore(fault=fault)


async def test_a_start_that_raised_and_is_called_again_starts_one_job(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It was refused, by a right that is given back later."""
    refuses = shaky(psycopg.errors.InsufficientPrivilege("permission denied for table job"))

    @m25.queue("top", retry=m25.Retry(max_attempts=2, delay=0))
    async def top(_: None) -> list[int]:
        job = m25.current_job()
        async with job.open_nursery() as nursery:
            children: list[m25.ChildJob[int]] = []
            for number in (1, 2, 2):
                while True:
                    try:
                        child = await nursery.start_job(double, number)
                    except m25.EnqueueError:
                        await trio.sleep(1)
                    else:
                        children.append(child)
                        break
            while True:
                try:
                    children += await nursery.start_many(double, [2, 3])
                except m25.EnqueueError:
                    continue
                break
        if job.attempt == 1:
            raise OSError
        return [child.output for child in children]

    async with serving(top, double, store=refuses) as m:
        assert await m.call(top, None) == [2, 4, 4, 4, 6]
        assert len(m25.testing.jobs(m, double)) == 5


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("the connection was lost"),
        psycopg.errors.ReadOnlySqlTransaction("in a session of a former primary"),
        psycopg.errors.FeatureNotSupported("cached plan must not change result type"),
        psycopg.errors.DeadlockDetected("deadlock detected"),
    ],
)
async def test_a_handler_that_starts_jobs_does_not_notice_an_outage(
    autojump_clock: trio.testing.MockClock, error: psycopg.Error
) -> None:
    """Each time the answer is lost, or nothing was sent at all: nobody can know which."""

    @m25.queue("top")
    async def top(_: None) -> list[int]:
        async with m25.current_job().open_nursery() as nursery:
            children = [await nursery.start_job(double, 1)]
            children += await nursery.start_many(double, range(2, 700))
        return [child.output for child in children]

    async with serving(top, double, store=shaky(error)) as m:
        assert await m.call(top, None) == [2 * number for number in range(1, 700)]
        assert len(m25.testing.jobs(m, double)) == 699


async def test_a_handler_that_starts_detached_jobs_does_not_notice_an_outage(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("top")
    async def top(_: None) -> None:
        async with m25.current_job().open_nursery() as nursery:
            for number in range(3):
                await nursery.start_job(double, number, detached=True)

    outage = shaky(psycopg.OperationalError("the connection was lost"), call="enqueue")
    async with serving(top, double, store=outage) as m:
        with pytest.raises(m25.errors.OutcomeUnknown):
            # It was written all the same.
            await m.enqueue(top, None)
        await m25.testing.drain(m)
        assert sorted(job.input for job in m25.testing.jobs(m, double)) == [0, 1, 2]


async def test_a_start_waits_for_the_unique_key_of_a_job_that_was_cancelled_with_the_last_attempt(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ran: list[int] = []

    @m25.queue("child", cancel_grace=60)
    async def child(attempt: int) -> int:
        ran.append(attempt)
        try:
            if attempt == 1:
                await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(30)
        return attempt

    @m25.queue("top", cancel_grace=1, heartbeat_interval=1, retry=m25.Retry(max_attempts=2))
    async def top(_: None) -> int:
        attempt = m25.current_job().attempt
        async with m25.current_job().open_nursery() as nursery:
            part = await nursery.start_job(child, m25.Job(attempt).with_unique_key("one"))
        return part.output

    async with serving(top, child) as m:
        record = await m.enqueue(top, m25.Job(None, timeout=100))
        assert await m.result(top, record.id) == 2
    assert ran == [1, 2]


async def test_what_is_being_started_when_its_block_is_cancelled_ends_before_the_block(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Slow(MemoryStore):
        async def start_children(self, *args: Any, **options: Any) -> Any:
            await trio.sleep(1)
            return await super().start_children(*args, **options)

    @m25.queue("sleep")
    async def sleep(_: int) -> None:
        await trio.sleep(600)

    @m25.queue("top")
    async def top(_: None) -> list[str]:
        async with m25.current_job().open_nursery() as nursery, trio.open_nursery() as tasks:
            # The second one shares the next statement, which is sent by nobody's own task.
            tasks.start_soon(nursery.start_job, sleep, 1)
            tasks.start_soon(nursery.start_job, sleep, 2)
            await trio.sleep(1.5)
            nursery.cancel_scope.cancel()
        return [job.status.value for job in m25.testing.jobs(m, sleep)]

    async with serving(top, sleep, store=Slow()) as m:
        record = await m.enqueue(top, None)
        found = await m.result(top, record.id)
        await trio.sleep(10)
        assert found == [job.status.value for job in m25.testing.jobs(m, sleep)]
    assert found == ["cancelled", "cancelled"]
