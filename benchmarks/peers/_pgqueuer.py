"""PgQueuer: finished jobs are deleted; a row of its log stays of each, without the payload."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from importlib.metadata import version
from typing import Any, TypeVar

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

NAME = "PgQueuer"
VERSION = version("pgqueuer")
KEEPS = "a line in a log; the row is deleted"
RESET = "truncate pgqueuer, pgqueuer_log"
FINISHED = "select count(*) from pgqueuer_log where status = 'successful'"
VACUUM = "vacuum analyze pgqueuer"

_CHUNK = 1_000

T = TypeVar("T")


def run(function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    return uvloop.run(function(*arguments))


async def install(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


async def fill(dsn: str, jobs: int) -> None:
    connection = await asyncpg.connect(dsn)
    queries = Queries(AsyncpgDriver(connection))
    for start in range(0, jobs, _CHUNK):
        numbers = range(start, min(jobs, start + _CHUNK))
        await queries.enqueue(
            ["bench"] * len(numbers),
            [json.dumps({"to": "ada@home", "number": float(n)}).encode() for n in numbers],
            [0] * len(numbers),
        )
    await connection.close()


async def work(
    dsn: str, concurrency: int, received: Callable[[float], None], done: Callable[[], bool]
) -> None:
    connection = await asyncpg.connect(dsn)
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("bench")
    async def handler(job: Job) -> None:
        assert job.payload is not None
        received(json.loads(job.payload)["number"])

    # Its log is only folded into statistics, which nobody asks for here.
    worker = asyncio.create_task(
        pgq.run(batch_size=concurrency, log_aggregation_interval=timedelta(0))
    )
    while not done():
        await asyncio.sleep(0.005)
    pgq.shutdown.set()
    await asyncio.wait([worker], timeout=5)
    await connection.close()


async def put(dsn: str, jobs: int, pause: Callable[[int], float]) -> None:
    connection = await asyncpg.connect(dsn)
    queries = Queries(AsyncpgDriver(connection))
    for number in range(jobs):
        await asyncio.sleep(pause(number))
        payload = json.dumps({"to": "ada@home", "number": time.monotonic()}).encode()
        await queries.enqueue("bench", payload)
    await connection.close()


async def run_limited(dsn: str, handle: Callable[[int], Awaitable[None]], limit: int) -> None:
    """Run jobs, no more than `limit` at once in all processes together, until the process ends."""
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect(dsn)))

    @pgq.entrypoint("bench", concurrency_limit=limit)
    async def limited(job: Job) -> None:
        assert job.payload is not None
        await handle(int(json.loads(job.payload)["number"]))

    await pgq.run()
