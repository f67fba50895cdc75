"""What a backoff and a wakeup promise."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from m25.pg._backoff import Backoff
from m25.pg._wakeup import Wakeup


def test_waits_double_up_to_the_longest_and_are_spread_over_their_upper_half() -> None:
    for seed in range(20):
        backoff = Backoff(0.1, 2.5, random.Random(seed))
        for full in (0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5):
            assert full / 2 <= backoff.failed() <= full


def test_what_has_worked_begins_anew() -> None:
    backoff = Backoff(0.1)
    for _ in range(5):
        backoff.failed()
    assert backoff.failures == 5
    backoff.worked()
    assert backoff.failures == 0
    assert backoff.failed() <= 0.1
    assert backoff.failures == 1


def test_a_wait_after_any_number_of_failures_is_a_wait() -> None:
    backoff = Backoff()
    for _ in range(5000):
        backoff.failed()
    assert 1.25 <= backoff.failed() <= 2.5


def test_the_same_seed_gives_the_same_waits_and_another_gives_others() -> None:
    def waits(seed: int) -> list[float]:
        backoff = Backoff(rng=random.Random(seed))
        return [backoff.failed() for _ in range(5)]

    assert waits(1) == waits(1)
    assert waits(1) != waits(2)


async def test_a_wakeup_that_was_set_before_is_not_waited_for_and_only_once() -> None:
    wakeup = Wakeup()
    wakeup.set()
    wakeup.set()
    with trio.fail_after(20):
        await wakeup.wait()
    with trio.move_on_after(0.01) as scope:
        await wakeup.wait()
    assert scope.cancelled_caught


async def test_a_wakeup_wakes_who_waits_each_time_it_is_set() -> None:
    wakeup = Wakeup()
    rounds = 0

    async def work() -> None:
        nonlocal rounds
        while True:
            await wakeup.wait()
            rounds += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        for expected in range(1, 4):
            wakeup.set()
            await trio.testing.wait_all_tasks_blocked()
            assert rounds == expected
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("set_before", [True, False])
async def test_a_cancelled_wait_loses_no_wakeup(set_before: bool) -> None:
    wakeup = Wakeup()
    if set_before:
        wakeup.set()
    with trio.CancelScope() as scope:
        scope.cancel()
        await wakeup.wait()
    wakeup.set()
    with trio.fail_after(20):
        await wakeup.wait()
