"""DBOS: each job is a workflow, of which every row is kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions

NAME = "DBOS"
VERSION = version("dbos")
RESET = "truncate dbos.workflow_status cascade"

_QUEUE = "bench"
#: How often it looks for work, in seconds; unless it is told, once a second.
_POLLS = 0.02
#: All processes are of one version, or they do not run each other's jobs.
_VERSION = "bench"


def run(function: Callable[..., Awaitable[None]], *arguments: object) -> None:
    asyncio.run(function(*arguments))  # type: ignore[arg-type]


def _config(dsn: str) -> DBOSConfig:
    return {
        "name": "bench",
        "system_database_url": dsn,
        "application_version": _VERSION,
        # Each process needs one of its own.
        "executor_id": f"worker-{os.getpid()}",
        "log_level": "ERROR",
        "run_admin_server": False,
    }


async def install(dsn: str) -> None:
    DBOS(config=_config(dsn))
    DBOS.launch()
    DBOS.destroy()


async def fill(dsn: str, jobs: int) -> None:
    client = DBOSClient(system_database_url=dsn)
    options: EnqueueOptions = {
        "queue_name": _QUEUE,
        "workflow_name": "limited",
        "app_version": _VERSION,
        "application_name": "bench",
    }
    # Each is a transaction of its own.
    with ThreadPoolExecutor(8) as threads:
        for _ in threads.map(lambda number: client.enqueue(options, number), range(jobs)):
            pass
    client.destroy()


async def run_limited(dsn: str, handle: Callable[[int], Awaitable[None]], limit: int) -> None:
    """Run jobs, no more than `limit` at once in all processes together, until the process ends."""
    DBOS(config=_config(dsn))

    @DBOS.workflow(name="limited")
    async def limited(number: int) -> None:
        await handle(number)

    DBOS.launch()
    await DBOS.register_queue_async(_QUEUE, global_concurrency=limit, polling_interval_sec=_POLLS)
    await asyncio.Event().wait()
