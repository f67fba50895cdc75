"""m25: finished jobs stay in the table, with what they returned."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import attrs
import trio

import m25
from m25 import migrations, pg

NAME = "m25"
VERSION = version("m25")
KEEPS = "every row, with its result"
RESET = "truncate m25.job"
FINISHED = "select count(*) from m25.job where status = 'succeeded'"
VACUUM = "vacuum analyze m25.job"

run = trio.run


@attrs.frozen
class Email:
    to: str
    number: float


def _queue(received: Callable[[float], None], concurrency: int) -> Any:
    @m25.queue("bench", max_concurrency=concurrency)
    async def handler(email: Email) -> None:
        received(email.number)

    return handler


async def install(dsn: str) -> None:
    async with await pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await migrations.apply(connection, "m25")


async def fill(dsn: str, jobs: int) -> None:
    queue = _queue(lambda _: None, 1)
    async with m25.open(dsn) as m:
        await m.enqueue_many(queue, (Email("ada@home", float(number)) for number in range(jobs)))


async def work(
    dsn: str, concurrency: int, received: Callable[[float], None], done: Callable[[], bool]
) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(_queue(received, concurrency))
        await m.start()
        while not done():
            await trio.sleep(0.005)


async def put(dsn: str, jobs: int, pause: Callable[[int], float]) -> None:
    queue = _queue(lambda _: None, 1)
    async with m25.open(dsn) as m:
        for number in range(jobs):
            await trio.sleep(pause(number))
            await m.enqueue(queue, Email("ada@home", time.monotonic()))
