"""Waits between tries: they double, they end at the longest, and they differ."""

from __future__ import annotations

import random
from itertools import pairwise

from m25.pg._backoff import Backoff


def waits(failures: int, rng: random.Random) -> list[float]:
    backoff = Backoff(first=0.1, longest=2.5, rng=rng)
    return [backoff.failed() for _ in range(failures)]


def test_waits_double_up_to_the_longest_and_are_spread_over_their_upper_half() -> None:
    rng = random.Random(25)
    series = [waits(8, rng) for _ in range(300)]
    for full, same_try in zip(
        [0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5, 2.5], zip(*series, strict=True), strict=True
    ):
        assert full / 2 <= min(same_try) < full * 0.6
        assert full * 0.9 < max(same_try) <= full


def test_a_wait_after_any_number_of_failures_is_a_wait() -> None:
    assert all(1.25 <= wait <= 2.5 for wait in waits(3_000, random.Random(25))[5:])


def test_after_a_try_that_worked_the_next_failure_is_the_first_again() -> None:
    backoff = Backoff(first=0.1, longest=2.5, rng=random.Random(25))
    for _ in range(10):
        backoff.failed()
    backoff.worked()
    assert backoff.failures == 0
    assert backoff.failed() <= 0.1


def test_the_waits_of_those_who_failed_together_differ() -> None:
    fifth = sorted(waits(5, random.Random(seed))[-1] for seed in range(100))
    assert max(after - before for before, after in pairwise(fifth)) < 0.1
    assert len(set(fifth)) == 100
