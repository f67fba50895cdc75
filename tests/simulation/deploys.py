"""A cluster through a rolling deploy, with faults at every call: one worker after the other is
replaced, while jobs come that only the new ones know.

Whatever happens to a process, each job is run by a worker that knows it, and none fails.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import attrs
import trio
import trio.testing

import m25
from m25._client import open_on
from m25._codec.refusal import Refusal
from m25._lifecycle import FINAL
from m25._store.memory import MemoryStore
from m25._store.protocol import Release

from .cluster import PATIENCE, Process, View, _ids, _seeded_scheduler, keep_alive, live_on
from .limits import Limits

JOBS = 30
OLD, NEW = 1, 2


@attrs.define(eq=False)
class Deploy:
    """What came of a history."""

    seed: int
    rng: random.Random
    store: MemoryStore
    #: By process, from when on it is started as the new version, by Trio's clock.
    new_from: dict[str, float] = attrs.field(factory=dict)
    #: By version, how many handlers have begun.
    runs: Counter[int] = attrs.field(factory=Counter)
    #: How many releases were of jobs that the worker did not know.
    left: int = 0
    faults: Counter[str] = attrs.field(factory=Counter)
    problems: list[str] = attrs.field(factory=list)

    def count(self, fault: str) -> None:
        self.faults[fault] += 1


class DeployView(View):
    """The store as one process sees it; counts what is left to newer workers."""

    def __init__(self, history: Deploy, process: Process) -> None:
        super().__init__(history.store, process)
        self._history = history

    async def release(self, releases: Sequence[Release], *args: Any) -> Any:
        await self._process.before("release")
        answer = await self._store.release(releases, *args)
        self._history.left += sum(each.is_newer for each in releases)
        await self._process.after("release")
        return answer


def queue_of(history: Deploy, version: int) -> m25.Queue[int, None, Any]:
    """The queue as this version has it: an input is the version from which on it is known."""

    def decode(value: int) -> int:
        if value > version:
            raise Refusal("is no part of Order", ".note", is_newer=True)
        return value

    async def work(_: int) -> None:
        history.runs[version] += 1
        await trio.sleep(history.rng.choice((0, 0.1, 2)))

    return m25.Queue(
        "orders",
        handler_function=work,
        max_concurrency=3,
        poll_interval=2,
        heartbeat_interval=1,
        allowed_heartbeat_misses=2,
        allowed_losses=1_000,
        input_to_json=int,
        input_decoder=decode,
        output_to_json=lambda _: None,
        output_decoder=lambda _: None,
    )


async def _live(history: Deploy, process: Process, until: trio.Event) -> None:
    new_from = history.new_from[process.name]
    version = NEW if trio.current_time() >= new_from else OLD
    stop = until if version == NEW else trio.Event()

    async def replace() -> None:
        with trio.move_on_at(new_from):
            await until.wait()
        stop.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(replace)
        queue = queue_of(history, version)
        await live_on(DeployView(history, process), process, stop, lambda m: m.add_queue(queue))
        nursery.cancel_scope.cancel()


async def _history(seed: int) -> Deploy:
    rng = random.Random(f"deploys {seed}")
    history = Deploy(seed, rng, MemoryStore(make_id=_ids(rng)))
    workers = [Process(f"worker {n}", random.Random(rng.random()), Limits()) for n in range(3)]
    history.new_from = {process.name: rng.uniform(20, 60) for process in workers}
    end = trio.Event()
    async with open_on(history.store, grace=timedelta(0)) as m, trio.open_nursery() as nursery:
        for process in workers:
            nursery.start_soon(keep_alive, history, process, end, _live)
        for _ in range(JOBS):
            await m.enqueue(queue_of(history, NEW), rng.choice((OLD, NEW)))
            await trio.sleep(rng.uniform(0, 2))
        await trio.sleep(rng.uniform(0, 20))
        for process in workers:
            process.faulty = False
        with trio.move_on_after(PATIENCE):
            while any(row.status not in FINAL for row in history.store._table.rows.values()):  # noqa: ASYNC110
                await trio.sleep(1)
        end.set()
    history.problems = [
        f"23: {row.id} is {row.status}, {row.crash_message or row.failure_reason}"
        for row in history.store.rows()
        # A worker that was killed, or could not be reached, has lost what it ran.
        if row.status != "succeeded" and row.failure_reason != "heartbeat_timeout"
    ]
    return history


def simulate_deploy(seed: int) -> Deploy:
    """Run the history of this seed."""
    with _seeded_scheduler(seed):
        return trio.run(_history, seed, clock=trio.testing.MockClock(autojump_threshold=0))
