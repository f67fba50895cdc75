"""S3 and S8: m25 beside its peers: `python -m benchmarks.peers [--quick]`.

They take turns on one server, each in a database of its own, with the same jobs: a payload of two
fields, a handler that counts. Each keeps of a finished job what it keeps when used as its documents
say; the table tells what that is. Each is run with several limits of concurrency, and judged by its
best. A peer that needs what this machine has not is left out, and that is said.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import psycopg
from psycopg.conninfo import make_conninfo

from .. import databases, report
from ._program import ALL, load

CONCURRENCIES = (20, 100, 500)
#: The peers that keep history.
KEEPING = ("oban", "procrastinate")
#: Who takes so long that fewer jobs have to tell.
_SLOW = {"procrastinate": 10, "oban": 4}


def program(name: str, command: str, dsn: str, *numbers: int) -> list[str]:
    return [
        *(sys.executable, "-m", "benchmarks.peers._program"),
        *(name, command, dsn, *map(str, numbers)),
    ]


def run(name: str, command: str, dsn: str, *numbers: int) -> str:
    done = subprocess.run(
        program(name, command, dsn, *numbers), stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def install(dsn: str, name: str) -> str:
    """A database for a peer, and how to reach it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"create database bench_{name}")  # type: ignore[arg-type]
    # asyncpg reads URLs alone.
    parts = psycopg.conninfo.conninfo_to_dict(make_conninfo(dsn, dbname=f"bench_{name}"))
    password = f":{parts['password']}" if "password" in parts else ""
    own = (
        f"postgresql://{parts.get('user', '')}{password}@/{parts['dbname']}"
        f"?host={parts['host']}&port={parts.get('port', 5432)}"
    )
    run(name, "install", own)
    return own


def reset(dsn: str, name: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(load(name).RESET)


def settle(dsn: str, name: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(load(name).VACUUM)
        connection.execute("checkpoint")


def drain(dsn: str, name: str, jobs: int, concurrency: int) -> float:
    """Jobs a second, of a backlog, in one process."""
    reset(dsn, name)
    run(name, "fill", dsn, jobs)
    settle(dsn, name)
    return jobs / json.loads(run(name, "drain", dsn, jobs, concurrency))


def latency(dsn: str, name: str, jobs: int) -> dict[str, float]:
    """Percentiles in milliseconds, from before the enqueue to the handler, of an idle worker."""
    reset(dsn, name)
    command = program(name, "listen", dsn, jobs)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        # Some say nothing once they listen.
        time.sleep(2)
        run(name, "put", dsn, jobs)
        found = json.loads(worker.stdout.readline())
    return report.percentiles(found)


def present(names: Sequence[str]) -> list[str]:
    """Those whose programs are on this machine; of the others it is said why they are left out."""
    found: list[str] = []
    for name in names:
        try:
            load(name)
        except ModuleNotFoundError as missing:
            print(f"{name} IS LEFT OUT: {missing}", flush=True)
        else:
            found.append(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer jobs and runs, rougher figures")
    parser.add_argument("--peers", nargs="+", choices=ALL[1:], default=ALL[1:], help="no others")
    parser.add_argument("--at", nargs="+", type=int, default=CONCURRENCIES, help="jobs at once")
    parser.add_argument("--jobs", type=int, metavar="N", help="of a drain (default: 50000)")
    arguments = parser.parse_args()
    peers = present(["m25", *arguments.peers])
    asked, runs = (100, 1) if arguments.quick else (300, 3)
    jobs = arguments.jobs or (10_000 if arguments.quick else 50_000)
    with databases.server() as dsn:
        addresses = {name: install(dsn, name) for name in peers}
        drains: dict[str, dict[int, list[float]]] = {
            name: {each: [] for each in arguments.at} for name in peers
        }
        latencies: dict[str, list[dict[str, float]]] = {name: [] for name in peers}
        for turn in range(runs):
            # Nobody is always the first, or after the same one.
            names = [*peers[turn % len(peers) :], *peers[: turn % len(peers)]]
            for concurrency in arguments.at:
                for name in names:
                    rate = drain(addresses[name], name, jobs // _SLOW.get(name, 1), concurrency)
                    drains[name][concurrency].append(rate)
            for name in names:
                latencies[name].append(latency(addresses[name], name, asked))
        rates = {
            name: {each: statistics.median(found) for each, found in by.items()}
            for name, by in drains.items()
        }
        waits = {name: report.medians(found) for name, found in latencies.items()}
        verdicts = judge(rates, waits)
        show(rates, waits, jobs, runs)
        report.show_verdicts(verdicts)
        figures = {
            "versions": {name: load(name).VERSION for name in peers},
            "drain": rates,
            "latency_ms": waits,
        }
        report.write("peers", dsn, figures, verdicts)


def judge(
    rates: dict[str, dict[int, float]], waits: dict[str, dict[str, float]]
) -> list[report.Verdict]:
    best = {name: max(by.values()) for name, by in rates.items()}
    verdicts: list[report.Verdict] = []
    if "graphile" in rates:
        common = 100 if 100 in rates["m25"] else max(rates["m25"])
        ratio = rates["m25"][common] / rates["graphile"][common]
        what = f"drain at {common} ÷ graphile-worker, which deletes"
        verdicts.append(report.at_least("P1", what, ratio, 1.5))
    if "pgqueuer" in rates:
        # Of PgQueuer the best of its batches.
        ratio = best["m25"] / best["pgqueuer"]
        verdicts.append(report.at_least("P2", "drain ÷ PgQueuer, which deletes", ratio, 2.5))
    if keeping := [best[name] for name in KEEPING if name in best]:
        ratio = best["m25"] / max(keeping)
        what = "drain ÷ the fastest peer that keeps history"
        verdicts.append(report.at_least("S3", what, ratio, 1.3))
    others = [found for name, found in waits.items() if name != "m25"]
    for percentile in ("p50", "p99"):
        ratio = waits["m25"][percentile] / min(found[percentile] for found in others)
        what = f"enqueue to handler, {percentile} ÷ the best peer's"
        verdicts.append(report.at_most("S8", what, ratio, 0.8))
    return verdicts


def show(
    rates: dict[str, dict[int, float]],
    waits: dict[str, dict[str, float]],
    jobs: int,
    runs: int,
) -> None:
    report.show(
        f"m25 and its peers: drain of {jobs:,} jobs, and latency (median of {runs})",
        [
            (
                "",
                "keeps of a finished job",
                *(f"jobs/s at {each}" for each in rates["m25"]),
                "p50, ms",
                "p99, ms",
            ),
            *(
                (
                    f"{load(name).NAME} {load(name).VERSION}",
                    load(name).KEEPS,
                    *(f"{rate:,.0f}" for rate in by.values()),
                    f"{waits[name]['p50']:.2f}",
                    f"{waits[name]['p99']:.2f}",
                )
                for name, by in rates.items()
            ),
        ],
    )


if __name__ == "__main__":
    main()
