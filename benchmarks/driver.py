"""One process of `pairs`: `python -P driver.py COMMAND SOURCE DSN JOBS`, with SOURCE in PYTHONPATH.

It is run with m25 of either revision, and so uses nothing but what m25 makes public. What it prints
is JSON: how long the work took by the clock, and by the process's own processor time; `listen`
prints how long each job was on its way instead. All are in seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

import m25

QUEUE = "pairs"
MAX_CONCURRENCY = 100
TASKS = 100


@attrs.frozen
class Email:
    to: str
    number: int


class MailboxFull(Exception):
    """The error that a job fails with, where jobs are to fail."""


class Countdown:
    """Waits until something has happened so many times."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._over = trio.Event()

    def count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._over.set()

    async def wait(self) -> None:
        await self._over.wait()


class Stopwatch:
    """Measures the time that its block takes, by the clock and by the processor."""

    @contextmanager
    def running(self) -> Generator[None]:
        began, processor = time.perf_counter(), time.process_time()
        yield
        self._seconds = time.perf_counter() - began
        self._processor_seconds = time.process_time() - processor

    def read(self) -> dict[str, float]:
        return {"seconds": self._seconds, "processor_seconds": self._processor_seconds}


def emails(number: int) -> Email:
    return Email("ada@home", number)


# Queues; each calls `ran` whenever its handler is called.


def plain(ran: Callable[[], None], slots: int = MAX_CONCURRENCY) -> m25.Queue[Any, Any, Any]:
    @m25.queue(QUEUE, max_concurrency=slots)
    async def handler(email: Email) -> int:
        ran()
        return email.number

    return handler


def with_setup(ran: Callable[[], None]) -> m25.Queue[Any, Any, Any]:
    @asynccontextmanager
    async def setup() -> AsyncGenerator[int]:
        yield 1

    @m25.queue(QUEUE, max_concurrency=MAX_CONCURRENCY, setup=setup)
    async def handler(email: Email, resource: int) -> int:
        ran()
        return email.number * resource

    return handler


def failing_once(ran: Callable[[], None]) -> m25.Queue[Any, Any, Any]:
    failed: set[int] = set()

    @m25.queue(QUEUE, errors=(MailboxFull,), max_concurrency=MAX_CONCURRENCY)
    async def handler(email: Email) -> int:
        ran()
        if email.number not in failed:
            failed.add(email.number)
            raise MailboxFull(email.to)
        return email.number

    return handler


def not_run() -> None:
    raise NotImplementedError


# Commands


async def _drain(dsn: str, queue: m25.Queue[Any, Any, Any], countdown: Countdown) -> Any:
    stopwatch = Stopwatch()
    async with m25.open(dsn) as m:
        m.add_queue(queue)
        with stopwatch.running():
            await m.start()
            await countdown.wait()
            # It returns when every result is written.
            await m.stop()
    return stopwatch.read()


async def drain(dsn: str, jobs: int) -> Any:
    countdown = Countdown(jobs)
    return await _drain(dsn, plain(countdown.count), countdown)


async def drain_20_at_once(dsn: str, jobs: int) -> Any:
    countdown = Countdown(jobs)
    return await _drain(dsn, plain(countdown.count, slots=20), countdown)


async def drain_with_setup(dsn: str, jobs: int) -> Any:
    countdown = Countdown(jobs)
    return await _drain(dsn, with_setup(countdown.count), countdown)


async def drain_failing_once(dsn: str, jobs: int) -> Any:
    countdown = Countdown(2 * jobs)
    return await _drain(dsn, failing_once(countdown.count), countdown)


async def _enqueue(dsn: str, work: Callable[[m25.M25, Any], Awaitable[None]]) -> Any:
    stopwatch, queue = Stopwatch(), plain(not_run)
    async with m25.open(dsn) as m:
        # What only the first call does is no part of the work.
        await m.enqueue(queue, emails(0))
        with stopwatch.running():
            await work(m, queue)
    return stopwatch.read()


async def enqueue(dsn: str, jobs: int) -> Any:
    """Enqueue all but the first, one after another."""

    async def work(m: m25.M25, queue: Any) -> None:
        for number in range(1, jobs):
            await m.enqueue(queue, emails(number))

    return await _enqueue(dsn, work)


async def enqueue_from_tasks(dsn: str, jobs: int) -> Any:
    """Enqueue all but the first, from tasks that each await one after another."""

    async def work(m: m25.M25, queue: Any) -> None:
        numbers = iter(range(1, jobs))

        async def enqueue_some() -> None:
            for number in numbers:
                await m.enqueue(queue, emails(number))

        async with trio.open_nursery() as nursery:
            for _ in range(TASKS):
                nursery.start_soon(enqueue_some)

    return await _enqueue(dsn, work)


async def enqueue_many(dsn: str, jobs: int) -> Any:
    """Enqueue all but the first at once."""

    async def work(m: m25.M25, queue: Any) -> None:
        await m.enqueue_many(queue, map(emails, range(1, jobs)))

    return await _enqueue(dsn, work)


async def fill_for_two_attempts(dsn: str, jobs: int) -> None:
    """Enqueue jobs that may be tried twice."""
    async with m25.open(dsn) as m:
        await m.enqueue_many(
            failing_once(not_run),
            (m25.Job(emails(number), max_attempts=2) for number in range(jobs)),
        )


async def listen(dsn: str, jobs: int) -> Any:
    """Say "ready", and run so many jobs of `send`."""
    latencies: list[float] = []
    countdown = Countdown(jobs)

    @m25.queue(QUEUE)
    async def stamped(enqueued_at: float) -> None:
        # One clock for all processes of a machine.
        latencies.append(time.monotonic() - enqueued_at)
        countdown.count()

    async with m25.open(dsn) as m:
        m.add_queue(stamped)
        await m.start()
        print("ready", flush=True)
        await countdown.wait()
    return latencies


async def send(dsn: str, jobs: int) -> None:
    """Enqueue jobs for `listen`, one by one, each when the worker is idle again."""

    @m25.queue(QUEUE)
    async def stamped(enqueued_at: float) -> None:
        raise NotImplementedError(enqueued_at)

    async with m25.open(dsn) as m:
        for number in range(jobs):
            # In step with nothing.
            await trio.sleep(0.01 + 0.001 * (number % 17))
            await m.enqueue(stamped, time.monotonic())


COMMANDS: tuple[Callable[[str, int], Awaitable[Any]], ...] = (
    drain,
    drain_20_at_once,
    drain_with_setup,
    drain_failing_once,
    enqueue,
    enqueue_from_tasks,
    enqueue_many,
    fill_for_two_attempts,
    listen,
    send,
)


def main() -> None:
    name, source, dsn, jobs = sys.argv[1:]
    found = Path(str(m25.__file__))
    assert found.is_relative_to(source), f"m25 is that of {found}, not of {source}"
    commands = {command.__name__: command for command in COMMANDS}
    print(json.dumps(trio.run(commands[name], dsn, int(jobs))))


if __name__ == "__main__":
    main()
