"""Simulated clusters keep what was promised; a failing seed is printed, and can be run again:

python -m pytest tests/simulation --seeds 65:66
"""

from __future__ import annotations

import os

import pytest

from .checker import Run, violations
from .cluster import simulate


def test_a_simulated_cluster_keeps_every_promise() -> None:
    first, _, end = os.environ.get("M25_SEEDS", "0:60").partition(":")
    seeds = range(int(first), int(end))
    broken = {seed: found for seed in seeds if (found := simulate(seed).problems)}
    assert broken == {}


def test_a_seed_is_one_history() -> None:
    first, second = simulate(7), simulate(7)
    assert [(run.attempt, run.began) for run in first.runs] == [
        (run.attempt, run.began) for run in second.runs
    ]
    assert [row.status for row in first.store.rows()] == [row.status for row in second.store.rows()]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("status", "executing", "2: "),
        ("output", '"99"', "3: "),
        ("previous_attempt_id", "00000000-0000-0000-0000-000000000000", "4: "),
        ("attempt", 2, "4: "),
    ],
)
def test_the_checker_finds_a_doctored_row(column: str, value: object, expected: str) -> None:
    history = simulate(0)
    rows = history.store.rows()
    at = next(n for n, row in enumerate(rows) if row.status == "succeeded" and row.attempt == 1)
    rows[at] = rows[at]._replace(**{column: value})
    found = violations(rows, history.runs, history.acknowledged, history.cancelled)
    assert any(problem.startswith(expected) for problem in found)


def test_the_checker_finds_a_lost_job_and_an_early_start() -> None:
    history = simulate(0)
    assert violations(history.store.rows(), history.runs, {"gone"}, set())[0].startswith("1: ")
    run = history.runs[0]
    early = Run(run.number, run.job_id, run.attempt, "", run.run_at, run.run_at, run.ended)
    early.began = run.run_at.replace(year=run.run_at.year - 1)
    found = violations(history.store.rows(), [early, *history.runs[1:]], set(), set())
    assert any(problem.startswith("7: ") for problem in found)
