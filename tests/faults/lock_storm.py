"""A storm of locks: `python -m faults.lock_storm --seconds N --seed S`.

Strangers lock rows of the job table at random, whatever their status, for up to two leases each. A
lock costs the job whose row it is; no other may be lost, or begin or end late by more than a
second. A machine that is busy with something else adds to that as much as it adds to what locks no
row and waits for none.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import trio

import m25
from m25 import pg
from support.waiting import eventually, rows

from .servers import serving

STRANGERS = 10
#: In seconds.
POLL_INTERVAL = 0.5
HEARTBEAT_INTERVAL = 0.5
_MISSES = 2
LEASE = HEARTBEAT_INTERVAL * (_MISSES + 1)
_LONGEST_LOCK = 2 * LEASE
_LATE = 1.0
#: From one look at how busy the machine is to the next.
_LOOK = 0.05
_PATIENCE = 60.0
#: How many jobs are put in a second, and how long they take: they all have slots.
_RATE = 40
_LONGEST_JOB = 2 * LEASE


@m25.queue(
    "stormy",
    max_concurrency=1_000,
    poll_interval=POLL_INTERVAL,
    heartbeat_interval=HEARTBEAT_INTERVAL,
    allowed_heartbeat_misses=_MISSES,
)
async def stormy(seconds: float) -> None:
    await trio.sleep(seconds)


@attrs.define(eq=False)
class Findings:
    """What is known once it is over."""

    locks: int = 0
    locked: set[str] = attrs.field(factory=set)
    jobs: int = 0
    #: Of jobs that nobody locked: how much later than due they began, and than done they ended.
    delays: list[float] = attrs.field(factory=list)
    lost_of_locked: int = 0
    #: How much longer the machine took for what has nothing to do with locks, all in all.
    busy: float = 0.0
    problems: list[str] = attrs.field(factory=list)

    def text(self) -> str:
        cuts = statistics.quantiles(self.delays, n=100)
        late = f"p50 {cuts[49]:.3f}, p99 {cuts[98]:.3f}, longest {max(self.delays):.3f}"
        lines = [
            f"{self.jobs:,} jobs; {self.locks:,} locks, on the rows of {len(self.locked):,} jobs",
            f"attempts of locked rows that were taken over: {self.lost_of_locked:,}",
            f"the machine took {self.busy:.1f} s for what has nothing to do with locks",
            f"late, s, in beginning or ending, of jobs that nobody locked: {late}",
            f"violations: {len(self.problems)}",
        ]
        return "\n".join([*lines, *self.problems[:20]])


@attrs.define(eq=False)
class Storm:
    """Two clients that run the jobs, and strangers that lock rows."""

    dsn: str
    rng: random.Random
    findings: Findings = attrs.field(factory=Findings)
    #: By job, how long it takes, in seconds.
    _takes: dict[str, float] = attrs.field(factory=dict)

    async def run(self, seconds: float) -> Findings:
        async with m25.open(self.dsn) as one, m25.open(self.dsn) as other:
            for m in (one, other):
                m.add_queue(stormy)
                await m.start()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_machine)
                async with trio.open_nursery() as strangers:
                    for _ in range(STRANGERS):
                        strangers.start_soon(self._lock_again_and_again)
                    with trio.move_on_after(seconds):
                        await self._keep_asking(one)
                    strangers.cancel_scope.cancel()
                await eventually(self._all_ended, _PATIENCE)
                nursery.cancel_scope.cancel()
        self._check(await rows(self.dsn, "select * from m25.job order by attempt"))
        return self.findings

    async def _keep_asking(self, m: m25.M25) -> None:
        while True:
            takes = self.rng.uniform(0, _LONGEST_JOB)
            job = m25.Job(takes)
            if self.rng.random() < 0.3:
                job = job.schedule(at=datetime.now(UTC) + timedelta(seconds=1))
            record = await m.enqueue(stormy, job)
            self._takes[str(record.id)] = takes
            await trio.sleep(self.rng.expovariate(_RATE))

    async def _lock_again_and_again(self) -> None:
        statement = (
            "select id::text, original_attempt_id::text from m25.job"
            " where status in ('pending', 'reserved', 'executing')"
            " order by random() limit 1 for update skip locked"
        )
        async with await pg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            while True:
                async with connection.transaction():
                    cursor = await connection.execute(statement)
                    for id, original in await cursor.fetchall():
                        self.findings.locks += 1
                        self.findings.locked.add(original or id)
                    await trio.sleep(self.rng.uniform(0, _LONGEST_LOCK))

    async def _watch_machine(self) -> None:
        """Find out by how much the loop and the server are late without any lock."""
        async with await pg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            while True:
                began = trio.current_time()
                await trio.sleep(_LOOK)
                await connection.execute("select 1")
                self.findings.busy += trio.current_time() - began - _LOOK

    async def _all_ended(self) -> bool:
        (row,) = await rows(self.dsn, "select count(*) from m25.job where finished_at is null")
        return bool(row["count"] == 0)

    def _check(self, found: Sequence[dict[str, Any]]) -> None:
        findings = self.findings
        for row in found:
            job = str(row["original_attempt_id"] or row["id"])
            if job in findings.locked:
                findings.lost_of_locked += row["failure_reason"] == "heartbeat_timeout"
                continue
            if row["attempt"] > 1 or row["status"] != "succeeded":
                findings.problems.append(f"{job} was lost, and nobody had locked it")
                continue
            due = row["scheduled_at"] or row["created_at"]
            began = (row["started_at"] - due).total_seconds()
            ended = (row["finished_at"] - row["started_at"]).total_seconds() - self._takes[job]
            findings.delays += (began, ended)
            findings.problems += [
                f"{job} {what} {late:.2f} s late, and nobody had locked it"
                for what, late in (("began", began), ("ended", ended))
                if late > _LATE + findings.busy
            ]
        findings.jobs = len(self._takes)


async def storm(seconds: float, seed: int) -> Findings:
    """Lock rows for so many seconds, on a server of their own."""
    async with serving(fsync="on") as server:
        return await Storm(server.direct, random.Random(seed)).run(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="faults.lock_storm", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    # What becomes of locked rows is told, hundreds of times.
    logging.getLogger("m25").setLevel(logging.CRITICAL)
    findings = trio.run(storm, arguments.seconds, arguments.seed)
    print(findings.text())
    sys.exit(bool(findings.problems))


if __name__ == "__main__":
    main()
