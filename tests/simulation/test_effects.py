"""In simulated clusters, effects in transactions happen once, and steps are what they were."""

from __future__ import annotations

import pytest

from .effects import simulate_effects


def broken(seeds: range) -> dict[int, list[str]]:
    """What was not kept, by seed."""
    return {seed: found for seed in seeds if (found := simulate_effects(seed).problems())}


def test_in_a_simulated_cluster_effects_happen_once() -> None:
    assert broken(range(2)) == {}


@pytest.mark.long
def test_in_many_simulated_clusters_effects_happen_once() -> None:
    assert broken(range(2, 100)) == {}


def test_the_faults_are_there_and_the_work_is_done() -> None:
    history = simulate_effects(3)
    assert history.faults.total()
    assert history.table
    assert history.calls["draw"] > 0
