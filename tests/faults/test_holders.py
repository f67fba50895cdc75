"""Real processes that hold places of a limit outside of jobs, killed, frozen and cut off."""

from __future__ import annotations

import itertools
import os
import signal
import time
from contextlib import AsyncExitStack

import trio

import m25
from support.processes import Worker, worker
from support.programs.holders import LIMIT, pictures
from support.proxy import proxied
from support.waiting import eventually, rows

from .servers import serving


def spans(each: Worker, *what: str) -> list[tuple[float, float]]:
    """When places were held and jobs ran, of those that were not lost; or when something else."""
    found = [line.split() for line in each.printed if line.startswith(what or ("held ", "ran "))]
    return [(float(began), float(ended)) for _, began, ended in found]


def moving_spans(each: Worker) -> list[tuple[float, float]]:
    """The same, but for those in which it stood still: what does could not be ended meanwhile."""
    still = spans(each, "still ")
    return [
        (began, ended)
        for began, ended in spans(each)
        if not any(before < ended and began < after for before, after in still)
    ]


def most_at_once(spans: list[tuple[float, float]]) -> int:
    # What ends at the moment at which another begins is not beside it.
    events = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
    return max(itertools.accumulate(change for _, change in events))


async def until_it_holds(each: Worker) -> None:
    """Wait until a program has held another place, from beginning to end."""
    now = time.monotonic()

    async def has_held() -> bool:
        return any(began > now for began, _ in spans(each))

    await eventually(has_held, 60)


async def test_places_of_a_process_that_is_killed_or_frozen_are_had_by_others(dsn: str) -> None:
    async with AsyncExitStack() as stack:
        m = await stack.enter_async_context(m25.open(dsn))
        await m.enqueue_many(pictures, [0.1] * 100)
        killed, frozen, whole = [
            await stack.enter_async_context(worker(dsn, program="holders.py")) for _ in range(3)
        ]
        for each in (killed, frozen, whole):
            await until_it_holds(each)
        os.kill(killed.process.pid, signal.SIGKILL)
        os.kill(frozen.process.pid, signal.SIGSTOP)
        gone = "select id from m25.limit_holder where now() > taken_at + interval '2 seconds'"
        # Longer than the lease is: then what they held is held by the other.
        await trio.sleep(2)

        async def none_is_left() -> bool:
            return not await rows(dsn, gone)

        await eventually(none_is_left, 60)
        await until_it_holds(whole)
        os.kill(frozen.process.pid, signal.SIGCONT)
        # It hears that it has lost what it held, if it held anything, and goes on.
        await until_it_holds(frozen)
        await until_it_holds(whole)
        assert spans(frozen, "still ")
        moving = [span for each in (killed, frozen, whole) for span in moving_spans(each)]
        assert most_at_once(moving) <= LIMIT.size


async def test_a_process_that_is_cut_off_ends_its_block_before_others_have_its_place(
    dsn: str,
) -> None:
    limit = m25.Limit(1, name="one")
    order: list[str] = []
    async with proxied(dsn) as proxy, m25.open(proxy.dsn) as cut_off, m25.open(dsn) as m:
        entered = trio.Event()

        async def hold() -> None:
            try:
                async with cut_off.limiter(limit, lease=2):
                    entered.set()
                    try:
                        await trio.sleep_forever()
                    finally:
                        order.append("ended")
            except m25.errors.PlaceLost:
                order.append("lost")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold)
            await entered.wait()
            proxy.hold()
            with trio.fail_after(60):
                async with m.limiter(limit):
                    order.append("another")
            proxy.release()
        assert order.index("ended") < order.index("another")
        assert set(order) == {"ended", "another", "lost"}
        # It goes on once its link does.
        with trio.fail_after(60):
            async with cut_off.limiter(limit):
                pass


async def test_a_server_that_is_stopped_at_once_and_started_again_is_waited_for() -> None:
    limit = m25.Limit(2, name="two")
    done = 0
    async with serving() as server, m25.open(server.dsn) as m:
        running = most = 0

        async def work() -> None:
            nonlocal done, running, most
            for _ in range(10):
                try:
                    async with m.limiter(limit, lease=5):
                        running += 1
                        most = max(most, running)
                        try:
                            await trio.sleep(0.05)
                        finally:
                            running -= 1
                except m25.errors.PlaceLost:
                    continue
                done += 1

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                for _ in range(6):
                    nursery.start_soon(work)
                await trio.sleep(0.3)
                await server.stop_at_once()
                await server.start()
    assert most <= 2
    assert done >= 50
