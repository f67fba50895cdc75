"""S1, S2: round trips of `m25.pg`, beside psycopg on asyncio, and sync psycopg in Trio's threads.

The four take turns in short slices, so that what else the machine does falls on all of them; a
ratio is the median of those of the slices. Beside it is the ratio of the processor time that a
query costs this process, which does not depend on who else is busy. In threads a query is either
one call (execute and fetch together, the kindest to threads) or two, as in code that has each call
of psycopg's done there.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import psycopg
import trio

from m25 import embedded, pg

from . import databases, report

QUERIES = {
    "small": "select 1",
    "10,000 rows": "select i, 'row number ' || i from generate_series(1, 10000) as i",
}
CONNECTIONS = (1, 10, 50)


@attrs.frozen
class Slice:
    """What was done in a slice of time."""

    queries: int
    seconds: float
    processor_seconds: float

    @property
    def rate(self) -> float:
        return self.queries / self.seconds

    @property
    def cost(self) -> float:
        """Processor time of a query in this process, in microseconds."""
        return self.processor_seconds / self.queries * 1e6


class Meter:
    """Counts queries, from when all connections are open until the time is over."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.queries = 0

    def start(self) -> None:
        self._began, self._processor = time.perf_counter(), time.process_time()
        self._until = self._began + self._seconds

    def goes_on(self) -> bool:
        self.queries += 1
        return time.perf_counter() < self._until

    def stop(self) -> Slice:
        return Slice(
            self.queries,
            time.perf_counter() - self._began,
            time.process_time() - self._processor,
        )


async def ask(cursor: psycopg.AsyncCursor[Any], query: str, meter: Meter) -> None:
    while True:
        await cursor.execute(query)
        await cursor.fetchall()
        if not meter.goes_on():
            return


def on_trio(dsn: str, query: str, connections: int, seconds: float) -> Slice:
    async def run() -> Slice:
        meter = Meter(seconds)
        opened = [
            await pg.AsyncConnection.connect(dsn, autocommit=True) for _ in range(connections)
        ]
        meter.start()
        async with trio.open_nursery() as nursery:
            for connection in opened:
                nursery.start_soon(ask, connection.cursor(), query, meter)
        found = meter.stop()
        for connection in opened:
            await connection.close()
        return found

    return trio.run(run)


def on_asyncio(dsn: str, query: str, connections: int, seconds: float) -> Slice:
    async def run() -> Slice:
        meter = Meter(seconds)
        opened = [
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) for _ in range(connections)
        ]
        meter.start()
        await asyncio.gather(*(ask(each.cursor(), query, meter) for each in opened))
        found = meter.stop()
        for connection in opened:
            await connection.close()
        return found

    return asyncio.run(run())


def in_threads(
    ask_once: Callable[[psycopg.Cursor[Any], str, trio.CapacityLimiter], Awaitable[None]],
) -> Callable[[str, str, int, float], Slice]:
    def in_these_threads(dsn: str, query: str, connections: int, seconds: float) -> Slice:
        async def repeat(
            cursor: psycopg.Cursor[Any], limiter: trio.CapacityLimiter, meter: Meter
        ) -> None:
            while True:
                await ask_once(cursor, query, limiter)
                if not meter.goes_on():
                    return

        async def run() -> Slice:
            meter = Meter(seconds)
            # A thread for each connection: none has to wait for one.
            limiter = trio.CapacityLimiter(connections)
            opened = [psycopg.connect(dsn, autocommit=True) for _ in range(connections)]
            meter.start()
            async with trio.open_nursery() as nursery:
                for connection in opened:
                    nursery.start_soon(repeat, connection.cursor(), limiter, meter)
            found = meter.stop()
            for connection in opened:
                connection.close()
            return found

        return trio.run(run)

    return in_these_threads


async def in_one_call(
    cursor: psycopg.Cursor[Any], query: str, limiter: trio.CapacityLimiter
) -> None:
    def both() -> None:
        cursor.execute(query)  # type: ignore[call-overload]
        cursor.fetchall()

    await trio.to_thread.run_sync(both, limiter=limiter)


async def in_two_calls(
    cursor: psycopg.Cursor[Any], query: str, limiter: trio.CapacityLimiter
) -> None:
    await trio.to_thread.run_sync(cursor.execute, query, limiter=limiter)
    await trio.to_thread.run_sync(cursor.fetchall, limiter=limiter)


RUNNERS = {
    "m25.pg": on_trio,
    "asyncio": on_asyncio,
    "threads": in_threads(in_one_call),
    "threads, 2 calls": in_threads(in_two_calls),
}


def compare(
    dsn: str, query: str, connections: int, slices: int, seconds: float
) -> dict[str, dict[str, float]]:
    """What each does in a slice, and ours ÷ each, slice by slice."""
    found: dict[str, list[Slice]] = {name: [] for name in RUNNERS}
    for number in range(slices):
        names = list(RUNNERS)
        # Nobody is always the first, or after the same one.
        for name in names[number % len(names) :] + names[: number % len(names)]:
            found[name].append(RUNNERS[name](dsn, query, connections, seconds))
    ours = found["m25.pg"]
    return {
        name: {
            "rate": statistics.median(each.rate for each in theirs),
            "cost_us": statistics.median(each.cost for each in theirs),
            "ours_by_rate": statistics.median(
                a.rate / b.rate for a, b in zip(ours, theirs, strict=True)
            ),
            "ours_by_cost": statistics.median(
                b.cost / a.cost for a, b in zip(ours, theirs, strict=True)
            ),
        }
        for name, theirs in found.items()
    }


def main(*, quick: bool = False) -> list[report.Verdict]:
    slices, seconds = (3, 0.2) if quick else (12, 0.5)
    with embedded.postgres_sync(settings=databases.SETTINGS) as dsn:
        figures: dict[str, dict[str, dict[str, float]]] = {}
        rows = [("", "round trips/s", "m25.pg ÷ it", "µs/query", "its µs ÷ m25.pg's")]
        for kind, query in QUERIES.items():
            for connections in CONNECTIONS:
                title = f"{kind}, {connections} connection{'s' if connections > 1 else ''}"
                figures[title] = compare(dsn, query, connections, slices, seconds)
                rows += [
                    (
                        f"{title}: {name}",
                        f"{one['rate']:,.0f}",
                        f"{one['ours_by_rate']:.2f}",
                        f"{one['cost_us']:,.0f}",
                        f"{one['ours_by_cost']:.2f}",
                    )
                    for name, one in figures[title].items()
                ]
        report.show(f"S1, S2: round trips ({slices} slices of {seconds} s each)", rows)
        ten, one = figures["small, 10 connections"], figures["small, 1 connection"]
        verdicts = [
            report.at_least(
                "S1", "10 connections ÷ psycopg on asyncio", ten["asyncio"]["ours_by_rate"], 1.1
            ),
            report.at_least(
                "S1", "1 connection ÷ psycopg on asyncio", one["asyncio"]["ours_by_rate"], 0.9
            ),
            report.at_least(
                "P9", "1 connection ÷ psycopg on asyncio", one["asyncio"]["ours_by_rate"], 1.0
            ),
            report.at_least(
                "S2", "10 connections ÷ psycopg in threads", ten["threads"]["ours_by_rate"], 3
            ),
        ]
        report.write("pg", dsn, figures, verdicts)
    return verdicts
