"""Jobs that start jobs, in real processes that are killed meanwhile."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any

import pytest
import trio

import m25
from support.processes import worker
from support.programs import trees
from support.waiting import eventually, rows

#: Of jobs that a cancel has neither ended nor reached.
LEFT_BELOW = """
    with recursive tree (id) as (
        select %(id)s::uuid
        union
        select job.id from m25.job join tree on job.parent_id = tree.id
    )
    select count(*)
    from tree join m25.job using (id)
    where finished_at is null and cancelled_at is null and cancel_requested_at is null
"""
NONE_LIVE = "select count(*) = 0 from m25.job where finished_at is null and cancelled_at is null"


@pytest.mark.parametrize("count", [100, pytest.param(1_000, marks=pytest.mark.long)])
async def test_parents_that_wait_on_their_childrens_queue_do_not_block_it(
    dsn: str, count: int
) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(trees.pair)
        await m.start()
        with trio.fail_after(120):
            async with m.open_nursery() as nursery:
                parents = await nursery.start_many(trees.pair, [1] * count)
        assert [parent.output for parent in parents] == [2] * count
    assert await _first(dsn, "select count(*) from m25.job where status = 'succeeded'") == 2 * count


@pytest.mark.parametrize(
    ("count", "kills"),
    [
        pytest.param(300, 2, marks=[pytest.mark.slow, pytest.mark.timeout(400)]),
        pytest.param(10_000, 10, marks=[pytest.mark.long, pytest.mark.timeout(400)]),
    ],
)
async def test_a_parent_of_many_that_is_killed_on_the_way_goes_on_once_after_the_last(
    dsn: str, count: int, kills: int
) -> None:
    async with m25.open(dsn) as m:
        record = await m.enqueue(trees.total, count)
        ended = trio.Event()

        async def kill_workers() -> None:
            for number in range(kills):
                if ended.is_set():
                    return
                async with worker(dsn, program="trees.py") as victim:
                    goal = count * (number + 1) // (kills + 1)
                    done = f"select count(*) >= {goal} from m25.job where queue_name = 'leaf'"
                    done += " and finished_at is not null"
                    await eventually(partial(_first, dsn, done), 120)
                    victim.process.kill()
            async with worker(dsn, program="trees.py"):
                await ended.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_workers)
            with trio.fail_after(300):
                final = await m.wait(trees.total, record.id)
            ended.set()
    assert final.output is not None
    assert final.output[0] == sum(range(count))
    succeeded, last = await _only(
        dsn,
        "select count(distinct id), extract(epoch from max(finished_at))::float8"
        " from m25.job where queue_name = 'leaf' and status = 'succeeded'",
    )
    assert succeeded == count
    # A killed worker can leave no leaf behind and still hold the parent: the parent then waits
    # for its takeover, however long ago the last leaf ended.
    taken_over = await _first(
        dsn,
        "select extract(epoch from max(reserved_at))::float8 from m25.job where queue_name = 'sum'",
    )
    late = final.output[1] - max(last, taken_over)
    print(f"went on {late * 1000:.0f} ms after the last of {count}")
    assert late < 30


async def _only(dsn: str, statement: str, **parameters: Any) -> tuple[Any, ...]:
    (row,) = await rows(dsn, statement, **parameters)
    return tuple(row.values())


async def _first(dsn: str, statement: str, **parameters: Any) -> Any:
    return (await _only(dsn, statement, **parameters))[0]


@pytest.mark.parametrize(
    ("widths", "processes"),
    [([5, 4], 2), pytest.param([10, 10, 9], 4, marks=pytest.mark.long)],
)
async def test_the_cancel_of_a_root_ends_all_below_it_in_every_process_and_the_root_last(
    dsn: str, widths: list[int], processes: int
) -> None:
    count, level = 1, 1
    for width in widths:
        level *= width
        count += level
    async with AsyncExitStack() as stack:
        for _ in range(processes):
            await stack.enter_async_context(worker(dsn, program="trees.py"))
        m = await stack.enter_async_context(m25.open(dsn))
        root = await m.enqueue(trees.node, widths)
        running = f"select count(*) = {count} from m25.job where status = 'executing'"
        await eventually(lambda: _first(dsn, running), 120)
        await m.cancel_job(trees.node, root.id, running=True, wait=True)
    left, took, is_last = await _only(
        dsn,
        # Where a process stood still, a job of its was lost, and run again before the cancel.
        "select count(*) filter (where cancelled_at is null"
        " and failure_reason is distinct from 'heartbeat_timeout') as left,"
        " extract(epoch from max(cancelled_at) - min(cancel_requested_at))::float8 as took,"
        " max(cancelled_at) = max(cancelled_at) filter (where parent_id is null) as is_last"
        " from m25.job",
    )
    print(f"{count} jobs ended within {took * 1000:.0f} ms")
    assert (left, is_last) == (0, True)
    assert took < 30


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(1, marks=pytest.mark.slow),
        *(pytest.param(n, marks=pytest.mark.long) for n in range(50)),
    ],
)
async def test_nothing_live_is_left_below_what_was_cancelled_at_random(dsn: str, seed: int) -> None:
    """A tree of depth five, cancelled somewhere while it grows; a worker is killed at random."""
    rng = random.Random(seed)
    widths = [rng.randint(1, 3) for _ in range(5)]
    async with (
        worker(dsn, program="trees.py") as victim,
        worker(dsn, program="trees.py"),
        m25.open(dsn) as m,
    ):
        root = await m.enqueue(trees.node, widths)
        await trio.sleep(rng.uniform(0, 0.5))
        if rng.random() < 0.5:
            victim.process.kill()
        live = await rows(dsn, "select id from m25.job where status in ('pending', 'executing')")
        id = m25.JobId(rng.choice(live)["id"])
        await m.cancel_job(trees.node, id, running=True)
        assert await _first(dsn, LEFT_BELOW, id=id.value) == 0
        # What was in the hands of a process that is gone takes until it is taken over.
        with suppress(m25.JobCancelError):  # it has ended, if it was the one, or failed by it
            await m.cancel_job(trees.node, root.id, running=True, wait=True)
        await eventually(lambda: _first(dsn, NONE_LIVE), 60)
