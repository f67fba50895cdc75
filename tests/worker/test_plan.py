"""What the managers decide, without a database: plain functions over plain values."""

from __future__ import annotations

import random

import attrs
import pytest

from m25._worker.plan import (
    FREE_OUTCOMES,
    LARGEST_CLAIM,
    claim_size,
    next_survey,
    overdue,
    stale,
)

RNG = random.Random(25)


@attrs.frozen
class Beating:
    misses: int = 0
    must_end_by: float = 0.0


@pytest.mark.parametrize(
    ("max_concurrency", "running", "unwritten", "size"),
    [
        (10, 0, 0, 10),
        (10, 4, 0, 6),
        (10, 10, 0, 0),
        # A queue whose slots are all taken by handlers that do not end.
        (10, 12, 0, 0),
        # What waits to be written takes no slots, up to a point.
        (10, 0, 10, 10),
        (10, 0, FREE_OUTCOMES, 10),
        (10, 0, FREE_OUTCOMES + 4, 6),
        (10, 0, FREE_OUTCOMES + 10, 0),
        (10, 0, 10**6, 0),
        # Half of many, so that two claims take turns; of fewer all.
        (100, 0, 0, 100),
        (180, 0, 0, 100),
        (400, 0, 0, 200),
        (400, 200, 0, 200),
        (400, 390, 0, 10),
        (100_000, 0, 0, LARGEST_CLAIM),
        (100_000, 99_999, 0, 1),
        (1, 0, 0, 1),
    ],
)
def test_a_claim_takes_the_free_slots_and_no_more_than_is_quick(
    max_concurrency: int, running: int, unwritten: int, size: int
) -> None:
    assert claim_size(max_concurrency=max_concurrency, running=running, unwritten=unwritten) == size


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_an_executor_is_stale_after_more_misses_than_allowed(allowed: int) -> None:
    executors = [Beating(misses=misses) for misses in range(6)]
    assert stale(executors, allowed) == executors[allowed + 1 :]


def test_an_executor_is_overdue_once_its_grace_is_over() -> None:
    executors = [Beating(must_end_by=deadline) for deadline in (7.0, 8.0, 9.0, float("inf"))]
    assert overdue(executors, now=10.0, grace=2.0) == executors[:1]
    assert overdue(executors, now=7.0, grace=0.0) == []


def test_the_next_survey_comes_with_the_next_poll() -> None:
    times = [next_survey(now=100, poll_interval=5, due_in=[], rng=RNG) for _ in range(200)]
    assert 104.5 <= min(times) < max(times) <= 105


def test_the_next_survey_comes_sooner_where_a_job_falls_due() -> None:
    assert next_survey(now=100, poll_interval=5, due_in=[80.0, 1.5, 3.0], rng=RNG) == 101.5
    # What is due already is being claimed, and is nothing to look for.
    assert next_survey(now=100, poll_interval=5, due_in=[0.0, -3.0], rng=RNG) >= 104.5
    assert next_survey(now=100, poll_interval=5, due_in=[86_400.0], rng=RNG) <= 105
