"""In simulated clusters no job fails by a rolling deploy, whoever is killed meanwhile."""

from __future__ import annotations

import pytest

from .deploys import NEW, OLD, simulate_deploy


def broken(seeds: range) -> dict[int, list[str]]:
    """What was not kept, by seed."""
    return {seed: found for seed in seeds if (found := simulate_deploy(seed).problems)}


def test_in_a_simulated_cluster_no_job_fails_by_a_rolling_deploy() -> None:
    assert broken(range(3)) == {}


@pytest.mark.long
def test_in_many_simulated_clusters_no_job_fails_by_a_rolling_deploy() -> None:
    assert broken(range(3, 200)) == {}


def test_the_faults_are_there_and_jobs_are_left_to_newer_workers() -> None:
    history = simulate_deploy(3)
    assert history.faults.total()
    assert history.left > 5
    assert history.runs[OLD]
    assert history.runs[NEW]
