"""In simulated clusters each job of a batch ends once, with the outcome that was told of it."""

from __future__ import annotations

import pytest

from .batches import SIZE, simulate_batches


def broken(seeds: range) -> dict[int, list[str]]:
    """What was not kept, by seed."""
    return {seed: found for seed in seeds if (found := simulate_batches(seed).problems)}


def test_in_a_simulated_cluster_each_job_of_a_batch_has_its_own_outcome() -> None:
    assert broken(range(3)) == {}


@pytest.mark.long
def test_in_many_simulated_clusters_each_job_of_a_batch_has_its_own_outcome() -> None:
    assert broken(range(3, 200)) == {}


def test_the_faults_are_there_and_batches_are_full_and_partial() -> None:
    history = simulate_batches(3)
    assert history.faults.total()
    assert history.sizes[SIZE] > 3
    assert len(history.sizes) > 1
