"""Draw the pictures of docs/performance.md from what the benchmarks have written.

    python tools/pictures.py

It needs `benchmarks/results/peers.json` and `tables.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COLOURS = ("#0b6e4f", "#d1495b", "#00798c", "#edae49")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 320, 60, 40, 50


def read(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())["figures"]


def bars(title: str, groups: Sequence[str], series: dict[str, Sequence[float]], unit: str) -> str:
    """Groups of bars, a bar for each of the series."""
    highest = max(max(values) for values in series.values())
    room = (WIDTH - LEFT) / len(groups)
    wide = room * 0.8 / len(series)
    scale = (HEIGHT - TOP - BOTTOM) / highest
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        '<g font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="14">{title}</text>',
    ]
    base = HEIGHT - BOTTOM
    for number, group in enumerate(groups):
        x = LEFT + number * room
        middle = x + room * 0.4
        parts.append(f'<text x="{middle:.0f}" y="{base + 16}" text-anchor="middle">{group}</text>')
        for which, values in enumerate(series.values()):
            high = values[number] * scale
            at = x + which * wide
            parts.append(
                f'<rect x="{at:.1f}" y="{base - high:.1f}" width="{wide * 0.9:.1f}"'
                f' height="{high:.1f}" fill="{COLOURS[which]}"/>'
            )
            parts.append(
                f'<text x="{at + wide * 0.45:.1f}" y="{base - high - 4:.1f}" text-anchor="middle"'
                f' font-size="10">{values[number]:,.{0 if highest > 100 else 2}f}</text>'
            )
    for which, name in enumerate(series):
        x = LEFT + which * 140
        parts.append(
            f'<rect x="{x}" y="{HEIGHT - 20}" width="10" height="10" fill="{COLOURS[which]}"/>'
        )
        parts.append(f'<text x="{x + 15}" y="{HEIGHT - 11}">{name}</text>')
    parts.append(f'<text x="8" y="{TOP}" >{unit}</text></g></svg>')
    return "\n".join(parts) + "\n"


def main() -> None:
    peers = read("peers")["drain"]
    limits = list(next(iter(peers.values())))
    docs = ROOT / "docs"
    (docs / "drain.svg").write_text(
        bars(
            "A backlog drained by one process, by the limit of jobs at once",
            [f"{limit} at once" for limit in limits],
            {name: [rates[limit] for limit in limits] for name, rates in peers.items()},
            "jobs/s",
        )
    )
    tables = read("tables")
    backlog = tables["backlog"]
    (docs / "backlog.svg").write_text(
        bars(
            "The first 20,000 jobs of a backlog, one process, by its length",
            list(backlog),
            {"m25": list(backlog.values())},
            "jobs/s",
        )
    )
    costs = tables["claim_ms"]
    (docs / "claim.svg").write_text(
        bars(
            "Claiming one job, by what else is in the table",
            list(costs),
            {"m25": list(costs.values())},
            "ms",
        )
    )


if __name__ == "__main__":
    main()
