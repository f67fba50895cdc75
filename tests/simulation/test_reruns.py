"""In simulated clusters no put of a job that is run again is lost, and no two of a key wait."""

from __future__ import annotations

import pytest

from .reruns import simulate_reruns


def broken(seeds: range) -> dict[int, list[str]]:
    """What was not kept, by seed."""
    return {seed: found for seed in seeds if (found := simulate_reruns(seed).problems)}


def test_in_a_simulated_cluster_no_put_is_lost() -> None:
    assert broken(range(4)) == {}


@pytest.mark.long
def test_in_many_simulated_clusters_no_put_is_lost() -> None:
    assert broken(range(4, 200)) == {}


def test_the_faults_are_there_and_jobs_are_replaced_and_followed() -> None:
    history = simulate_reruns(3)
    assert history.faults.total()
    assert set(history.outcomes) == {"new", "replaced", "rerun"}
