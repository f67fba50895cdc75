"""What a benchmark found: as a table on the screen, and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import psycopg

RESULTS = Path(__file__).with_name("results")


@attrs.frozen
class Verdict:
    """A figure beside its goal."""

    row: str
    what: str
    figure: float
    goal: str
    met: bool


def at_least(row: str, what: str, figure: float, goal: float) -> Verdict:
    """The verdict on a figure that is to be no less than its goal."""
    return Verdict(row, what, figure, f"≥ {goal:g}", figure >= goal)


def at_most(row: str, what: str, figure: float, goal: float) -> Verdict:
    """The verdict on a figure that is to be no more than its goal."""
    return Verdict(row, what, figure, f"≤ {goal:g}", figure <= goal)


def surroundings(dsn: str) -> dict[str, Any]:
    """What the figures were measured on."""
    with psycopg.connect(dsn) as connection:
        settings = {
            name: connection.execute("select current_setting(%s)", [name]).fetchone()[0]  # type: ignore[index]
            for name in ("server_version", "fsync", "synchronous_commit", "shared_buffers")
        }
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("trio", "psycopg", "cattrs")},
        "psycopg_impl": psycopg.pq.__impl__,
        **settings,
    }


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure over runs."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50 and p99, in milliseconds, of what took so many seconds. The first tenth warms up."""
    cuts = statistics.quantiles(seconds[len(seconds) // 10 :], n=100)
    return {"p50": cuts[49] * 1e3, "p99": cuts[98] * 1e3}


def show(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print a table; its first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"\n{title}")
    for number, row in enumerate(rows):
        cells = [
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def show_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Print which goals were met."""
    show(
        "goals",
        [
            ("", "goal", "figure", "verdict"),
            *(
                (f"{each.row}: {each.what}", each.goal, f"{each.figure:.2f}", word(each))
                for each in verdicts
            ),
        ],
    )


def word(verdict: Verdict) -> str:
    """Whether a goal was met, in a word."""
    return "met" if verdict.met else "missed"


def write(name: str, dsn: str, figures: Any, verdicts: Sequence[Verdict] = ()) -> None:
    """Keep the figures, with what they were measured on."""
    RESULTS.mkdir(exist_ok=True)
    found = {
        "benchmark": name,
        **surroundings(dsn),
        "verdicts": [attrs.asdict(each) for each in verdicts],
        "figures": figures,
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    on = {key: found[key] for key in ("processors", "python", "trio", "psycopg", "server_version")}
    print(f"\non {on}, fsync {found['fsync']}; written to {path.name}")
