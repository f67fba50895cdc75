"""18.2: what m25, PgQueuer and DBOS use of a limit over all processes, in turns on one server:
`python -m benchmarks.peers.limited [--quick]`.

Four processes of each run jobs of 20 ms, of which no more than five may run at once. How many did
is counted as `benchmarks/limits.py` does, from what the handlers write when they begin and end.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Final

import psycopg

from .. import databases, report
from ..limits import LIMIT, TAKES, crew, limited, most_at_once, rate
from .__main__ import install

#: How many jobs there are for each second: more than may run.
_EACH_SECOND: Final = LIMIT / TAKES
#: How long all processes have to be at work once the first one is, in seconds.
_WARM_UP: Final = 6.0

Handler = Callable[[int], Awaitable[None]]


def handler_of(log: str) -> Handler:
    """What the peers' handlers do: as that of m25."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def handle(number: int) -> None:
        os.write(file, f"begins {number} {time.monotonic():.6f}\n".encode())
        await asyncio.sleep(TAKES)
        os.write(file, f"ends {number} {time.monotonic():.6f}\n".encode())

    return handle


def measure(name: str, dsn: str, seconds: float) -> dict[str, float]:
    """The part that one of them uses of what is allowed, and how many ran at once at the most."""
    if name == "m25":
        return limited(dsn, seconds)
    peer = importlib.import_module(f"benchmarks.peers._{name}")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(peer.RESET)
    asyncio.run(peer.fill(dsn, int((seconds + _WARM_UP) * _EACH_SECOND)))
    with crew(dsn, name, 4, "benchmarks.peers.limited") as processes:
        processes.wait_until_begun()
        time.sleep(_WARM_UP)
        began = time.monotonic()
        time.sleep(seconds)
        ended = time.monotonic()
    return {
        "used": rate(processes.times, began, ended) / _EACH_SECOND,
        "most at once": most_at_once(processes.times),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.peers.limited", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="for a shorter time, once")
    arguments = parser.parse_args()
    seconds, runs = (5.0, 1) if arguments.quick else (10.0, 3)
    names = ("m25", "pgqueuer", "dbos")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with databases.server() as dsn:
        addresses = {"m25": dsn, **{name: install(dsn, name) for name in names[1:]}}
        for _ in range(runs):
            for name in names:
                found[name].append(measure(name, addresses[name], seconds))
        used = {name: statistics.median(run["used"] for run in found[name]) for name in names}
        most = {name: max(run["most at once"] for run in found[name]) for name in names}
        report.show(
            f"limit {LIMIT}, jobs of {TAKES * 1000:g} ms, 4 processes, {seconds:g} s"
            f" (median of {runs})",
            [
                ("", "of what is allowed", "most at once"),
                *(
                    (f"{name} {version(name)}", f"{used[name]:.1%}", f"{most[name]}")
                    for name in names
                ),
            ],
        )
        verdicts = [
            report.at_least("18.2", "used of what a limit of 5 allows", used["m25"], 0.9),
            report.at_most("18.2", "most at once", most["m25"], LIMIT),
        ]
        report.show_verdicts(verdicts)
        report.write("peers-limited", dsn, found, verdicts)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        _, address, log_file, peer_name = sys.argv
        peer_module = importlib.import_module(f"benchmarks.peers._{peer_name}")
        asyncio.run(peer_module.run_limited(address, handler_of(log_file), LIMIT))
    else:
        main()
