"""Handlers of every kind: with a client that all jobs share, computing, blocking."""

import hashlib
import sys
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

import m25


class Weather:
    """A client of some service, which is costly to open."""

    async def ask(self, city: str) -> str:
        await trio.lowlevel.checkpoint()
        return f"{city}: rain"


@asynccontextmanager
async def weather() -> AsyncGenerator[Weather]:
    print("opened once")
    yield Weather()
    print("closed once")


@m25.queue("forecasts", lifespan=weather)
async def forecasts(city: str, *, shared: Weather) -> str:
    return await shared.ask(city)


@m25.queue("hashes", runs="process", max_concurrency=2)
def hashes(password: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", 100_000).hex()[:8]


@m25.queue("endless", runs="process", max_concurrency=1)
def endless(_: None) -> int:
    return len(str(9**100_000_000))  # in C, for hours: nothing but a kill ends it


#: Set in the thread of the report, once it is written.
is_writing = threading.Event()


@m25.queue("reports", runs="thread")
def reports(pages: int) -> str:
    is_writing.set()
    for page in range(pages):
        if m25.current_job().stopping.is_set():
            return f"{page} pages, as the program is stopping"
        time.sleep(0.01)
    return f"{pages} pages"


@asynccontextmanager
async def said(job: m25.RunningJob[Any, Any, Any]) -> AsyncGenerator[None]:
    if job.meta:
        print(f"for {job.meta['tenant']}: {job.queue_name}")
    yield


async def main(dsn: str) -> None:
    async with m25.open(dsn, around=[said]) as m:
        for queue in (forecasts, hashes, endless, reports):
            m.add_queue(queue)
        await m.start(queue_init_timeout=60)
        forecast = await m.enqueue(forecasts, m25.Job("Oslo", meta={"tenant": "ada"}))
        print(await ended(m, forecasts, forecast.id))
        hashed = await m.enqueue(hashes, m25.Job("secret", meta={"tenant": "bob"}))
        print(await ended(m, hashes, hashed.id))
        never = await m.enqueue(endless, m25.Job(None, timeout=1))
        print(await ended(m, endless, never.id))
        report = await m.enqueue(reports, 1_000_000)
        await trio.to_thread.run_sync(is_writing.wait)
        await m.stop()
        print(await ended(m, reports, report.id))


async def ended(m: m25.M25, queue: m25.Queue[Any, Any, Any], id: m25.JobId) -> object:
    job = await m.get_job(queue, id)
    while job.finished_at is None:
        await trio.sleep(0.02)
        job = await m.get_job(queue, id)
    return job.failure_reason.value if job.failure_reason else job.output


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
