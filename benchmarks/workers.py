"""Worker processes for the benchmarks that need several: `python -m benchmarks.workers`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

import attrs
import psycopg
import trio

import m25

QUEUE = "workers"

_FINISHED = "select count(*) from m25.job where finished_at is not null"


@attrs.frozen
class Email:
    to: str
    number: int


async def work(dsn: str, max_concurrency: int) -> None:
    """A worker: says that it is ready, waits for a word, and runs jobs until it is asked to end."""

    @m25.queue(QUEUE, max_concurrency=max_concurrency)
    async def handler(email: Email) -> int:
        return email.number

    print("ready", flush=True)
    await trio.to_thread.run_sync(sys.stdin.readline)
    async with m25.open(dsn) as m:
        m.add_queue(handler)
        await m.start()
        await m25.until_signal()


@contextmanager
def workers(dsn: str, count: int, max_concurrency: int = 100) -> Generator[None]:
    """So many processes at work, until the block is left."""
    command = [sys.executable, "-m", "benchmarks.workers", dsn, str(max_concurrency)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        for each in started:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in started:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        yield
    finally:
        for each in started:
            each.terminate()
        for each in started:
            each.communicate(timeout=60)


def wait_until_finished(dsn: str, jobs: int) -> None:
    """Return once so many jobs have finished."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        while True:
            row = connection.execute(_FINISHED).fetchone()
            assert row is not None
            if row[0] >= jobs:
                return
            # Counting costs the server, too: seldom while many are left.
            time.sleep(min(1.0, max(0.02, (jobs - row[0]) / 50_000)))


def check_outcomes(dsn: str, jobs: int) -> None:
    """See that each job has succeeded, once, and none before it was due."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select count(*), count(*) filter (where status = 'succeeded' and attempt = 1),"
            " count(*) filter (where started_at < scheduled_at), coalesce(sum(losses), 0)"
            " from m25.job"
        ).fetchone()
    assert row == (jobs, jobs, 0, 0), f"of {jobs} jobs (rows, succeeded, early, losses): {row}"


if __name__ == "__main__":
    trio.run(work, sys.argv[1], int(sys.argv[2]))
