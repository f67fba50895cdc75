"""Workers of an exclusive queue, their links cut and held: no job has two handlers at once."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import pairwise

import pytest
import trio

import m25
from support.processes import Worker, worker
from support.programs import exclusive
from support.proxy import Proxy, proxied
from support.waiting import eventually, rows


async def trouble(proxies: list[Proxy], rng: random.Random) -> None:
    """Cut or hold one link after the other, for up to two leases; first the first, for more than
    one.
    """
    proxy, how, lasts = proxies[0], "hold", 1.5
    while True:
        await trio.sleep(rng.uniform(0.3, 0.5))
        match how:
            case "cut":
                await proxy.cut()
            case "refuse":
                proxy.refuses = True
                await proxy.cut()
            case "hold":
                proxy.hold()
            case "up":
                proxy.hold("up")
            case _:
                proxy.hold("down")
        await trio.sleep(lasts)
        proxy.refuses = False
        proxy.release()
        proxy = rng.choice(proxies)
        how = rng.choice(("cut", "refuse", "hold", "hold", "up", "down"))
        lasts = rng.uniform(0.1, 2.0)


def spans(workers: list[Worker]) -> dict[int, list[tuple[float, float]]]:
    """By job, when its handlers ran."""
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for each in workers:
        for line in each.printed:
            if line.startswith("ran "):
                _, number, began, ended = line.split()
                found[int(number)].append((float(began), float(ended)))
    return {number: sorted(runs) for number, runs in found.items()}


def stood_still(workers: list[Worker]) -> list[tuple[float, float]]:
    """When one of them stood still for longer than the margin: so it could end no handler."""
    lines = [line.split() for each in workers for line in each.printed]
    return [(float(line[1]), float(line[2])) for line in lines if line[0] == "still"]


def has_run_twice(*workers: Worker) -> bool:
    """Whether any job has."""
    return any(len(runs) > 1 for runs in spans([*workers]).values())


@pytest.mark.parametrize(
    ("jobs", "rounds"),
    [
        pytest.param(20, 1, marks=pytest.mark.slow),
        pytest.param(50, 20, marks=pytest.mark.long),
    ],
)
async def test_two_handlers_of_one_job_never_overlap(dsn: str, jobs: int, rounds: int) -> None:
    rng = random.Random(25)
    async with (
        proxied(dsn) as one,
        proxied(dsn) as other,
        worker(one.dsn, program="exclusive.py") as first,
        worker(other.dsn, program="exclusive.py") as second,
        m25.open(dsn) as m,
        trio.open_nursery() as nursery,
    ):
        for each in (first, second):
            await each.until_printed("ready")
        number = 0
        # The links are troubled at random: in brief, until a job has run twice.
        while number < rounds or not has_run_twice(first, second):
            assert number < max(rounds, 16)
            # In turns: whichever of them has the jobs, its link is held in the next round at last.
            proxies = [one, other] if number % 2 else [other, one]
            scope = await nursery.start(_troubled, proxies, rng)
            tasks = [
                exclusive.Task(number * jobs + each, rng.uniform(0.8, 1.6)) for each in range(jobs)
            ]
            await m.enqueue_many(exclusive.alone, tasks)
            await trio.sleep(2.2)
            scope.cancel()

            async def all_ended() -> bool:
                live = "select from m25.job where status not in ('succeeded', 'failed') limit 1"
                return not await rows(dsn, live)

            await eventually(all_ended, 60)
            number += 1
        (lost,) = await rows(dsn, "select count(*) from m25.job where status = 'failed'")
        # A handler has printed its line before its attempt has ended.
        runs, still = spans([first, second]), stood_still([first, second])
        nursery.cancel_scope.cancel()
    assert len(runs) == jobs * number
    twice = [each for each in runs.values() if len(each) > 1]
    print(f"{len(twice)} of {len(runs)} jobs ran more than once; {lost['count']} attempts lost")
    for number, each in runs.items():
        for (_, ended), (began, _) in pairwise(each):
            if not any(a <= began and ended <= b + exclusive.MARGIN for a, b in still):
                assert ended <= began, (number, each)


async def _troubled(
    proxies: list[Proxy], rng: random.Random, *, task_status: trio.TaskStatus[trio.CancelScope]
) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        try:
            await trouble(proxies, rng)
        finally:
            for proxy in proxies:
                proxy.refuses = False
                proxy.release()
