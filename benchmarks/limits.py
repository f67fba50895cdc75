"""Limits over the cluster: how much of what is allowed is used, and whether ever more runs.

Each handler writes into a file when it begins and when it ends, by the machine's own clock; a
process that is killed has ended all of its handlers. From that the most are counted that ran at
once.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import attrs
import psycopg
import trio

import m25

from . import databases, report
from .workers import wait_until_finished

QUEUE = "limited"
#: How long a handler takes, in seconds, and how many may run at once.
TAKES, LIMIT = 0.02, 5
#: In seconds: after how long a job of a worker that was killed can be taken for lost, and how long
#: it takes at most until that is looked at.
LEASE, LOOK = 4.0, 1.0
#: How many may begin in a second.
RATE = 50
#: The queues of which it is measured how fast they run many jobs of many customers.
DRAINED = ("plain", "by key", "rated by key", "in order")


@attrs.frozen
class Order:
    customer: int
    number: int


async def work(dsn: str, log: str, kind: str) -> None:
    """A worker, until it is asked to end."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(what: str, order: Order) -> None:
        os.write(file, f"{what} {order.number} {time.monotonic():.6f}\n".encode())

    @m25.queue(QUEUE, limit=m25.Limit(LIMIT), heartbeat_interval=1, allowed_heartbeat_misses=3)
    async def limited(order: Order) -> None:
        note("begins", order)
        await trio.sleep(TAKES)
        note("ends", order)

    @m25.queue(QUEUE, limit=m25.Limit(1, key="customer"), max_concurrency=100)
    async def by_key(order: Order) -> None: ...

    @m25.queue(QUEUE, ordered_by="customer", max_concurrency=100)
    async def in_order(order: Order) -> None: ...

    @m25.queue(QUEUE, rate=m25.Rate(RATE))
    async def rated(order: Order) -> None: ...

    @m25.queue(QUEUE, rate=m25.Rate(1_000, key="customer"), max_concurrency=100)
    async def rated_by_key(order: Order) -> None: ...

    @m25.queue(QUEUE, max_concurrency=100)
    async def plain(order: Order) -> None: ...

    async with m25.open(dsn, shutdown_grace=1) as m:
        kinds = {
            "limited": limited,
            "by key": by_key,
            "rated": rated,
            "rated by key": rated_by_key,
            "in order": in_order,
            "plain": plain,
        }
        m.add_queue(kinds[kind])
        await m.start()
        await m25.until_signal()


