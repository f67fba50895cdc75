"""What a torture did to its victims, what that led to, and what was found."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs

from m25._store.protocol import JobRow

from .journal import Entry
from .program import LEASE, POLL_INTERVAL

#: Faults that all members have to bear, the machine's own among them.
_OF_ALL = frozenset({"storm", "crash", "restart", "standstill"})
#: Within so many seconds the jobs of a process that died are running again (promise 8), and what a
#: busy machine adds.
TAKEN_OVER = LEASE + POLL_INTERVAL + 1 + 10


@attrs.define(eq=False)
class Findings:
    """All that is known once a torture is over."""

    seed: int
    directory: Path
    injected: Counter[str] = attrs.field(factory=Counter)
    #: Seconds from the end of a fault of the server's until a job succeeded.
    recoveries: list[float] = attrs.field(factory=list)
    problems: list[str] = attrs.field(factory=list)
    rows: list[JobRow] = attrs.field(factory=list)
    journal: list[Entry] = attrs.field(factory=list)

    def text(self) -> str:
        first = sum(row.previous_attempt_id is None for row in self.rows)
        lost = sum(row.failure_reason == "heartbeat_timeout" for row in self.rows)
        retried = len(self.rows) - first
        takeovers = list(taking_over(self.rows, self.journal))
        calm = [seconds for seconds, was_calm in takeovers if was_calm]
        injected = ", ".join(f"{name} × {number}" for name, number in sorted(self.injected.items()))
        to_all = spread([seconds for seconds, _ in takeovers])
        lines = [
            f"seed {self.seed}: {first:,} jobs, {len(self.rows):,} attempts",
            f"injected: {injected}",
            f"led to: {lost} attempts lost, {retried} retried, {self._late()} late writes refused",
            f"the server back, to the next success, s: {spread(self.recoveries)}",
            f"a worker killed, to its jobs being free for others, s: {to_all}",
            f"the same, while the server was well: {spread(calm)}",
            f"violations: {len(self.problems)}",
            *self.problems[:20],
        ]
        return "\n".join(lines)

    def _late(self) -> int:
        """How many writes came too late and were refused, as the workers' logs tell."""
        return sum(
            line.split(" ", 3)[-1].startswith(("late result dropped", "claim lost"))
            for path in self.directory.glob("*.log")
            for line in path.read_text().splitlines()
        )


def taking_over(rows: list[JobRow], journal: list[Entry]) -> Iterator[tuple[float, bool]]:
    """From each kill until an attempt that it cut short was ended for it, in seconds.

    Each with whether the server was well until then, or for as long as that may take.
    """
    killed = {entry["worker"]: entry.at for entry in journal if entry.event == "killed"}
    ended = {entry["run"] for entry in journal if entry.event == "ended"}
    unwell = [
        (entry["began"], entry.at)
        for entry in journal
        if entry.event == "fault" and entry["name"] in _OF_ALL
    ]
    cut_short = {
        entry["job"]: killed[entry.process]
        for entry in journal
        if entry.event == "began" and entry.process in killed and entry["run"] not in ended
    }
    for row in rows:
        if row.id in cut_short and row.finished_at and row.failure_reason == "heartbeat_timeout":
            at = cut_short[row.id]
            was_calm = not any(began < at + TAKEN_OVER and at < end for began, end in unwell)
            yield float(row.finished_at) - at, was_calm


def spread(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return f"{len(seconds)} times: {seconds}"
    cuts = statistics.quantiles(seconds, n=100)
    return (
        f"{len(seconds)} times, p50 {cuts[49]:.2f}, p99 {cuts[98]:.2f}, longest {max(seconds):.2f}"
    )
