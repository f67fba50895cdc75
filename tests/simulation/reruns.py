"""A cluster whose jobs are put again and again under a few keys, with faults at every call.

Each key has one client, which puts ever greater numbers under it. What a handler begins with tells
of all puts up to that number: they have had a start that came after them.
"""

from __future__ import annotations

import json
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

KEYS = ("a", "b", "c")
PUTS = 12


@attrs.frozen
class Work:
    key: str
    number: int


#: By hand: made from annotations they take longer than the rest of a history.
CODECS: dict[str, Any] = {
    "input_to_json": attrs.asdict,
    "input_decoder": lambda value: Work(value["key"], value["number"]),
    "output_to_json": lambda _: None,
    "output_decoder": lambda _: None,
}


@attrs.define(eq=False)
class Reruns:
    """What came of a history."""

    seed: int
    rng: random.Random
    store: MemoryStore
    #: By key, the greatest number whose put was acknowledged.
    acknowledged: dict[str, int] = attrs.field(factory=dict)
    #: By key, the numbers with which handlers began.
    begun: dict[str, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    outcomes: Counter[str | None] = attrs.field(factory=Counter)
    faults: Counter[str] = attrs.field(factory=Counter)
    problems: list[str] = attrs.field(factory=list)

    def count(self, fault: str) -> None:
        self.faults[fault] += 1

    def check_keys(self) -> None:
        """No key has two jobs that have not begun."""
        waiting = Counter(
            json.loads(row.input)["key"]
            for row in self.store._table.rows.values()
            if row.has_begun is False and row.status not in FINAL
        )
        self.problems += [f"21: {n} jobs of {key} wait" for key, n in waiting.items() if n > 1]

    def check_end(self) -> None:
        """Everything has ended, and every put has had its start."""
        self.problems += [
            f"21: {row.id} has not ended: {row.status}"
            for row in self.store._table.rows.values()
            if row.status not in FINAL
        ]
        for key, number in self.acknowledged.items():
            if number > max(self.begun[key], default=-1):
                self.problems.append(f"21: put {number} of {key} was lost: {self.begun[key]}")


def queue(history: Reruns) -> m25.Queue[Work, None, Any]:
    async def work(given: Work) -> None:
        record = m25.current_job()
        row = history.store._table.rows[str(record.id)]
        first = history.store._table.rows[row.job_id]
        if first.follows is not None and any(
            each.status not in FINAL for each in history.store._table.chain(first.follows)
        ):
            history.problems.append(f"21: {row.id} runs beside {first.follows}, which it follows")
        history.begun[given.key].append(given.number)
        await trio.sleep(history.rng.choice((0, 0.5, 2, 6)))
        if history.rng.random() < 0.2:
            raise OSError

    return m25.Queue(
        "work",
        handler_function=work,
        max_concurrency=3,
        poll_interval=2,
        heartbeat_interval=1,
        allowed_heartbeat_misses=2,
        allowed_losses=1_000,
        retry=m25.Retry(max_attempts=3, delay=0.5),
        **CODECS,
    )


async def put(history: Reruns, process: Process, key: str) -> None:
    """The client of one key."""
    rng = process.rng
    async with open_on(View(history.store, process), grace=timedelta(0), rng=rng) as m:
        for number in range(PUTS):
            await trio.sleep(rng.choice((0, 0, 0.3, 2, 5)))
            unique = m25.Unique(key, then="rerun_after")
            while history.acknowledged.get(key, -1) < number:
                try:
                    record = await m.enqueue(
                        queue(history), m25.Job(Work(key, number), unique=unique)
                    )
                except m25.errors.JobRecordFetchQueryError:
                    await trio.sleep(0.1)
                else:
                    history.acknowledged[key] = number
                    history.outcomes[record.unique_outcome] += 1
                history.check_keys()


async def _live(history: Reruns, process: Process, until: trio.Event) -> None:
    await live_on(
        View(history.store, process), process, until, lambda m: m.add_queue(queue(history))
    )


async def _history(seed: int) -> Reruns:
    rng = random.Random(f"reruns {seed}")
    history = Reruns(seed, rng, MemoryStore(make_id=_ids(rng)))
    names = ("worker 0", "worker 1", *KEYS)
    workers = [Process(name, random.Random(rng.random()), Limits()) for name in names]
    workers, clients = workers[:2], workers[2:]
    end = trio.Event()
    async with trio.open_nursery() as nursery:
        for process in workers:
            nursery.start_soon(keep_alive, history, process, end, _live)
        async with trio.open_nursery() as putting:
            for client, key in zip(clients, KEYS, strict=True):
                putting.start_soon(put, history, client, key)
        await trio.sleep(rng.uniform(0, 20))
        for process in workers:
            process.faulty = False
        with trio.move_on_after(PATIENCE):
            while any(  # noqa: ASYNC110
                row.status not in FINAL for row in history.store._table.rows.values()
            ):
                await trio.sleep(1)
        end.set()
    history.check_end()
    return history


def simulate_reruns(seed: int) -> Reruns:
    """Run the history of this seed."""
    with _seeded_scheduler(seed):
        return trio.run(_history, seed, clock=trio.testing.MockClock(autojump_threshold=0))