class Crew:
    """Worker processes, each with the file that its handlers write into.

    Args:
        dsn: the database.
        kind: what they run.
        directory: for the files.
        module: the program; it is given the database, its file, and the kind.
    """

    def __init__(self, dsn: str, kind: str, directory: Path, module: str) -> None:
        self._dsn, self._kind, self._directory, self._module = dsn, kind, directory, module
        self._running: dict[Path, subprocess.Popen[bytes]] = {}
        #: When those that were killed were, by the machine's clock.
        self._killed: dict[Path, float] = {}
        #: When all others had ended.
        self._stopped_at = 0.0
        #: When a handler began, as +1, and when one ended, as -1; in order.
        self.times: list[tuple[float, int]] = []

    def start(self) -> None:
        """Start one more."""
        log = self._directory / f"{len(self._running) + len(self._killed)}"
        command = [sys.executable, "-m", self._module, self._dsn, str(log), self._kind]
        self._running[log] = subprocess.Popen(command)

    def wait_until_begun(self) -> None:
        """Wait until a handler has begun in any of them."""
        while not any(log.exists() and log.stat().st_size for log in self._running):
            time.sleep(0.05)

    @property
    def last_killed_at(self) -> float:
        """When the latest of them was killed, by the machine's clock."""
        return max(self._killed.values())

    def kill(self, rng: random.Random) -> None:
        """Kill any of them, and start another."""
        log = rng.choice(list(self._running))
        process = self._running.pop(log)
        process.kill()
        process.wait()
        self._killed[log] = time.monotonic()
        self.start()

    def stop(self) -> None:
        """Have all end in an orderly way."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.wait(60)
        self._stopped_at = time.monotonic()

    def read(self) -> None:
        """Read what their handlers have written."""
        found: list[tuple[float, int]] = []
        for log in (*self._running, *self._killed):
            running: set[str] = set()
            for line in log.read_text().splitlines() if log.exists() else ():
                what, number, at = line.split()
                (running.add if what == "begins" else running.discard)(number)
                found.append((float(at), 1 if what == "begins" else -1))
            found += [(self._killed.get(log, self._stopped_at), -1) for _ in running]
        self.times = sorted(found)


@contextmanager
def crew(dsn: str, kind: str, count: int, module: str = "benchmarks.limits") -> Generator[Crew]:
    """So many processes at work, until the block is left."""
    with tempfile.TemporaryDirectory() as directory:
        found = Crew(dsn, kind, Path(directory), module)
        for _ in range(count):
            found.start()
        try:
            yield found
            found.stop()
            found.read()
        finally:
            found.stop()


def most_at_once(times: list[tuple[float, int]]) -> int:
    """How many handlers ran at once, at the most."""
    running = most = 0
    for _, change in times:
        running += change
        most = max(most, running)
    return most


def rate(times: list[tuple[float, int]], began: float, ended: float) -> float:
    """How many handlers ended in a second, in this time."""
    return sum(change < 0 and began <= at < ended for at, change in times) / (ended - began)


def until_full(times: list[tuple[float, int]], since: float, full: float) -> float:
    """How many seconds pass until as many handlers end in a second as are `full`, but for a
    twentieth; infinity where that never is.
    """
    steps = (since + tenth / 10 for tenth in range(int(10 * (times[-1][0] - since - 1))))
    return next(
        (at - since for at in steps if rate(times, at, at + 1) >= 0.95 * full), float("inf")
    )


def fill(dsn: str, jobs: int, customers: int = 1, *, in_order: bool = False) -> None:
    """Put so many jobs on the queue, of so many customers in turn.

    With `in_order` they have the places that programs give them which know the queue.
    """
    databases.fill(dsn, QUEUE, jobs)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "update m25.job set input = jsonb_build_object("
            " 'customer', (input ->> 'number')::int %% %s, 'number', input -> 'number')",
            [customers],
        )
        if in_order:
            connection.execute(
                "update m25.job set order_key = input ->> 'customer',"
                " order_number = (input -> 'number')::bigint"
            )
        connection.execute("vacuum full m25.job")
        connection.execute("vacuum analyze m25.job")
        connection.execute("checkpoint")


def limited(dsn: str, seconds: float, *, kills: int = 0) -> dict[str, float]:
    """Run jobs under a limit in four processes, some of which are killed in between."""
    rng = random.Random(25)
    fill(dsn, int((seconds + 60 + 3 * kills) * LIMIT / TAKES))
    with crew(dsn, "limited", 4) as processes:
        # All of them are at work by then.
        wait_until_finished(dsn, 1)
        time.sleep(6)
        for _ in range(kills):
            processes.kill(rng)
            time.sleep(rng.uniform(0.5, 3))
        # By now, whoever was killed last has been taken over from.
        time.sleep(12 if kills else 0)
        began = time.monotonic()
        time.sleep(seconds)
        ended = time.monotonic()
    full = rate(processes.times, began, ended)
    found = {"used": full / (LIMIT / TAKES), "most at once": most_at_once(processes.times)}
    if kills:
        found["full again"] = until_full(processes.times, processes.last_killed_at, full)
    return found


def rated(dsn: str, seconds: float) -> dict[str, float]:
    """Run jobs by a rate in three processes; by the database's clock, how much of it is used, and
    how many began in any one second at the most.
    """
    fill(dsn, int((seconds + 30) * RATE))
    with crew(dsn, "rated", 3):
        wait_until_finished(dsn, 1)
        time.sleep(6 + seconds)
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select extract(epoch from started_at)::float8 from m25.job"
            " where started_at is not null order by 1"
        ).fetchall()
    times = [at for (at,) in rows]
    end = times[0] + 6 + seconds
    return {
        "used": sum(end - seconds <= at < end for at in times) / (seconds * RATE),
        "most in a second": max(
            bisect_left(times, at + 1) - first for first, at in enumerate(times)
        ),
    }


def drain(dsn: str, kind: str, jobs: int, customers: int) -> float:
    """Run so many no-op jobs of so many customers in one process; return how many a second."""
    fill(dsn, jobs, customers, in_order=kind == "in order")
    with crew(dsn, kind, 1):
        wait_until_finished(dsn, 1)
        began = time.perf_counter()
        wait_until_finished(dsn, jobs)
        return jobs / (time.perf_counter() - began)


def main(*, quick: bool = False) -> list[report.Verdict]:
    seconds, jobs, kills, runs = (5, 10_000, 5, 1) if quick else (30, 100_000, 20, 3)
    customers = jobs // 10
    with databases.server() as dsn:
        alone = [limited(dsn, seconds) for _ in range(runs)]
        killed = limited(dsn, seconds, kills=kills)
        by_rate = rated(dsn, 2 * seconds)
        drains = [
            {kind: drain(dsn, kind, jobs, customers) for kind in DRAINED} for _ in range(runs)
        ]
        used, rates = report.medians(alone)["used"], report.medians(drains)
        most = max(each["most at once"] for each in (*alone, killed))
        report.show(
            f"limits: {LIMIT} at once, jobs of {TAKES * 1000:g} ms, 4 processes, {seconds} s",
            [
                ("", "of what is allowed", "most at once", "full again after, s"),
                ("left alone", f"{used:.1%}", f"{max(each['most at once'] for each in alone)}", ""),
                (
                    f"after {kills} kills",
                    f"{killed['used']:.1%}",
                    f"{killed['most at once']}",
                    f"{killed['full again']:.1f}",
                ),
            ],
        )
        report.show(
            f"limits: {RATE} may begin in a second, burst 1, 3 processes, {2 * seconds} s",
            [
                ("of what is allowed", "most in a second"),
                (f"{by_rate['used']:.1%}", f"{by_rate['most in a second']}"),
            ],
        )
        report.show(
            f"limits: drain of {jobs:,} no-op jobs of {customers:,} customers",
            [("queue", "jobs/s"), *((name, f"{figure:,.0f}") for name, figure in rates.items())],
        )
        verdicts = [
            report.at_least("18.2", "used of what a limit of 5 allows", used, 0.9),
            report.at_least("18.2", "the same after kills", killed["used"], 0.9),
            report.at_most("18.2", "most at once", most, LIMIT),
            report.at_most(
                "18.2", "seconds to the full rate again", killed["full again"], LEASE + LOOK
            ),
            report.at_least("18.3", "used of a rate of 50/s", by_rate["used"], 0.98),
            report.at_most("18.3", "most in a second", by_rate["most in a second"], RATE + 1),
            *(
                report.at_least(part, f"{kind} ÷ plain drain", rates[kind] / rates["plain"], 0.3)
                for part, kind in (
                    ("18.2", "by key"),
                    ("18.3", "rated by key"),
                    ("18.4", "in order"),
                )
            ),
        ]
        runs_found = {"alone": alone, "killed": killed, "rated": by_rate, "drains": drains}
        report.write("limits", dsn, runs_found, verdicts)
    return verdicts


if __name__ == "__main__":
    trio.run(work, *sys.argv[1:4])
