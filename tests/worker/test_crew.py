"""Jobs that begin together share a task for as long as none of them waits."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from itertools import islice

import trio
import trio.testing

import m25
import m25.testing
from m25._worker.crew import Crew
from m25._worker.kept_scope import KeptScope

color: ContextVar[str] = ContextVar("color")


async def run(
    jobs: range,
    job: Callable[[int], Awaitable[None]],
    more: Callable[[int], Iterable[int]] = lambda _: (),
) -> None:
    async def run_one(number: int, _: KeptScope) -> None:
        await job(number)

    async with trio.open_nursery() as nursery:
        Crew(jobs, run_one, more, nursery, "some jobs").start()


async def test_jobs_that_do_not_wait_share_a_task() -> None:
    tasks: list[trio.lowlevel.Task] = []

    async def job(_: int) -> None:
        tasks.append(trio.lowlevel.current_task())

    await run(range(100), job)
    assert len(tasks) == 100
    assert len(set(tasks)) == 1
    assert {task.name for task in tasks} == {"some jobs"}


async def test_a_job_that_waits_holds_up_no_other(autojump_clock: trio.testing.MockClock) -> None:
    ended_at: dict[int, float] = {}

    async def job(number: int) -> None:
        if number % 3:
            await trio.sleep(number)
        ended_at[number] = trio.current_time() - began

    began = trio.current_time()
    await run(range(100), job)
    assert ended_at == {number: number if number % 3 else 0 for number in range(100)}


async def test_a_job_that_follows_needs_no_task_of_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    tasks = dict[int, trio.lowlevel.Task]()

    async def job(number: int) -> None:
        tasks[number] = trio.lowlevel.current_task()
        await trio.sleep(1 + number % 3)

    following = iter(range(3, 50))
    await run(range(3), job, lambda _: islice(following, 1))
    assert sorted(tasks) == list(range(50))
    assert len(set(tasks.values())) == 3


async def test_jobs_that_follow_together_hold_up_no_other() -> None:
    begun = list[int]()
    all_are_there = trio.Event()

    async def job(number: int) -> None:
        begun.append(number)
        if len(begun) == 50:
            all_are_there.set()
        if number > 0:
            with trio.fail_after(60):
                await all_are_there.wait()

    following = iter(range(1, 50))
    await run(range(1), job, lambda most: islice(following, most))
    assert sorted(begun) == list(range(50))


async def test_jobs_that_follow_each_other_for_ever_leave_others_their_turns() -> None:
    is_over = False

    async def job(number: int, scope: KeptScope) -> None:
        with scope.until(math.inf):
            pass

    def more(most: int) -> range:
        return range(0 if is_over else most)

    async with trio.open_nursery() as nursery:
        Crew([0, 0], job, more, nursery, "some jobs").start()
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        is_over = True


async def test_jobs_that_wait_begin_together() -> None:
    seen = 0
    all_are_there = trio.Event()

    async def job(_: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 100:
            all_are_there.set()
        with trio.fail_after(60):
            await all_are_there.wait()

    await run(range(100), job)


async def test_no_job_sees_what_another_has_set_in_its_context() -> None:
    seen: list[str | None] = []

    async def job(number: int) -> None:
        seen.append(color.get(None))
        # A value that is equal to the one before may be another object, which somebody changes.
        color.set(str(b"red", "ascii") if number % 2 else str(number))
        if number % 5 == 0:
            await trio.lowlevel.checkpoint()

    await run(range(20), job)
    assert seen == [None] * 20
    seen.clear()
    color.set("red")
    await run(range(20), job)
    assert seen == ["red"] * 20


async def test_a_job_that_follows_one_which_has_set_something_begins_all_the_same() -> None:
    seen: list[str | None] = []

    async def job(number: int) -> None:
        seen.append(color.get(None))
        color.set(str(number))

    following = iter(range(1, 10))
    # One at a time: no second task stands behind the first.
    await run(range(1), job, lambda _: islice(following, 1))
    assert seen == [None] * 10


async def test_each_job_of_a_cancelled_crew_comes_to_its_own_end() -> None:
    begun: list[int] = []
    cancelled: list[int] = []

    async def job(number: int) -> None:
        begun.append(number)
        try:
            if number != 3:
                await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            cancelled.append(number)
            raise

    with trio.CancelScope() as scope:
        scope.cancel()
        await run(range(7), job)
    assert sorted(begun) == list(range(7))
    assert sorted(cancelled) == [0, 1, 2, 4, 5, 6]


async def test_a_handler_sees_its_own_job_and_its_own_context() -> None:
    seen: list[tuple[int, int | None, str | None]] = []

    @m25.queue("colors")
    async def colors(number: int) -> None:
        job = m25.current_job()
        seen.append((number, job.input, color.get(None)))
        color.set("red")

    async with m25.testing.open() as m:
        m.add_queue(colors)
        await m.enqueue_many(colors, range(10))
        await m.start()
        await m25.testing.drain(m)
    assert sorted(seen) == [(number, number, None) for number in range(10)]
