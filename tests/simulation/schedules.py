"""A cluster whose processes all declare the same schedules, with faults at every call.

Whatever happens to them, each tick has one job, none too early; and where a tick is to wait for the
job of the one before, no two of these are live at once.
"""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime
from typing import Any, Literal

import attrs
import trio
import trio.testing

import m25
from m25._lifecycle import FINAL
from m25._store.memory import MemoryStore

from .cluster import PATIENCE, Process, View, _ids, _seeded_scheduler, keep_alive, live_on
from .limits import Limits

#: By the name of a schedule and of its queue: seconds between ticks, and its `overlap`.
SCHEDULES: dict[str, tuple[int, Literal["allow", "queue", "cancel"]]] = {
    "allowed": (3, "allow"),
    "queued": (5, "queue"),
    "cancelled": (4, "cancel"),
}


def number_of(tick: datetime) -> int:
    return int(tick.timestamp())


@attrs.define(eq=False)
class Ticks:
    """What came of a history."""

    rng: random.Random
    store: MemoryStore
    faults: Counter[str] = attrs.field(factory=Counter)
    problems: list[str] = attrs.field(factory=list)

    def count(self, fault: str) -> None:
        self.faults[fault] += 1

    def numbers(self, name: str) -> list[int]:
        """The ticks of a schedule that have jobs, in the order of these jobs' times."""
        jobs = (row for row in self.store.rows() if row.queue_name == name and row.attempt == 1)
        return sorted(int(float(row.scheduled_at or 0)) for row in jobs)

    def check_one_live(self, name: str) -> None:
        live = [
            row.job_id
            for row in self.store._table.rows.values()
            if row.queue_name == name and row.status not in FINAL
        ]
        if len(live) > 1:
            self.problems.append(f"19: {live} of schedule {name} are live at once")

    async def check_end(self) -> None:
        for schedule in (await self.store.find_schedules()).rows:
            seconds, _ = SCHEDULES[schedule.name]
            ticks, last = self.numbers(schedule.name), int(float(schedule.last_tick))
            if ticks != list(range(min(ticks, default=0), last + seconds, seconds)):
                self.problems.append(f"19: {schedule.name}, up to {last}, has the ticks {ticks}")
        self.problems += [
            f"19: {row.id} was there before its time"
            for row in self.store.rows()
            if row.attempt == 1 and float(row.created_at) < float(row.scheduled_at or 0)
        ]


def queue(history: Ticks, name: str) -> m25.Queue[int, None, Any]:
    async def work(number: int) -> None:
        if SCHEDULES[name][1] != "allow":
            history.check_one_live(name)
        await trio.sleep(history.rng.choice((0, 0.5, 2, 6)))
        if history.rng.random() < 0.2:
            raise OSError

    return m25.Queue(
        name,
        handler_function=work,
        poll_interval=2,
        heartbeat_interval=1,
        allowed_heartbeat_misses=2,
        allowed_losses=1_000,
        cancel_grace=1,
        retry=m25.Retry(max_attempts=3, delay=0.5),
    )


async def _live(history: Ticks, process: Process, until: trio.Event) -> None:
    def add(m: m25.M25) -> None:
        for name, (seconds, overlap) in SCHEDULES.items():
            own = queue(history, name)
            m.add_queue(own)
            m.add_schedule(
                name, own, every=seconds, input=number_of, catch_up="all", overlap=overlap
            )

    await live_on(View(history.store, process), process, until, add)


async def _history(seed: int) -> Ticks:
    rng = random.Random(f"schedules {seed}")
    history = Ticks(rng, MemoryStore(make_id=_ids(rng)))
    processes = [
        Process(f"worker {number}", random.Random(rng.random()), Limits()) for number in range(3)
    ]
    end = trio.Event()
    async with trio.open_nursery() as nursery:
        for process in processes:
            nursery.start_soon(keep_alive, history, process, end, _live)
        await trio.sleep(40)
        for process in processes:
            process.faulty = False
        # All that is late is caught up with.
        most = len(history.numbers("queued")) + 5
        with trio.move_on_after(PATIENCE):
            while len(history.numbers("queued")) < most:  # noqa: ASYNC110
                await trio.sleep(1)
        end.set()
    if len(history.numbers("queued")) < most:
        history.problems.append("19: the ticks have come to an end")
    await history.check_end()
    return history


def simulate_schedules(seed: int) -> Ticks:
    """Run the history of this seed."""
    with _seeded_scheduler(seed):
        return trio.run(_history, seed, clock=trio.testing.MockClock(autojump_threshold=0))
