"""Whole trees of jobs under faults, beside the same trees of functions in Trio's own nurseries.

A program is a tree. Each node works, starts those below it in a nursery, works on, and returns or
raises. As functions its nodes end in one way; as jobs they are to end alike, whoever is killed.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

import attrs
import trio
import trio.testing

import m25
from m25._client import open_on
from m25._lifecycle import FINAL
from m25._running_job import current_attempt
from m25._store.memory import MemoryStore
from m25._store.protocol import JobRow

from .cluster import PATIENCE, Process, View, _cancellable, _ids, _seeded_scheduler
from .limits import Limits

DEPTH: Final = 5
FAULTS: Final = frozenset({"kill", "freeze", "stop", "delay", "unheard"})
_FINAL: Final = frozenset(status.value for status in FINAL)


@attrs.frozen
class Node:
    name: str
    #: For how long it works before it starts others, and in the block after that, in seconds.
    before: float
    within: float
    raises: bool
    below: Sequence[Node]

    def all(self) -> list[Node]:
        """It, and all below it."""
        return [self, *(node for each in self.below for node in each.all())]


class Wrong(Exception):
    """What a node raises."""


def generate(rng: random.Random, depth: int, name: str = "0") -> Node:
    """A program; every other one has nodes that raise."""
    wrong = 0.0 if rng.random() < 0.5 else 0.2

    def make(depth: int, name: str) -> Node:
        width = rng.choice((0, 1, 2, 2, 3)) if depth else 0
        return Node(
            name,
            before=rng.uniform(0.1, 2),
            within=rng.uniform(0.1, 2),
            raises=rng.random() < wrong,
            below=[make(depth - 1, f"{name}.{number}") for number in range(width)],
        )

    return make(depth, name)


async def as_function(node: Node, ended: dict[str, str]) -> None:
    """Run a program by `trio.open_nursery`."""
    ended[node.name] = "failed"
    try:
        await trio.sleep(node.before)
        async with trio.open_nursery() as nursery:
            for each in node.below:
                nursery.start_soon(as_function, each, ended)
            await trio.sleep(node.within)
            if node.raises:
                raise Wrong(node.name)
    except trio.Cancelled:
        ended[node.name] = "cancelled"
        raise
    ended[node.name] = "succeeded"


def node_queue(has_left: Callable[[], None] = lambda: None) -> m25.Queue[Any, Any, Any]:
    """The queue of a program's nodes: parents and children on one queue of few slots.

    `has_left` is called by a handler whose block has ended by itself.
    """

    @m25.queue(
        "nodes",
        max_concurrency=2,
        poll_interval=1,
        heartbeat_interval=1,
        allowed_heartbeat_misses=2,
        allowed_losses=1_000,
        default_job_timeout=100_000,
        input_to_json=_to_json,
        input_decoder=_from_json,
    )
    async def run(node: Node) -> str:
        await trio.sleep(node.before)
        try:
            async with m25.current_job().open_nursery() as nursery:
                for number, each in enumerate(node.below):
                    key = None if number % 2 else each.name
                    await nursery.start_job(queue, each, key=key)
                await trio.sleep(node.within)
                if node.raises:
                    raise Wrong(node.name)
        except Exception:
            has_left()
            raise
        has_left()
        return node.name

    queue: m25.Queue[Any, Any, Any] = run
    return queue


def _to_json(node: Node) -> Any:
    below = [_to_json(each) for each in node.below]
    return [node.name, node.before, node.within, node.raises, below]


def _from_json(value: Any) -> Node:
    name, before, within, raises, below = value
    return Node(name, before, within, raises, [_from_json(each) for each in below])


@attrs.define(eq=False)
class TreeHistory:
    """What was seen."""

    problems: list[str] = attrs.field(factory=list)
    faults: Counter[str] = attrs.field(factory=Counter[str])
    #: How the program has ended, as functions and as jobs, and how many of the jobs succeeded.
    as_functions: str = ""
    as_jobs: str = ""
    succeeded: int = 0


def orphans(rows: Sequence[JobRow]) -> list[str]:
    """Live jobs below one that has ended, or was cancelled, which nobody has asked to end."""
    latest: dict[str, JobRow] = {}
    for row in rows:
        job_id = row.original_attempt_id or row.id
        if job_id not in latest or latest[job_id].attempt < row.attempt:
            latest[job_id] = row
    below = defaultdict[str, list[str]](list)
    for job_id, row in latest.items():
        if row.parent_id is not None:
            below[row.parent_id].append(job_id)
    found: list[str] = []
    ended = [job_id for job_id, row in latest.items() if row.status in _FINAL]
    seen: set[str] = set()
    while ended:
        for job_id in below[ended.pop()]:
            row = latest[job_id]
            if row.status not in _FINAL and row.cancel_requested_at is None:
                found.append(f"18: {job_id} is {row.status} below a job that has ended")
            if job_id not in seen:
                seen.add(job_id)
                ended.append(job_id)
    return found


def look_below(store: MemoryStore, history: TreeHistory) -> None:
    """See whether all that the calling job has started has ended, since its block was left."""
    attempt = current_attempt.get()
    is_cancelled = trio.current_effective_deadline() < trio.current_time()
    held, _ = store._table.held([attempt.job])
    if is_cancelled or not held:
        return
    live = [
        row.id
        for row in store.rows()
        if row.parent_id == attempt.row.job_id and row.status not in _FINAL
    ]
    if live:
        history.problems.append(f"18: {live} go on below {attempt.row.id}, which has left them")


async def _keep_alive(
    store: MemoryStore, process: Process, history: TreeHistory, end: trio.Event
) -> None:
    rng = process.rng
    while not end.is_set():
        process.scope, process.dead = trio.CancelScope(), False
        stop = trio.Event()

        async def trouble(stop: trio.Event = stop) -> None:
            while process.faulty:
                with trio.move_on_after(rng.uniform(1, 15)):
                    await end.wait()
                    break
                what = rng.choice(("kill", "kill", "freeze", "stop"))
                history.faults[what] += 1
                if what == "kill":
                    process.dead = True
                    process.scope.cancel()
                    return
                if what == "stop":
                    stop.set()
                    return
                process.frozen_until = trio.current_time() + rng.uniform(0.5, 8)
            await end.wait()
            stop.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trouble)
            with process.scope:
                grace = timedelta(seconds=rng.choice((0.0, 1.0, 5.0)))
                async with open_on(View(store, process), grace=grace, rng=rng) as m:  # type: ignore[arg-type]
                    m.add_queue(node_queue(partial(look_below, store, history)))
                    with contextlib.suppress(m25.errors.QueueStartError):
                        await m.start(60)
                        await stop.wait()
            nursery.cancel_scope.cancel()
        await trio.sleep(rng.uniform(0, 2))


async def _cancel_some(store: MemoryStore, m: m25.M25, rng: random.Random) -> None:
    """Cancel nodes, wherever they are, until cancelled."""
    queue = node_queue()
    while True:
        await trio.sleep(rng.uniform(1, 20))
        live = [row for row in store.rows() if row.status not in _FINAL]
        if live:
            with contextlib.suppress(m25.JobCancelError):
                await m.cancel_job(queue, m25.JobId(rng.choice(live).id), running=True)


async def _watch(store: MemoryStore, history: TreeHistory) -> None:
    while True:
        await trio.sleep(0.25)
        history.problems += orphans(store.rows())


async def _history(seed: int, *, cancels: bool) -> TreeHistory:
    rng = random.Random(f"trees {seed}")
    history = TreeHistory()
    program = generate(rng, DEPTH)
    ended: dict[str, str] = {}
    with contextlib.suppress(BaseExceptionGroup):
        await as_function(program, ended)
    history.as_functions = ended[program.name]
    store = MemoryStore(make_id=_ids(random.Random(rng.getrandbits(64))))
    limits = Limits(FAULTS)
    processes = [
        Process(f"worker {n}", random.Random(rng.getrandbits(64)), limits)
        for n in range(rng.randint(1, 3))
    ]
    end = trio.Event()
    async with (
        open_on(store, grace=timedelta(0), rng=random.Random(rng.getrandbits(64))) as m,
        trio.open_nursery() as nursery,
    ):
        root = await m.enqueue(node_queue(), program)
        nursery.start_soon(_watch, store, history)
        stranger = None
        if cancels:
            stranger = await nursery.start(_cancellable, _cancel_some, store, m, rng)
        async with trio.open_nursery() as workers:
            for process in processes:
                workers.start_soon(_keep_alive, store, process, history, end)
            await trio.sleep(rng.uniform(5, 60))
            if stranger is not None:
                stranger.cancel()
            for process in processes:
                process.faulty = False
            with trio.move_on_after(PATIENCE) as patience:
                while any(row.status not in _FINAL for row in store.rows()):  # noqa: ASYNC110
                    await trio.sleep(1)
            if patience.cancelled_caught:
                stuck = [row.id for row in store.rows() if row.status not in _FINAL]
                history.problems.append(f"2: not ended after {PATIENCE:g} s: {stuck}")
            end.set()
        nursery.cancel_scope.cancel()
    chain = [row for row in store.rows() if str(root.id) in (row.id, row.original_attempt_id)]
    history.as_jobs = chain[-1].status
    _compare(history, program, store.rows(), cancels=cancels)
    return history


def _compare(history: TreeHistory, program: Node, rows: Sequence[JobRow], *, cancels: bool) -> None:
    started = Counter(_from_json_name(row) for row in rows if row.attempt == 1)
    done = {_from_json_name(row) for row in rows if row.status == "succeeded"}
    history.succeeded = len(done)
    history.problems += [
        f"18: {name} was started {count} times" for name, count in started.items() if count > 1
    ]
    if cancels:
        return
    if history.as_jobs != history.as_functions:
        history.problems.append(
            f"18: as functions {history.as_functions}, as jobs {history.as_jobs}"
        )
    if history.as_functions == "succeeded" and done != {node.name for node in program.all()}:
        history.problems.append("18: the root has succeeded, and others have not")


def _from_json_name(row: JobRow) -> str:
    return row.input.split('"')[1]


def simulate_tree(seed: int, *, cancels: bool) -> TreeHistory:
    """Run the tree of this seed; with `cancels`, somebody cancels nodes of it."""
    with _seeded_scheduler(seed):

        async def main() -> TreeHistory:
            return await _history(seed, cancels=cancels)

        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
