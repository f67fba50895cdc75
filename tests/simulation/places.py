"""A cluster whose jobs run under limits, with faults at every call: two queues share one, another
has one for each key, a fourth is fair between keys, a fifth has a rate with a clock for each, and a
sixth runs the jobs of each in order. Places of two of the limits are held outside of jobs, too.

Whatever happens to a process, its handlers have ended before others begin in their places. In half
of the histories nearly all jobs are brief, so that some wait in a process for the place of another;
now and then one of these is slow.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import attrs
import trio
import trio.testing

import m25
from m25._client import open_on
from m25._lifecycle import FINAL
from m25._store.memory import MemoryStore
from m25._store.memory.rows import UNIX_EPOCH

from .cluster import PATIENCE, Process, View, _ids, _seeded_scheduler, keep_alive, live_on
from .limits import Limits

SHARED = m25.Limit(2, name="gpu")
BY_KEY = m25.Limit(1, key="key")
RATE = m25.Rate(1, per=2, burst=2, key="key", cost="takes")
#: By queue, how many jobs there are.
JOBS = {"images": 14, "films": 8, "orders": 12, "letters": 16, "parcels": 16, "steps": 12}
#: By how many times as many there are of those that share a limit, where they are brief.
MORE = 8
#: How long jobs take, in seconds, in the two kinds of histories.
SLOW, BRIEF = (0, 0.1, 0.5, 2, 6), (0, 0.01, 0.03, 0.03, 0.03, 0.03, 0.05, 0.05, 0.05, 0.6)
#: Of the fair queue, how many jobs are put first, all of one key; then come those of others.
FIRST = 12


@attrs.frozen
class Work:
    key: str
    takes: float
    number: int = 0


#: By hand: made from annotations they take longer than the rest of a history.
CODECS: dict[str, Any] = {
    "input_to_json": attrs.asdict,
    "input_decoder": lambda value: Work(value["key"], value["takes"], value["number"]),
    "output_to_json": lambda _: None,
    "output_decoder": lambda _: None,
}


@attrs.define(eq=False)
class Places:
    """What came of a history."""

    seed: int
    rng: random.Random
    store: MemoryStore
    #: How many handlers run, by what is limited.
    running: Counter[str] = attrs.field(factory=Counter)
    #: Of the fair queue, the keys of jobs as they were claimed: a process that dies may never have
    #: begun them.
    turns: list[str] = attrs.field(factory=list)
    #: Of the ordered queue, the numbers of jobs as they began, by key.
    steps: dict[str, list[int]] = attrs.Factory(dict[str, list[int]])
    #: How many jobs have begun in a place that was passed on, and how many were to wait for it.
    passed_on: int = 0
    behind: int = 0
    #: Of the queue with a rate, by key, when jobs were claimed, and what each cost.
    claimed: defaultdict[str, list[tuple[float, int]]] = attrs.field(
        factory=lambda: defaultdict(list)
    )
    #: How often places were held outside of jobs.
    held: Counter[str] = attrs.field(factory=Counter)
    faults: Counter[str] = attrs.field(factory=Counter)
    problems: list[str] = attrs.field(factory=list)

    @property
    def is_brief(self) -> bool:
        """Whether nearly all jobs are brief."""
        return self.seed % 2 == 0

    def count(self, fault: str) -> None:
        self.faults[fault] += 1

    @contextmanager
    def one(self, what: str, most: int) -> Generator[None]:
        self.running[what] += 1
        if self.running[what] > most:
            self.problems.append(f"20: {self.running[what]} run at once of {what}")
        try:
            yield
        finally:
            self.running[what] -= 1


class PlacesView(View):
    """The store as one process sees it; counts what was passed on."""

    def __init__(self, history: Places, process: Process) -> None:
        super().__init__(history.store, process)
        self._history = history

    async def succeed_and_claim(self, *args: Any, **kwargs: Any) -> Any:
        await self._process.before("succeed_and_claim")
        passed = await self._store.succeed_and_claim(*args, **kwargs)
        self._history.passed_on += len(passed.rows)
        self._history.behind += len(passed.places) - len(set(passed.places.values()))
        await self._process.after("succeed_and_claim")
        return passed

    async def claim_fairly(self, *args: Any, **kwargs: Any) -> Any:
        await self._process.before("claim")
        answer = await self._store.claim_fairly(*args, **kwargs)
        inputs = [CODECS["input_decoder"](json.loads(row.input)) for row in answer.rows]
        self._history.turns += [work.key for work in inputs]
        await self._process.after("claim")
        return answer

    async def claim_by_rate(self, *args: Any, **kwargs: Any) -> Any:
        await self._process.before("claim")
        answer = await self._store.claim_by_rate(*args, **kwargs)
        for row in answer.rows:
            work = CODECS["input_decoder"](json.loads(row.input))
            at = float(row.reserved_at)
            self._history.claimed[work.key].append((at, max(1, math.ceil(work.takes))))
        await self._process.after("claim")
        return answer


def queues(history: Places) -> list[m25.Queue[Work, None, Any]]:
    async def share(work: Work) -> None:
        with history.one("gpu", SHARED.size):
            await trio.sleep(work.takes)
        if history.rng.random() < (0.02 if history.is_brief else 0.2):
            raise OSError

    async def one_by_one(work: Work) -> None:
        with history.one(work.key, BY_KEY.size):
            await trio.sleep(work.takes)

    async def takes_time(work: Work) -> None:
        await trio.sleep(work.takes)

    async def in_order(work: Work) -> None:
        history.steps.setdefault(work.key, []).append(work.number)
        with history.one(f"step {work.key}", 1):
            await trio.sleep(work.takes)
        if history.rng.random() < 0.2:
            raise OSError

    options: dict[str, Any] = {
        "max_concurrency": 3,
        "poll_interval": 2,
        "heartbeat_interval": 1,
        "allowed_heartbeat_misses": 2,
        "allowed_losses": 1_000,
        "retry": m25.Retry(max_attempts=1_000, delay=0.5),
        **CODECS,
    }
    return [
        m25.Queue("images", handler_function=share, limit=SHARED, **options),
        m25.Queue("films", handler_function=share, limit=SHARED, **options),
        m25.Queue("orders", handler_function=one_by_one, limit=BY_KEY, **options),
        m25.Queue("letters", handler_function=takes_time, fair_by="key", **options),
        m25.Queue("parcels", handler_function=takes_time, rate=RATE, **options),
        m25.Queue("steps", handler_function=in_order, ordered_by="key", **options),
    ]


async def _live(history: Places, process: Process, until: trio.Event) -> None:
    def add(m: m25.M25) -> None:
        for queue in queues(history):
            m.add_queue(queue)

    async def hold(m: m25.M25) -> None:
        async with trio.open_nursery() as nursery:
            for limiter, what, most in (
                (m.limiter(SHARED, lease=4), "gpu", SHARED.size),
                (m.limiter("orders", key="a", lease=4), "a", BY_KEY.size),
            ):
                nursery.start_soon(_hold, history, process, limiter, what, most)

    await live_on(PlacesView(history, process), process, until, add, hold)


async def _hold(
    history: Places, process: Process, limiter: m25.Limiter, what: str, most: int
) -> None:
    """Hold a place of a limit outside of jobs, again and again; who waits may go away."""
    rng = process.rng
    patience = (0.5, 5, 60)
    while True:
        await trio.sleep(rng.uniform(0, 4))
        with (
            trio.move_on_after(rng.choice(patience)),
            contextlib.suppress(m25.errors.PlaceLost),
        ):
            async with limiter:
                with history.one(what, most):
                    history.held[what] += 1
                    await trio.sleep(rng.choice((0, 0.1, 1, 5)))


async def _take_turns(history: Places, until: trio.Event) -> None:
    """Take turns of the rate, for what is no job."""
    with trio.move_on_after(20):
        while not until.is_set():
            cost = history.rng.choice((1, 1, 2, 4))
            if turn := await history.store.take_turn("parcels", key="a", cost=cost):
                wait = turn.wait or 0
                at = (history.store.now() - UNIX_EPOCH).total_seconds() + wait
                history.claimed["a"].append((at, cost))
                await trio.sleep(wait)
            await trio.sleep(history.rng.uniform(0, 10))


async def _history(seed: int) -> Places:
    rng, brief = random.Random(f"places {seed}"), random.Random(f"brief {seed}")
    history = Places(seed, rng, MemoryStore(make_id=_ids(rng)))
    workers = [Process(f"worker {n}", random.Random(rng.random()), Limits()) for n in range(3)]
    end = trio.Event()
    async with open_on(history.store, grace=timedelta(0)) as m, trio.open_nursery() as nursery:
        for queue in queues(history):
            for number in range(JOBS[queue.name]):
                key = "a" if queue.fair_by is not None and number < FIRST else rng.choice("abc")
                work = Work(key, rng.choice(SLOW), number)
                if history.is_brief and queue.limit is SHARED:
                    for takes in brief.choices(BRIEF, k=MORE):
                        await m.enqueue(queue, Work(key, takes))
                    continue
                await m.enqueue(queue, work)
        nursery.start_soon(_take_turns, history, end)
        for process in workers:
            nursery.start_soon(keep_alive, history, process, end, _live)
        await trio.sleep(rng.uniform(20, 60))
        for process in workers:
            process.faulty = False
        with trio.move_on_after(PATIENCE):
            while any(row.status not in FINAL for row in history.store._table.rows.values()):  # noqa: ASYNC110
                await trio.sleep(1)
        end.set()
    history.problems += [
        f"20: {row.id} has not ended: {row.status}"
        for row in history.store._table.rows.values()
        if row.status not in FINAL
    ]
    history.problems += _too_many(history)
    history.problems += [
        f"26: those of {key} have begun in another order: {numbers}"
        for key, numbers in history.steps.items()
        if numbers != sorted(numbers)
    ]
    if all(key == "a" for key in history.turns[: FIRST - 3]):
        history.problems.append(f"24: all keys but one were starved: {history.turns}")
    return history


def _too_many(history: Places) -> list[str]:
    """Keys of which more began in a time than their rate allows, whatever the time."""
    found: list[str] = []
    for key, unsorted in history.claimed.items():
        claimed = sorted(unsorted, key=lambda each: each[0])
        for first, (began, _) in enumerate(claimed):
            # What begins is paid for before the next may: the last one's own cost is not.
            paid, (_, latest_cost) = 0, claimed[first]
            for at, cost in claimed[first + 1 :]:
                paid += latest_cost
                saved_up = (at - began) / RATE.interval.total_seconds() + RATE.burst
                if paid + min(cost, RATE.burst + 1) > saved_up + 1.001:
                    found.append(f"20: more begin of {key} than its rate, from {began} to {at}")
                latest_cost = cost
    return found


def simulate_places(seed: int) -> Places:
    """Run the history of this seed."""
    with _seeded_scheduler(seed):
        return trio.run(_history, seed, clock=trio.testing.MockClock(autojump_threshold=0))
