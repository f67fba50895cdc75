"""A cluster whose jobs write in transactions and keep steps, with faults at every call.

What handlers write goes to a table of one column, in memory, at the commit of their transactions.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import attrs
import trio
import trio.testing

import m25
from m25 import pg
from m25._client import open_on
from m25._store.failures import sort_error
from m25._store.memory import MemoryStore
from m25._store.memory.transactions import open_transaction

from .cluster import FINAL, PATIENCE, Process, View, _ids, _seeded_scheduler, keep_alive, live_on
from .limits import Limits

STEPS = 4


class Connection:
    """A transaction's own: what is written on it is in the table once it is committed."""

    def __init__(self, table: list[str]) -> None:
        self._table = table
        self._written: list[str] = []

    def write(self, text: str) -> None:
        self._written.append(text)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield
        self._table += self._written


@attrs.define(eq=False)
class Transaction:
    """A transaction as one process sees it."""

    inner: Any
    process: Process

    @property
    def connection(self) -> Any:
        return self.inner.connection

    @property
    def is_lost(self) -> bool:
        return False

    async def keep_step(self, step: Any) -> Any:
        await self.process.before("keep_steps")
        answer = await self.inner.keep_step(step)
        await self.process.after("keep_steps")
        return answer

    async def settle(self, *args: Any) -> Any:
        await self.process.before("settle")
        answer = await self.inner.settle(*args)
        await self.process.after("settle")
        return answer

    async def commit(self) -> None:
        await self.process.before("commit")
        await self.inner.commit()
        if self.process.faulty and self.process.happens("error-after", 0.2):
            raise sort_error("commit", pg.OutcomeUnknown("no answer"))


class EffectsView(View):
    """The store as one process sees it, with transactions."""

    def __init__(self, store: MemoryStore, process: Process, table: list[str]) -> None:
        super().__init__(store, process)
        self._table = table

    @contextlib.asynccontextmanager
    async def transaction(self, _: Any) -> AsyncIterator[Transaction]:
        store = self._store
        await self._process.before("transaction")
        connection = Connection(self._table)
        async with open_transaction(connection, store._writes, store._way) as inner:
            yield Transaction(inner, self._process)


@attrs.define(eq=False)
class Effects:
    """What came of a history."""

    seed: int
    rng: random.Random
    store: MemoryStore
    #: What was written in transactions.
    table: list[str] = attrs.field(factory=list)
    #: What plain steps have returned, by job and step.
    returned: dict[tuple[str, str], set[int]] = attrs.field(factory=dict)
    calls: Counter[str] = attrs.field(factory=Counter)
    faults: Counter[str] = attrs.field(factory=Counter)

    def count(self, fault: str) -> None:
        self.faults[fault] += 1

    def problems(self) -> list[str]:
        """What was promised and not kept."""
        written = Counter(self.table)
        found = [
            f"17: {row.id} has not ended: {row.status}"
            for row in self.store.rows()
            if row.status not in FINAL
        ]
        firsts = [row for row in self.store.rows() if row.previous_attempt_id is None]
        for first in firsts:
            last = self.store._table.chain(first.id)[-1]
            succeeded = last.status.value == "succeeded"
            names = {name for _, name, _ in self.store._steps._kept.get(first.id, {})}
            if first.queue_name == "whole":
                if written[f"{first.id} whole"] != succeeded:
                    found.append(f"17: {first.id} ({last.status}): {written[f'{first.id} whole']}")
                continue
            for number in range(STEPS):
                wrote = written[f"{first.id} charge {number}"]
                if wrote != (f"charge {number}" in names):
                    found.append(f"17: {first.id}: step {number} is kept, or not: {wrote} writes")
            if succeeded and len(names) != 2 * STEPS:
                found.append(f"17: {first.id} has succeeded without {names}")
        for (job_id, name), values in self.returned.items():
            if len(values) > 1:
                found.append(f"17: step {name} of {job_id} was {values}")
        return found


def queues(history: Effects) -> list[m25.Queue[Any, Any, Any]]:
    options: dict[str, Any] = {
        "max_concurrency": 3,
        "default_job_timeout": 60,
        "poll_interval": 2,
        "heartbeat_interval": 1,
        "allowed_heartbeat_misses": 2,
        "allowed_losses": 1_000,
        "retry": m25.Retry(max_attempts=5, delay=0.5),
    }

    async def draw() -> int:
        await trio.sleep(history.rng.choice((0, 0.3)))
        history.calls["draw"] += 1
        return history.calls["draw"]

    async def charge(connection: Any, text: str) -> None:
        connection.write(text)
        await trio.sleep(history.rng.choice((0, 0.3)))

    def fail_now_and_then() -> None:
        if history.rng.random() < 0.1:
            raise OSError

    @m25.queue("steps", **options)
    async def steps(_: int) -> None:
        job = m25.current_job()
        for number in range(STEPS):
            value = await job.step(f"draw {number}", draw)
            history.returned.setdefault((str(job.job_id), f"draw {number}"), set()).add(value)
            await job.transact(f"charge {number}", charge, f"{job.job_id} charge {number}")
            fail_now_and_then()

    @m25.queue("whole", transactional=True, **options)
    async def whole(_: int, *, connection: Any) -> None:
        await charge(connection, f"{m25.current_job().job_id} whole")
        fail_now_and_then()

    return [steps, whole]


async def _live(history: Effects, process: Process, until: trio.Event) -> None:
    def add(m: m25.M25) -> None:
        for queue in queues(history):
            m.add_queue(queue)

    await live_on(EffectsView(history.store, process, history.table), process, until, add)


async def _history(seed: int) -> Effects:
    rng = random.Random(f"effects {seed}")
    history = Effects(seed, rng, MemoryStore(make_id=_ids(rng)))
    processes = [Process(f"worker {n}", random.Random(rng.random()), Limits()) for n in range(3)]
    end = trio.Event()
    async with trio.open_nursery() as nursery:
        for process in processes:
            nursery.start_soon(keep_alive, history, process, end, _live)
        async with open_on(history.store, grace=timedelta(0), rng=rng) as m:
            for number in range(12):
                await m.enqueue(queues(history)[number % 2], number)
                await trio.sleep(rng.uniform(0, 3))
        await trio.sleep(rng.uniform(0, 20))
        for process in processes:
            process.faulty = False
        with trio.move_on_after(PATIENCE):
            while any(row.status not in FINAL for row in history.store.rows()):  # noqa: ASYNC110
                await trio.sleep(1)
        end.set()
    return history


def simulate_effects(seed: int) -> Effects:
    """Run the history of this seed."""
    with _seeded_scheduler(seed):
        return trio.run(_history, seed, clock=trio.testing.MockClock(autojump_threshold=0))
