"""Simulated trees of jobs: they end as trees of functions do, and leave nothing behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from .trees import simulate_tree


def _broken(seeds: Iterable[int], *, cancels: bool) -> dict[int, list[str]]:
    found = {seed: simulate_tree(seed, cancels=cancels).problems for seed in seeds}
    return {seed: problems for seed, problems in found.items() if problems}


def test_trees_of_jobs_end_as_trees_of_functions_do_whoever_is_killed() -> None:
    histories = [simulate_tree(seed, cancels=False) for seed in range(4)]
    assert [history.problems for history in histories if history.problems] == []
    # Trees have succeeded and failed, and their workers were killed.
    assert {history.as_functions for history in histories} == {"succeeded", "failed"}
    faults = sum((history.faults for history in histories), Counter[str]())
    assert faults.keys() == {"kill", "freeze", "stop"}
    assert max(history.succeeded for history in histories) > 10


def test_nothing_is_left_below_what_was_cancelled_or_has_ended() -> None:
    assert _broken(range(3), cancels=True) == {}


@pytest.mark.long
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("cancels", [False, True])
def test_many_trees_do(cancels: bool) -> None:
    assert _broken(range(100, 600), cancels=cancels) == {}
