"""Many histories, on every processor: `python -m simulation.run [FIRST END]`.

Of those that break a promise the first few are shrunk, each to a line that runs the smallest
history which still does: `python -m simulation.run --seed 65 --jobs 2 --workers 1 --faults freeze`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from .cluster import simulate
from .limits import FAULTS, MOST_JOBS, MOST_WORKERS, Limits
from .shrinking import shrink

#: How many are shrunk: each takes many histories, and one cause breaks many.
_SHRUNK = 3


def history(seed: int) -> tuple[int, list[str], dict[str, int]]:
    found = simulate(seed)
    return seed, found.problems, {**found.faults, "claimed ahead": found.claimed_ahead}


def run_one(seed: int, limits: Limits) -> int:
    problems = simulate(seed, limits).problems
    print("\n".join(problems) or "no violations")
    return bool(problems)


def run_many(first: int, end: int) -> int:
    began = time.perf_counter()
    broken: list[int] = []
    counts: Counter[str] = Counter()
    with ProcessPoolExecutor() as pool:
        for seed, problems, counted in pool.map(history, range(first, end), chunksize=20):
            counts.update(counted)
            if problems:
                broken.append(seed)
                print(f"seed {seed}: {problems}", flush=True)
    minutes = (time.perf_counter() - began) / 60
    print(f"{end - first} histories in {minutes:.1f} minutes, seeds {first} to {end - 1}")
    print(", ".join(f"{what} × {count}" for what, count in sorted(counts.items())))
    print(f"{len(broken)} with violations", flush=True)
    for seed in broken[:_SHRUNK]:
        print(line(seed, shrink(seed)), flush=True)
    return bool(broken)


def line(seed: int, limits: Limits) -> str:
    """What to type in order to run this history."""
    faults = " ".join(fault for fault in FAULTS if fault in limits.faults)
    return (
        f"python -m simulation.run --seed {seed}"
        f" --jobs {limits.jobs} --workers {limits.workers} --faults {faults}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="simulation.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", nargs="?", type=int, default=0, help="the first seed")
    parser.add_argument("end", nargs="?", type=int, default=20_000, help="after the last one")
    parser.add_argument("--seed", type=int, help="run this history alone, within the limits")
    parser.add_argument("--jobs", type=int, default=MOST_JOBS, help="at most so many")
    parser.add_argument("--workers", type=int, default=MOST_WORKERS, help="at most so many")
    parser.add_argument(
        "--faults", nargs="*", choices=FAULTS, default=FAULTS, help="no others happen"
    )
    given = parser.parse_args(arguments)
    if given.seed is None:
        return run_many(given.first, given.end)
    return run_one(given.seed, Limits(frozenset(given.faults), given.jobs, given.workers))


if __name__ == "__main__":
    sys.exit(main())
