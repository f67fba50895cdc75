"""In simulated clusters each tick of a schedule has one job."""

from __future__ import annotations

import pytest

from .schedules import SCHEDULES, simulate_schedules


def broken(seeds: range) -> dict[int, list[str]]:
    """What was not kept, by seed."""
    return {seed: found for seed in seeds if (found := simulate_schedules(seed).problems)}


def test_in_a_simulated_cluster_each_tick_has_one_job() -> None:
    assert broken(range(2)) == {}


@pytest.mark.long
def test_in_many_simulated_clusters_each_tick_has_one_job() -> None:
    assert broken(range(2, 100)) == {}


def test_the_faults_are_there_and_schedules_tick() -> None:
    history = simulate_schedules(3)
    assert history.faults.total()
    assert all(len(history.numbers(name)) > 5 for name in SCHEDULES)
