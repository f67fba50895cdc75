"""Simulated clusters keep what was promised; a failing seed is printed, and can be run again:

M25_SEEDS=65:66 python -m pytest tests/simulation

`nox -s simulation -- 65 66` looks for the smallest history of that seed which still fails.
"""

from __future__ import annotations

import os
import shlex
from types import SimpleNamespace

import attrs
import pytest

from m25._store.memory.rows import Row
from support.thorough import thorough, tries

from . import cluster, run, shrinking
from .checker import lock_violations, violations
from .cluster import History, simulate
from .hurry import is_hurried
from .limits import Limits
from .shrinking import shrink


def broken(seeds: range) -> dict[int, list[str]]:
    """What was not kept, by seed."""
    return {seed: found for seed in seeds if (found := simulate(seed).problems)}


def test_a_simulated_cluster_keeps_every_promise() -> None:
    first, _, end = os.environ.get("M25_SEEDS", "0:8").partition(":")
    assert broken(range(int(first), int(end))) == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(8, 293, 57))
def test_many_simulated_clusters_keep_every_promise(first: int) -> None:
    assert broken(range(first, first + 57)) == {}


@pytest.mark.timeout(600)
def test_in_every_third_history_workers_claim_ahead_of_their_slots() -> None:
    hurried = [seed for seed in range(300) if is_hurried(seed)]
    assert len(hurried) > 80
    histories = [simulate(seed) for seed in hurried[: tries(40, 6)]]
    assert [history.problems for history in histories if history.problems] == []
    assert sum(history.claimed_ahead > 0 for history in histories) > 0.6 * len(histories)
    assert sum(history.claimed_ahead for history in histories) > 5 * len(histories)


def test_a_seed_is_one_history() -> None:
    first, second = simulate(7), simulate(7)
    assert [(run.attempt, run.began) for run in first.runs] == [
        (run.attempt, run.began) for run in second.runs
    ]
    assert [row.status for row in first.store.rows()] == [row.status for row in second.store.rows()]


def test_nothing_happens_beyond_the_limits() -> None:
    whole = simulate(7)
    assert len({run.process for run in whole.runs}) > 1
    assert whole.faults
    history = simulate(7, Limits(frozenset(), jobs=2, workers=1))
    enqueued = [row for row in history.store.rows() if row.queue_name in cluster.QUEUES]
    assert sum(row.attempt == 1 for row in enqueued) == 2
    assert {run.process for run in history.runs} == {"worker 0"}
    assert history.faults == {}
    assert history.problems == []


@thorough
@pytest.mark.timeout(600)
def test_rows_that_strangers_lock_cost_their_own_jobs_alone() -> None:
    locks = Limits(frozenset({"lock"}))
    histories = [simulate(seed, locks) for seed in range(tries(40, 6))]
    assert [history.problems for history in histories if history.problems] == []
    assert sum(history.faults.get("lock", 0) for history in histories) > 2.5 * len(histories)
    # Who was locked for longer than its lease may have been lost.
    assert any(
        row.failure_reason == "heartbeat_timeout"
        for history in histories
        for row in history.store.rows()
    )


def test_the_checker_finds_a_job_that_another_ones_lock_has_cost() -> None:
    history = simulate(0, Limits(frozenset()))
    rows = history.store.rows()
    assert lock_violations(rows, history.runs, set()) == []
    run = next(run for run in history.runs if run.returned)
    at = next(n for n, row in enumerate(rows) if row.id == run.job_id)
    assert rows[at].finished_at is not None
    late = [*rows]
    late[at] = late[at]._replace(finished_at=str(float(rows[at].finished_at) + 2))
    assert lock_violations(late, history.runs, set())[0].startswith("10: ")
    assert lock_violations(late, history.runs, {run.job_id}) == []
    lost = [*rows]
    lost[at] = lost[at]._replace(failure_reason="heartbeat_timeout")
    assert lock_violations(lost, history.runs, set())[0].startswith("10: ")


def test_what_fails_is_shrunk_to_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_if_killed(seed: int, limits: Limits = Limits()) -> SimpleNamespace:  # noqa: B008
        fails = "kill" in limits.faults and limits.jobs >= 3
        return SimpleNamespace(problems=["2: not ended"] if fails else [])

    monkeypatch.setattr(shrinking, "simulate", fails_if_killed)
    assert shrink(25) == Limits(frozenset({"kill"}), jobs=3, workers=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_history_that_fails_is_shrunk_to_a_line_that_runs_a_smaller_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nobody sees that a process is gone, so its jobs never end.
    monkeypatch.setattr(Row, "is_dead", lambda *_: False)
    monkeypatch.setattr(cluster, "PATIENCE", 30.0)
    seed, problems = next((n, found) for n in range(100) if (found := simulate(n).problems))
    assert problems[0].startswith("2: not ended")
    limits = shrink(seed)
    assert limits.faults < Limits().faults
    *_, module, rest = run.line(seed, limits).split(maxsplit=3)
    assert module == "simulation.run"
    assert run.main(shlex.split(rest)) == 1
    assert capsys.readouterr().out.startswith("2: not ended")


def test_a_history_that_keeps_every_promise_alone_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run.main(["--seed", "0", "--jobs", "1", "--faults"]) == 0
    assert capsys.readouterr().out == "no violations\n"


@pytest.fixture(scope="module")
def history() -> History:
    """A history that keeps every promise, for checks of what is changed in a copy of its rows."""
    return simulate(0)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("status", "executing", "2: "),
        ("output", '"99"', "3: "),
        ("previous_attempt_id", "00000000-0000-0000-0000-000000000000", "4: "),
        ("attempt", 2, "4: "),
        ("finished_at", None, "2: "),
    ],
)
def test_the_checker_finds_a_doctored_row(
    history: History, column: str, value: object, expected: str
) -> None:
    rows = history.store.rows()
    at = next(n for n, row in enumerate(rows) if row.status == "succeeded" and row.attempt == 1)
    rows[at] = rows[at]._replace(**{column: value})
    found = violations(
        rows, history.runs, history.acknowledged, history.cancelled, history.tokens()
    )
    assert any(problem.startswith(expected) for problem in found)


def test_the_checker_finds_a_lost_job_and_an_early_start(history: History) -> None:
    rows, tokens = history.store.rows(), history.tokens()
    assert violations(rows, history.runs, {"gone"}, set(), tokens)[0].startswith("1: ")
    run = history.runs[0]
    early = attrs.evolve(run, began=run.run_at.replace(year=run.run_at.year - 1))
    found = violations(rows, [early, *history.runs[1:]], set(), set(), tokens)
    assert any(problem.startswith("7: ") for problem in found)


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_the_checker_finds_what_a_run_wrote_that_had_lost_its_claim(
    history: History, status: str
) -> None:
    rows, tokens = history.store.rows(), history.tokens()
    written = next(
        row
        for row in rows
        if row.status == status and row.failure_reason in (None, "error", "crash")
    )
    tokens[written.id] = "another's"
    found = violations(rows, history.runs, history.acknowledged, history.cancelled, tokens)
    assert [problem.partition(" ")[0] for problem in found] == ["3:"]
