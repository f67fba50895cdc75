"""Many histories, on every processor: `python -m simulation.run [FIRST END]`."""

from __future__ import annotations

import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from .cluster import simulate


def history(seed: int) -> tuple[int, list[str], dict[str, int]]:
    found = simulate(seed)
    return seed, found.problems, found.faults


def main() -> int:
    first, end = map(int, sys.argv[1:]) if len(sys.argv) == 3 else (0, 20_000)
    began = time.perf_counter()
    broken: dict[int, list[str]] = {}
    counts: Counter[str] = Counter()
    with ProcessPoolExecutor() as pool:
        for seed, problems, counted in pool.map(history, range(first, end), chunksize=20):
            counts.update(counted)
            if problems:
                broken[seed] = problems
                print(f"seed {seed}: {problems}", flush=True)
    minutes = (time.perf_counter() - began) / 60
    print(f"{end - first} histories in {minutes:.1f} minutes, seeds {first} to {end - 1}")
    print(", ".join(f"{what} × {count}" for what, count in sorted(counts.items())))
    print(f"{len(broken)} with violations")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
