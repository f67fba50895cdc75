"""Kills and stops at any moment, of queues whose jobs may begin once at most.

`python -m faults.at_most_once --ends N --seed S`: workers with twenty handlers a queue are killed
and asked to end, at random, N times; others take their places. No job may begin twice, whatever
becomes of it, and each must have ended.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

import m25
from support.waiting import eventually, rows

from . import journal as journals
from .servers import serving

WORKERS = 3
MAX_CONCURRENCY = 20
#: How many jobs wait at any time, at least.
_BACKLOG = 200
#: In seconds.
_LONGEST_JOB = 0.5
_LONGEST_LIFE = 1.5
_PATIENCE = 60.0
#: How a worker ends: at once, or in an orderly way, with what is left of its grace.
_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def make_queues(journal: journals.Journal | None = None) -> list[m25.Queue[float, None, Any]]:
    """A queue as it comes, and one with `setup`: its jobs are reserved before they begin."""

    async def handler(seconds: float) -> None:
        assert journal is not None
        journal.write("began", job=str(m25.current_job().id))
        await trio.sleep(seconds)

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        await trio.sleep(0.01)
        yield

    async def with_resource(seconds: float, _: None) -> None:
        await handler(seconds)

    options: dict[str, Any] = {
        "allowed_losses": 0,
        "max_concurrency": MAX_CONCURRENCY,
        "poll_interval": 0.2,
        "heartbeat_interval": 0.5,
        "executor_init_timeout": 1,
        "reserved_timeout": 2,
    }
    return [
        m25.queue("once", **options)(handler),
        m25.queue("once with setup", setup=resource, **options)(with_resource),
    ]


async def work(dsn: str, directory: Path, name: str) -> None:
    """A worker, until it is asked to end."""
    journal = journals.Journal(directory, name)
    async with m25.open(dsn, shutdown_grace=0.1) as m, trio.open_nursery() as nursery:
        for queue in make_queues(journal):
            m.add_queue(queue)
        nursery.start_soon(m25.until_signal)
        await m.start(queue_init_timeout=60)
        journal.write("ready")


@attrs.define(eq=False)
class Findings:
    """What is known once it is over."""

    ends: Counter[str] = attrs.field(factory=Counter)
    #: By job, how often its handler began.
    begun: Counter[str] = attrs.field(factory=Counter)
    #: By how it ended, how many jobs there were.
    statuses: dict[str, int] = attrs.field(factory=dict)
    problems: list[str] = attrs.field(factory=list)

    def text(self) -> str:
        ends = ", ".join(f"{name} × {number}" for name, number in sorted(self.ends.items()))
        ended = ", ".join(f"{number:,} {name}" for name, number in sorted(self.statuses.items()))
        lines = [f"ends: {ends}", f"jobs that began: {len(self.begun):,}; {ended}"]
        return "\n".join([*lines, f"violations: {len(self.problems)}", *self.problems[:20]])


@attrs.define(eq=False)
class Tormentor:
    """Ends workers, and starts others in their places."""

    dsn: str
    directory: Path
    left: int
    rng: random.Random
    findings: Findings = attrs.field(factory=Findings)
    _number: int = 0

    async def run(self) -> Findings:
        async with m25.open(self.dsn) as m:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_asking, m)
                async with trio.open_nursery() as workers:
                    for _ in range(WORKERS):
                        workers.start_soon(self._end_again_and_again)
                nursery.cancel_scope.cancel()
            # A worker that nobody harms runs what is left, and ends what the dead have left.
            own = journals.Journal(self.directory, "last")
            for queue in make_queues(own):
                m.add_queue(queue)
            await m.start()
            await eventually(self._all_ended, _PATIENCE)
        self._check(await rows(self.dsn, "select id::text, status, attempt from m25.job"))
        return self.findings

    async def _keep_asking(self, m: m25.M25) -> None:
        while True:
            for queue in make_queues():
                statement = (
                    "select count(*) from m25.job"
                    " where status = 'pending' and queue_name = %(queue)s"
                )
                (row,) = await rows(self.dsn, statement, queue=queue.name)
                missing = max(0, _BACKLOG - int(row["count"]))
                await m.enqueue_many(queue, [self._a_job() for _ in range(missing)])
            await trio.sleep(0.1)

    def _a_job(self) -> m25.Job[float]:
        return m25.Job(self.rng.uniform(0, _LONGEST_JOB))

    async def _end_again_and_again(self) -> None:
        while self.left > 0:
            self.left -= 1
            self._number += 1
            name = f"worker-{self._number}"
            arguments = (self.dsn, str(self.directory), name)
            with (self.directory / f"{name}.err").open("wb") as errors:
                process = await trio.lowlevel.open_process(
                    [sys.executable, "-m", "faults.at_most_once", "--work", *arguments],
                    cwd=Path(__file__).parents[1],
                    stderr=errors,
                    start_new_session=True,
                )
            try:
                journal = self.directory / f"{name}.jsonl"
                # Not before it has something to lose: what begins is written down.
                while not (journal.exists() and b'"began"' in journal.read_bytes()):
                    assert process.returncode is None, f"see {name}.err"
                    await trio.sleep(0.01)
                await trio.sleep(self.rng.uniform(0, _LONGEST_LIFE))
                how = self.rng.choice(_SIGNALS)
                self.findings.ends[how.name] += 1
                process.send_signal(how)
                with trio.fail_after(_PATIENCE):
                    await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()

    async def _all_ended(self) -> bool:
        statement = "select count(*) from m25.job where finished_at is null"
        (row,) = await rows(self.dsn, statement)
        return bool(row["count"] == 0)

    def _check(self, found: list[dict[str, Any]]) -> None:
        findings = self.findings
        for entry in journals.read(self.directory):
            if entry.event == "began":
                findings.begun[entry["job"]] += 1
        findings.statuses = dict(Counter(row["status"] for row in found))
        findings.problems += [
            f"{job} began {times} times" for job, times in findings.begun.items() if times > 1
        ]
        findings.problems += [
            f"{row['id']} is a second attempt" for row in found if row["attempt"] > 1
        ]
        ended = {row["id"] for row in found if row["status"] in ("succeeded", "failed")}
        findings.problems += [
            f"{job} began and has no end" for job in findings.begun.keys() - ended
        ]


async def torment(ends: int, seed: int, directory: Path) -> Findings:
    """End workers so many times, on a server of their own."""
    async with serving(fsync="on") as server:
        return await Tormentor(server.direct, directory, ends, random.Random(seed)).run()


def main() -> None:
    parser = argparse.ArgumentParser(prog="faults.at_most_once", description=__doc__)
    parser.add_argument("--ends", type=int, default=400)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--work", nargs=3, metavar=("DSN", "DIRECTORY", "NAME"))
    arguments = parser.parse_args()
    if arguments.work:
        dsn, directory, name = arguments.work
        trio.run(work, dsn, Path(directory), name)
        return
    directory = Path(tempfile.mkdtemp(prefix="m25-at-most-once-"))
    print(f"seed {arguments.seed}; journals in {directory}", flush=True)
    findings = trio.run(torment, arguments.ends, arguments.seed, directory)
    print(findings.text())
    sys.exit(bool(findings.problems))


if __name__ == "__main__":
    main()
