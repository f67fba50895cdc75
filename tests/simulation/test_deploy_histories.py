"""In simulated clusters no job fails by a rolling deploy, whoever is killed meanwhile."""

from __future__ import annotations

import pytest

from .deploys import NEW, OLD, simulate_deploy


def test_in_a_simulated_cluster_no_job_fails_by_a_rolling_deploy() -> None:
    histories = [simulate_deploy(seed) for seed in range(2)]
    assert [history.problems for history in histories] == [[], []]
    # Each has had its faults, jobs that were left to newer workers, and workers of both versions.
    assert all(history.faults.total() and history.left > 5 for history in histories)
    assert all(history.runs[OLD] and history.runs[NEW] for history in histories)


@pytest.mark.long
def test_in_many_simulated_clusters_no_job_fails_by_a_rolling_deploy() -> None:
    broken = {seed: found for seed in range(2, 200) if (found := simulate_deploy(seed).problems)}
    assert broken == {}
