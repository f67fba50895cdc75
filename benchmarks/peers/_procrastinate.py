"""Procrastinate: finished jobs stay in the table, and so do their events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any, TypeVar

import procrastinate
import uvloop

NAME = "Procrastinate"
VERSION = version("procrastinate")
KEEPS = "every row, and its events"
RESET = "truncate procrastinate_jobs cascade"
FINISHED = "select count(*) from procrastinate_jobs where status = 'succeeded'"
VACUUM = "vacuum analyze procrastinate_jobs"

_CHUNK = 1_000

T = TypeVar("T")


def _app(dsn: str, received: Callable[[float], None]) -> tuple[procrastinate.App, Any]:
    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=dsn, min_size=4, max_size=20)
    )

    @app.task(name="bench", queue="bench")
    async def task(to: str, number: float) -> None:  # noqa: ARG001 - what is sent
        received(number)

    return app, task


def run(function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    return uvloop.run(function(*arguments))


async def install(dsn: str) -> None:
    app, _ = _app(dsn, lambda _: None)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def fill(dsn: str, jobs: int) -> None:
    app, task = _app(dsn, lambda _: None)
    async with app.open_async():
        for start in range(0, jobs, _CHUNK):
            await task.batch_defer_async(
                *(
                    {"to": "ada@home", "number": float(number)}
                    for number in range(start, min(jobs, start + _CHUNK))
                )
            )


async def work(
    dsn: str, concurrency: int, received: Callable[[float], None], done: Callable[[], bool]
) -> None:
    app, _ = _app(dsn, received)
    async with app.open_async():
        worker = asyncio.create_task(
            app.run_worker_async(
                queues=["bench"], concurrency=concurrency, install_signal_handlers=False
            )
        )
        while not done():
            await asyncio.sleep(0.005)
        worker.cancel()
        await asyncio.wait([worker])


async def put(dsn: str, jobs: int, pause: Callable[[int], float]) -> None:
    app, task = _app(dsn, lambda _: None)
    async with app.open_async():
        for number in range(jobs):
            await asyncio.sleep(pause(number))
            await task.defer_async(to="ada@home", number=time.monotonic())
