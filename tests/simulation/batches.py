"""A cluster whose handlers are called with batches, with faults at every call.

Each job ends once, with what a handler has said of that very attempt, whatever becomes of the
others of its batch.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

import attrs
import trio
import trio.testing

import m25
from m25._client import open_on
from m25._lifecycle import FINAL
from m25._store.memory import MemoryStore

from .cluster import PATIENCE, Process, View, _ids, _seeded_scheduler, keep_alive, live_on
from .limits import Limits

JOBS = 40
SIZE = 4
SLOTS = 2
#: In seconds, of the jobs that have the shortest.
TIMEOUT = 5


class Declared(Exception):
    """A declared error."""


#: By hand: made from annotations they take longer than the rest of a history.
CODECS: dict[str, Any] = {
    "input_to_json": lambda number: number,
    "input_decoder": lambda number: number,
    "output_to_json": str,
    "output_decoder": str,
    "error_to_json": lambda error: error.args[0],
    "error_decoder": Declared,
}


@attrs.define(eq=False)
class Batches:
    """What came of a history."""

    seed: int
    rng: random.Random
    store: MemoryStore
    #: By the id of an attempt, what handlers have said of it: of its input, and of which call.
    said: dict[str, list[str]] = attrs.field(factory=lambda: defaultdict(list))
    #: How many jobs each call had.
    sizes: Counter[int] = attrs.field(factory=Counter)
    running: Counter[str] = attrs.field(factory=Counter)
    faults: Counter[str] = attrs.field(factory=Counter)
    problems: list[str] = attrs.field(factory=list)

    def count(self, fault: str) -> None:
        self.faults[fault] += 1


def queue(history: Batches, process: Process) -> m25.Queue[Any, Any, Any]:
    rng = history.rng

    async def handle(numbers: list[int]) -> list[str | Exception]:
        jobs = m25.current_jobs()
        assert [job.input for job in jobs] == numbers
        history.sizes[len(numbers)] += 1
        call = history.sizes.total()
        history.running[process.name] += 1
        if len(numbers) > SIZE or history.running[process.name] > SLOTS:
            history.problems.append(f"6: {process.name} has {history.running} calls")
        try:
            await trio.sleep(rng.choice((0, 0.1, 1, 4, 30)))
            if rng.random() < 0.1:
                raise OSError(call)
            outcomes: list[str | Exception] = []
            for job in jobs:
                said = f"{job.input} in {call}"
                history.said[str(job.id)].append(said)
                outcomes.append(Declared(said) if rng.random() < 0.3 else said)
            return outcomes
        finally:
            history.running[process.name] -= 1

    return m25.Queue(
        "batches",
        handler_function=handle,
        batch=m25.Batch(SIZE, wait=0.3),
        errors=(Declared,),
        max_concurrency=SLOTS,
        poll_interval=2,
        heartbeat_interval=1,
        allowed_heartbeat_misses=2,
        allowed_losses=1_000,
        cancel_grace=1,
        retry=m25.Retry(max_attempts=1_000, delay=0.5),
        **CODECS,
    )


async def _live(history: Batches, process: Process, until: trio.Event) -> None:
    await live_on(
        View(history.store, process),
        process,
        until,
        lambda m: m.add_queue(queue(history, process)),
    )


async def _cancel_some(history: Batches, m: m25.M25, jobs: list[m25.JobId], to: Any) -> None:
    for id in history.rng.sample(jobs, 4):
        await trio.sleep(history.rng.uniform(0, 10))
        try:
            await m.cancel_job(to, id, running=True)
        except m25.InvalidState:
            history.count("too late to cancel")


async def _history(seed: int) -> Batches:
    rng = random.Random(f"batches {seed}")
    history = Batches(seed, rng, MemoryStore(make_id=_ids(rng)))
    workers = [Process(f"worker {n}", random.Random(rng.random()), Limits()) for n in range(3)]
    end = trio.Event()
    async with open_on(history.store, grace=timedelta(0)) as m, trio.open_nursery() as nursery:
        to = queue(history, workers[0])
        jobs = [
            (await m.enqueue(to, m25.Job(number, timeout=rng.choice((TIMEOUT, 60))))).id
            for number in range(JOBS)
        ]
        for process in workers:
            nursery.start_soon(keep_alive, history, process, end, _live)
        nursery.start_soon(_cancel_some, history, m, jobs, to)
        await trio.sleep(rng.uniform(10, 40))
        for process in workers:
            process.faulty = False
        with trio.move_on_after(PATIENCE):
            while any(row.status not in FINAL for row in history.store._table.rows.values()):  # noqa: ASYNC110
                await trio.sleep(1)
        end.set()
    history.problems += violations(history)
    return history


def violations(history: Batches) -> list[str]:
    """What was not kept."""
    problems: list[str] = []
    ends: dict[str, list[str]] = defaultdict(list)
    for row in history.store._table.rows.values():
        if row.status not in FINAL:
            problems.append(f"2: {row.id} has not ended: {row.status}")
        # Who fails while its cancel is asked for has no next attempt.
        if row.status is not m25.JobStatus.FAILED or row.cancel_requested_at is not None:
            ends[row.job_id].append(row.status.value)
        kept = row.output if row.status is m25.JobStatus.SUCCEEDED else row.error_data
        if kept is not None:
            said = str(kept).strip('"')
            if said not in history.said[row.id]:
                problems.append(f"13: {row.id} has {said}, and was told {history.said[row.id]}")
            if not said.startswith(f"{row.input} in "):
                problems.append(f"13: {row.id} of {row.input} has the outcome of another: {said}")
    if len(ends) != JOBS or any(len(each) != 1 for each in ends.values()):
        often = {id: each for id, each in ends.items() if len(each) != 1}
        problems.append(f"2: of {JOBS} jobs {len(ends)} have ended, and more than once: {often}")
    return problems


def simulate_batches(seed: int) -> Batches:
    """Run the history of this seed."""
    with _seeded_scheduler(seed):
        return trio.run(_history, seed, clock=trio.testing.MockClock(autojump_threshold=0))
