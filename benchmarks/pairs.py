"""P3 to P6, and P11: this checkout beside another revision.

    python -m benchmarks pairs --against REVISION

Both do the same work on one server, in turns: each in processes of its own (`driver.py`, with the
revision's own `src`), in databases that its own migrations made. A pair is one run of each, one
right after the other, so that what else the machine does falls on both; who is first alternates.
Rates and latencies are judged by the median of the pairs' ratios. Processor times are judged by the
ratio of both sides' minima: what else the machine does only ever adds to them.

Each run has a database of its own, copied from one with the jobs already in it, and begins after a
checkpoint: full-page images are part of its WAL, on both sides in the same way. No checkpoint and
no vacuum comes in between. Commits are those of the run's database until its last connection has
closed. Statements are counted where the server has pg_stat_statements loaded (`M25_BENCH_DSN`); the
embedded server does not bring it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import attrs

from . import databases, report, revision
from .revision import Scenario, Side

SETTINGS = {**databases.SETTINGS, "autovacuum": "off", "checkpoint_timeout": "1d"}

SCENARIOS = (
    Scenario("drain", "drain", 1, ("succeeded",), "enqueue_many"),
    Scenario("drain, 20 at once", "drain_20_at_once", 1, ("succeeded",), "enqueue_many"),
    Scenario("drain, with setup=", "drain_with_setup", 0.25, ("succeeded",), "enqueue_many"),
    Scenario(
        "drain, each fails once",
        "drain_failing_once",
        0.25,
        ("succeeded", "failed"),
        "fill_for_two_attempts",
    ),
    Scenario("enqueue, one by one", "enqueue", 0.1, ("pending",)),
    Scenario("enqueue, 100 tasks", "enqueue_from_tasks", 1, ("pending",)),
    Scenario("enqueue_many", "enqueue_many", 1, ("pending",)),
)
LATENCY = "enqueue to handler"

#: What is wanted of a drain beside the build of 2026-11-26: row, scenario, figure, judge, goal.
WANTED = (
    ("P3", "drain", "rate", report.at_least, 2.0),
    ("P5", "drain", "processor time", report.at_most, 0.5),
    ("P6", "drain, 20 at once", "rate", report.at_least, 2.5),
)


@attrs.frozen
class Figure:
    """A kind of figure, and how it is judged."""

    unit: str
    judge: Callable[[str, str, float, float], report.Verdict] = report.at_most
    #: What this checkout's ÷ the other's is held against, if it is.
    goal: float | None = None
    #: Whether the ratio of both sides' minima is judged, and not the median of the pairs' ratios.
    by_minima: bool = False


FIGURES = {
    "rate": Figure("jobs/s", report.at_least, 0.95),
    "processor time": Figure("µs/job", goal=1.05, by_minima=True),
    "WAL": Figure("B/job", goal=1.01),
    # How many jobs share a commit is a matter of time, too.
    "commits": Figure("/job", goal=1.02),
    "statements": Figure("/job", goal=1.02),
    "p50": Figure("ms", goal=1.05),
    # Few jobs are beyond it, and those met something else that the machine did.
    "p99": Figure("ms"),
}


@attrs.frozen
class Comparison:
    """One figure of a scenario, of both sides in each pair."""

    scenario: str
    name: str
    this: list[float]
    other: list[float]

    @property
    def figure(self) -> Figure:
        return FIGURES[self.name]

    @property
    def ratios(self) -> list[float]:
        return [this / other for this, other in zip(self.this, self.other, strict=True)]

    @property
    def judged(self) -> float:
        """The ratio that counts."""
        if self.figure.by_minima:
            return min(self.this) / min(self.other)
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> report.Verdict | None:
        if self.figure.goal is None:
            return None
        return self.figure.judge(f"P11, {self.scenario}", self.name, self.judged, self.figure.goal)

    def row(self) -> tuple[str, ...]:
        typical = min if self.figure.by_minima else statistics.median
        return (
            f"{self.scenario}: {self.name}",
            *(f"{typical(figures):,.5g}" for figures in (self.this, self.other)),
            self.figure.unit,
            *(f"{found(self.ratios):.3f}" for found in (statistics.median, min, max)),
            f"{self.judged:.3f}",
            *((self.verdict.goal, report.word(self.verdict)) if self.verdict else ("", "")),
        )


HEAD = ("", "this", "other", "", "median", "min", "max", "judged", "goal", "")


def prepare(side: Side, jobs: int) -> None:
    """Make the databases that those of the runs are copied from."""
    side.migrate()
    fills = {(each.fill, each.jobs(jobs)) for each in SCENARIOS if each.fill is not None}
    for fill, number in sorted(fills):
        side.fill(fill, number)


def measure(this: Side, other: Side, pairs: int, jobs: int, asked: int) -> list[Comparison]:
    """Run every scenario on both sides, as many times as there are pairs."""
    found: dict[tuple[str, str], dict[Side, list[float]]] = {}
    for number in range(pairs):
        # Nobody is always the first.
        turns = (this, other) if number % 2 == 0 else (other, this)
        for scenario in SCENARIOS:
            for side in turns:
                for name, figure in side.run(scenario, scenario.jobs(jobs)).items():
                    both = found.setdefault((scenario.name, name), {this: [], other: []})
                    both[side].append(figure)
        for side in turns:
            for name, figure in side.latency(asked).items():
                found.setdefault((LATENCY, name), {this: [], other: []})[side].append(figure)
        print(f"pair {number + 1} of {pairs} is done", flush=True)
    return [
        Comparison(scenario, name, both[this], both[other])
        for (scenario, name), both in found.items()
    ]


def show(comparisons: Sequence[Comparison], title: str) -> None:
    report.show(title, [HEAD, *(each.row() for each in comparisons)])
    print("\nthis, other: medians, but minima of processor time; median, min, max: of the ratios")
    if not any(each.name == "statements" for each in comparisons):
        print("statements: not available, for the server has no pg_stat_statements loaded")


def main(
    against: str, *, pairs: int | None = None, jobs: int | None = None, quick: bool = False
) -> list[report.Verdict]:
    pairs = pairs or (2 if quick else 10)
    jobs = jobs or (5_000 if quick else 20_000)
    asked = 50 if quick else 150
    names = revision.describe(), revision.describe(against)
    with (
        revision.source_of(against) as source,
        databases.server(SETTINGS) as dsn,
        ExitStack() as stack,
    ):
        counting = revision.counts_statements(dsn)
        this = Side("this", revision.ROOT / "src", dsn, counting)
        other = Side("other", source, dsn, counting)
        for side in (this, other):
            stack.callback(side.drop_databases)
            prepare(side, jobs)
        comparisons = measure(this, other, pairs, jobs, asked)
        title = f"P11: this checkout ({names[0]}) ÷ {names[1]}, {pairs} pairs, {jobs:,} jobs"
        show(comparisons, title)
        figures = {
            "revisions": dict(zip(("this", "other"), names, strict=True)),
            "jobs": jobs,
            "comparisons": [attrs.asdict(each) for each in comparisons],
        }
        verdicts = [each.verdict for each in comparisons if each.verdict is not None]
        found = {(each.scenario, each.name): each for each in comparisons}
        wal = statistics.median(found["drain", "WAL"].this)
        wanted = [
            *(
                judge(row, f"{scenario}: {name} ÷ {names[1]}", found[scenario, name].judged, goal)
                for row, scenario, name, judge, goal in WANTED
            ),
            report.at_most("P4", "drain: WAL, B a job", wal, 700),
        ]
        report.write("pairs", dsn, figures, [*wanted, *verdicts])
    # The table has the others already.
    return wanted
