"""Oban for Python: finished jobs stay in the table until they are pruned, after a day."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any, TypeVar

import uvloop
from oban import Oban, worker
from oban.job import Job
from oban.schema import install as install_schema

NAME = "Oban"
VERSION = version("oban")
KEEPS = "every row, for a day"
RESET = "truncate oban_jobs"
FINISHED = "select count(*) from oban_jobs where state = 'completed'"
VACUUM = "vacuum analyze oban_jobs"

_CHUNK = 1_000

T = TypeVar("T")
_received: list[Callable[[float], None]] = []


@worker(queue="bench")
class Bench:
    async def process(self, job: Job) -> None:
        _received[-1](job.args["number"])


def run(function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    return uvloop.run(function(*arguments))


async def install(dsn: str) -> None:
    pool = await Oban.create_pool(dsn)
    await install_schema(pool)
    await pool.close()


async def fill(dsn: str, jobs: int) -> None:
    pool = await Oban.create_pool(dsn)
    oban = Oban(pool=pool)
    for start in range(0, jobs, _CHUNK):
        await oban.enqueue_many(
            Bench.new({"to": "ada@home", "number": float(number)})
            for number in range(start, min(jobs, start + _CHUNK))
        )
    await pool.close()


async def work(
    dsn: str, concurrency: int, received: Callable[[float], None], done: Callable[[], bool]
) -> None:
    _received.append(received)
    pool = await Oban.create_pool(dsn, min_size=4, max_size=20)
    async with Oban(pool=pool, queues={"bench": concurrency}):
        while not done():
            await asyncio.sleep(0.005)
    await pool.close()


async def put(dsn: str, jobs: int, pause: Callable[[int], float]) -> None:
    pool = await Oban.create_pool(dsn)
    oban = Oban(pool=pool)
    for number in range(jobs):
        await asyncio.sleep(pause(number))
        await oban.enqueue(Bench.new({"to": "ada@home", "number": time.monotonic()}))
    await pool.close()
