"""A process of a benchmark with peers: `python -m benchmarks.peers._program PEER COMMAND DSN …`."""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

import psycopg

ALL = ("m25", "graphile", "pgqueuer", "oban", "procrastinate")


def load(name: str) -> Any:
    """The module that knows a peer."""
    return importlib.import_module(f"benchmarks.peers._{name}")


def drain(peer: Any, dsn: str, jobs: int, concurrency: int) -> float:
    """Seconds from when the worker begins until the database says that all have finished.

    What a worker took to be read, where it is another program and says so, is left out.
    """
    left, ended = jobs, 0.0

    def received(_: float) -> None:
        nonlocal left
        left -= 1

    with psycopg.connect(dsn, autocommit=True) as connection:

        def done() -> bool:
            nonlocal ended
            # Once the last has been received, results are on their way.
            if left > 0 or _first(connection, peer.FINISHED) < jobs:
                return False
            ended = time.perf_counter()
            return True

        began = time.perf_counter()
        reading = peer.run(peer.work, dsn, concurrency, received, done) or 0.0
    assert left == 0, f"{-left} jobs were run twice"
    return ended - began - reading


def listen(peer: Any, dsn: str, jobs: int) -> list[float]:
    """How long each of so many jobs was on its way, in seconds."""
    found: list[float] = []
    print("ready", flush=True)
    peer.run(
        peer.work,
        dsn,
        10,
        # One clock for all processes of a machine.
        lambda sent_at: found.append(time.monotonic() - sent_at),
        lambda: len(found) >= jobs,
    )
    return found


def put(peer: Any, dsn: str, jobs: int) -> None:
    """Enqueue one by one: a worker is idle again before the next, and in step with nothing."""
    peer.run(peer.put, dsn, jobs, lambda number: 0.02 + 0.001 * (number % 17))


def _first(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()  # type: ignore[call-overload]
    return row[0]


def main() -> None:
    name, command, dsn, *numbers = sys.argv[1:]
    peer = load(name)
    if command in ("install", "fill"):
        peer.run(getattr(peer, command), dsn, *map(int, numbers))
    else:
        print(json.dumps(globals()[command](peer, dsn, *map(int, numbers))))


if __name__ == "__main__":
    main()
