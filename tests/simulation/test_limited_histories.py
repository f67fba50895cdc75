"""In simulated clusters no more jobs run at once than a limit allows, and each of them ends."""

from __future__ import annotations

import pytest

from .places import simulate_places


def broken(seeds: range) -> dict[int, list[str]]:
    """What was not kept, by seed."""
    return {seed: found for seed in seeds if (found := simulate_places(seed).problems)}


def test_in_a_simulated_cluster_no_job_runs_beyond_a_limit() -> None:
    assert broken(range(2)) == {}


@pytest.mark.long
def test_in_many_simulated_clusters_no_job_runs_beyond_a_limit() -> None:
    assert broken(range(2, 200)) == {}


def test_the_faults_are_there_and_places_are_passed_on() -> None:
    history = simulate_places(4)
    assert history.faults.total()
    assert history.passed_on > 3
    assert history.behind > 5
    assert min(history.held[what] for what in ("gpu", "a")) > 3
