"""Whole clusters in one process: real clients, managers and executors over the in-memory store,
under a mock clock and a seeded scheduler, with faults at every call.

One seed is one history, the same each time. `simulate(seed)` runs it, lets the faults end, waits
for the work to be done, and returns what was promised and not kept. What limits keep from happening
is drawn all the same, so that the rest of the history stays as near as it can to what it was.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import attrs
import trio
import trio.testing
from trio._core import _run

import m25
from m25 import exponential
from m25._client import open_on
from m25._store.memory import MemoryStore
from m25._store.protocol import Release
from support.claims import claim_token
from support.failing import connection_lost

from .checker import Asked, End, Run, lock_violations, violations, wait_violations
from .hurry import SLOTS, in_slow_motion, is_hurried
from .limits import MOST_JOBS, MOST_JOBS_AT_LEISURE, MOST_WORKERS, Limits

#: How long, in simulated seconds, everything may take once the faults have ended.
PATIENCE = 3_000.0

QUEUES = ("plain", "with setup")
#: What handlers wait for, some of them.
MESSAGE = "go on"
#: What is told of the failures of the first of them.
ALERTS = "alerts"

#: How long a claim of theirs lasts without a heartbeat, in seconds.
#: How the queues try jobs again that have no numbers of their own.
BACKOFF = exponential(0.5, factor=3, cap=4, jitter=0)
LEASE = 3.0


@attrs.frozen
class Order:
    """An input: what its handler is to do, attempt by attempt."""

    number: int
    #: Seconds that each attempt takes; the last is for all that follow.
    takes: tuple[float, ...]
    #: How each ends: "ok", "declared", "crash", "swallow" its cancellation.
    ends: tuple[str, ...]


class Declared(Exception):
    """A declared error."""


#: By hand: made from annotations they take longer than the rest of a history.
CODECS: dict[str, Any] = {
    "input_to_json": attrs.asdict,
    "input_decoder": lambda value: Order(
        value["number"], tuple(value["takes"]), tuple(value["ends"])
    ),
    "output_to_json": str,
    "output_decoder": str,
    "error_to_json": lambda error: error.args[0],
    "error_decoder": Declared,
}


@attrs.define(eq=False)
class Process:
    """A worker process: a client of its own, and what the faults do to it."""

    name: str
    rng: random.Random
    limits: Limits
    faulty: bool = True
    dead: bool = False
    #: Until when nothing that it asks of the database arrives, by Trio's clock.
    frozen_until: float = 0.0
    running: int = 0
    most_running: int = 0
    #: How many jobs it has claimed for which it cannot have had slots.
    claimed_ahead: int = 0
    #: Of the claims of its present life.
    tokens: set[str] = attrs.field(factory=set)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def before(self, call: str) -> None:
        if self.dead:
            raise connection_lost(call, "the process is dead")
        await trio.sleep_until(max(self.frozen_until, trio.current_time()))
        if self.faulty:
            await self._maybe_fail(call, "error-before")

    async def after(self, call: str) -> None:
        if self.faulty or self.dead:
            await self._maybe_fail(call, "error-after")

    async def _maybe_fail(self, call: str, error: str) -> None:
        if self.dead or self.happens(error, 0.06):
            raise connection_lost(call)
        if self.happens("delay", 0.1):
            await trio.sleep(self.rng.choice((0.01, 0.3, 2.0)))

    def happens(self, fault: str, probability: float) -> bool:
        return self.rng.random() < probability and fault in self.limits.faults


class View:
    """The store as one process sees it."""

    def __init__(self, store: MemoryStore, process: Process) -> None:
        self._store = store
        self._process = process

    async def claim(self, *args: Any, token: str, on_rows: Any = None, **kwargs: Any) -> Any:
        process = self._process
        process.tokens.add(token)
        await process.before("claim")
        unbegun = {id for id, row in self._store._table.rows.items() if row.has_begun is False}
        rows = await self._store.claim(*args, token=token, on_rows=on_rows, **kwargs)
        if on_rows is not None and process.faulty and process.happens("uncommitted", 0.05):
            # The server goes down at the commit: jobs have begun of which it knows nothing.
            await trio.sleep(process.rng.choice((0.0, 0.05, 0.5)))
            await self._store.release([Release(row.id, token) for row in rows], ())
            table = self._store._table.rows
            # A database would have kept from others that these had begun.
            seen = {row.follows for row in table.values()}
            for id in unbegun.intersection(row.id for row in rows) - seen:
                table[id].has_begun = False
            raise connection_lost("claim", "connection lost at the commit")
        # What is claimed beyond the slots has nobody to begin it yet.
        process.claimed_ahead += max(0, len(rows) - SLOTS)
        await process.after("claim")
        return rows

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)

        async def asked(*args: Any, **kwargs: Any) -> Any:
            await self._process.before(name)
            answer = await call(*args, **kwargs)
            await self._process.after(name)
            return answer

        return asked

    def listen(self, names: Any, heard: Any) -> Any:
        return self._store.listen(names, heard)

    def working(self) -> Any:
        return self._store.working()

    def holding(self) -> Any:
        return self._store.holding()

    def listen_for_room(self, heard: Callable[[str | None], None]) -> Any:
        return self._store.listen_for_room(heard)

    def listen_for_ends(self, waiter: str, heard: Callable[[str | None], None]) -> Any:
        def some_heard(id: str | None) -> None:
            # As behind a pooler, or with a row that another's worker has ended.
            if not (self._process.faulty and self._process.happens("unheard", 0.3)):
                heard(id)

        return self._store.listen_for_ends(waiter, some_heard)


@attrs.define(eq=False)
class History:
    """What was done, and what the handlers saw."""

    seed: int
    rng: random.Random
    store: MemoryStore
    runs: list[Run] = attrs.field(factory=list)
    #: Ids whose enqueue was acknowledged.
    acknowledged: set[str] = attrs.field(factory=set)
    #: Ids whose cancellation was acknowledged.
    cancelled: set[str] = attrs.field(factory=set)
    #: By id, the rows for which a cancel was acknowledged: when that was, and what claim they had.
    asked: dict[str, Asked] = attrs.field(factory=dict)
    #: Ids of rows whose handler has put its job off, which it does once.
    snoozed: set[str] = attrs.field(factory=set)
    #: Ids of rows that a stranger has locked for a while.
    locked: set[str] = attrs.field(factory=set)
    #: The jobs whose handlers wait for a message, each with its queue's name and its number.
    waiting: list[tuple[str, m25.JobId, int]] = attrs.field(factory=list)
    #: The jobs that a client waits for, each with its queue's name.
    waited_for: list[tuple[str, m25.JobId]] = attrs.field(factory=list)
    #: Of these, the records that it was given as their ends, and when.
    ends: list[End] = attrs.field(factory=list)
    problems: list[str] = attrs.field(factory=list)
    faults: dict[str, int] = attrs.field(factory=dict)
    #: How many jobs were claimed for which there were no slots.
    claimed_ahead: int = 0

    def tokens(self) -> dict[str, str | None]:
        """By row, the token of its latest claim."""
        return {id: row.claim_token for id, row in self.store._table.rows.items()}

    def count(self, fault: str) -> None:
        self.faults[fault] = self.faults.get(fault, 0) + 1


def queues(history: History, process: Process) -> list[m25.Queue[Any, Any, Any]]:
    """The queues of the cluster, as this process declares them."""

    async def work(order: Order) -> str:
        job = m25.current_job()
        run = Run(
            number=len(history.runs),
            job_id=str(job.id),
            attempt=job.attempt,
            process=process.name,
            began=history.store.now(),
            run_at=job.scheduled_at or job.created_at,
            token=claim_token(),
        )
        history.runs.append(run)
        waits = waits_for_a_message(history.seed, order.number)
        # Who waits has no slot, and who is cancelled meanwhile cleans up without one.
        process.running += not waits
        process.most_running = max(process.most_running, process.running)
        which = min(job.attempt, len(order.ends)) - 1
        try:
            try:
                if waits:
                    run.put_off = True
                    if await job.receive(MESSAGE, int) != order.number:
                        history.problems.append(f"16: {run.job_id} received another's message")
                    await job.sleep(1.7)
                await trio.sleep(order.takes[which])
            except trio.Cancelled:
                if history.store._table.rows[run.job_id].cancel_requested_at and not process.dead:
                    # Now and then for longer than `cancel_grace`.
                    with trio.CancelScope(shield=True):
                        await trio.sleep((0.0, 0.5, 4.0)[order.number % 3])
                if order.ends[which] != "swallow" or process.dead:
                    raise
        finally:
            process.running -= not waits
        match order.ends[which]:
            case "declared":
                run.ended = "error"
                raise Declared(run.number)
            case "crash":
                run.ended = "crash"
                raise ValueError(run.number)
            case "again":
                run.ended = "crash"
                run.asked = 0.7
                raise m25.RetryAfter(run.asked)
            case "give up":
                run.ended = "error"
                run.gave_up = True
                raise m25.GiveUp("no") from Declared(run.number)
            case "snooze" if run.job_id not in history.snoozed:
                history.snoozed.add(run.job_id)
                run.put_off = True
                raise m25.Snooze(1.3)
        run.ended = "succeeded"
        run.returned = history.store.now()
        return str(run.number)

    options: dict[str, Any] = {
        "max_concurrency": SLOTS,
        "default_job_timeout": 20,
        "poll_interval": 2,
        "heartbeat_interval": LEASE / 3,
        "allowed_heartbeat_misses": 2,
        "allowed_losses": 3,
        "cancel_grace": 1.5,
        "retry": m25.Retry(max_attempts=3, delay=BACKOFF),
        **CODECS,
    }

    @contextlib.asynccontextmanager
    async def setup() -> AsyncIterator[None]:
        await trio.sleep(process.rng.choice((0, 0, 0, 0.5, 3)))
        if process.faulty and process.happens("no-resource", 0.05):
            raise OSError("no resource")
        yield

    async def work_with(order: Order, _: None) -> str:
        return await work(order)

    async def alert(failed: m25.FailedJob) -> str:
        return await work(Order(0, (0.1,), ("ok",)))

    alerts = m25.Queue(
        ALERTS, handler_function=alert, **{**options, "input_to_json": dict, "input_decoder": dict}
    )
    plain = m25.Queue(
        QUEUES[0], handler_function=work, errors=(Declared,), on_failure=alerts, **options
    )
    two_step = m25.Queue(
        QUEUES[1],
        handler_function=work_with,
        errors=(Declared,),
        setup=setup,
        executor_init_timeout=2,
        reserved_timeout=4,
        **options,
    )
    return [plain, two_step, alerts]


def process_limit(seed: int) -> int | None:
    """How many handlers run at once over all queues of a process; in most histories that is not
    limited.
    """
    return SLOTS if seed % 4 == 1 else None


async def live(history: History, process: Process, until: trio.Event) -> None:
    """One life of a worker process, until it is killed or the cluster's end."""
    process.scope = trio.CancelScope()
    process.dead = False
    # What a former life could not write down before it ended, under faults, is left to its lease.
    process.tokens.clear()
    with process.scope:
        grace = history.rng.choice((0.0, 1.0, 30.0))
        view = View(history.store, process)
        async with open_on(
            view,
            grace=timedelta(seconds=grace),
            rng=process.rng,
            max_concurrency=process_limit(history.seed),
        ) as m:
            for queue in queues(history, process):
                m.add_queue(queue)
            try:
                await m.start(60)
            except m25.errors.QueueStartError:
                return
            await until.wait()
            stopped_at = trio.current_time()
        check_nothing_is_left(history, process, stopped_at)


def check_nothing_is_left(history: History, process: Process, stopped_at: float) -> None:
    """After an orderly stop, and no fault on the way, no row is this process's."""
    # Frozen, it may have had no more time for its clean-up than for one last call.
    if process.faulty or process.frozen_until > stopped_at:
        return
    left = [
        row.id
        for row in history.store._table.rows.values()
        if row.status.value in ("reserved", "executing")
        and row.claim_token in process.tokens
        # What somebody has locked for longer than the clean-up takes is left to its lease.
        and row.id not in history.locked
    ]
    if left:
        history.problems.append(f"9: {process.name} stopped, and left {left} live")


async def live_on(
    view: View,
    process: Process,
    until: trio.Event,
    add: Callable[[m25.M25], None],
    beside: Callable[[m25.M25], Awaitable[None]] | None = None,
) -> None:
    """One life of a worker process that runs what `add` adds, until it is killed or is to end; and
    what it does beside its jobs.
    """
    process.scope, process.dead = trio.CancelScope(), False
    with process.scope:
        async with open_on(view, grace=timedelta(seconds=1), rng=process.rng) as m:
            add(m)
            with contextlib.suppress(m25.errors.QueueStartError):
                await m.start(60)
                if beside is None:
                    await until.wait()
                    return
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(beside, m)
                    await until.wait()
                    nursery.cancel_scope.cancel()


async def keep_alive(
    history: Any,
    process: Process,
    end: trio.Event,
    live: Callable[[Any, Process, trio.Event], Awaitable[None]] = live,
) -> None:
    """Start the process again each time it ends before the cluster does."""
    while not end.is_set():
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trouble, history, process, stop, end)
            await live(history, process, stop)
            nursery.cancel_scope.cancel()
        await trio.sleep(history.rng.uniform(0, 2))


async def trouble(history: History, process: Process, stop: trio.Event, end: trio.Event) -> None:
    """Kill, freeze or stop the process now and then, while faults last."""
    while process.faulty:
        with trio.move_on_after(history.rng.uniform(1, 15)):
            await end.wait()
            break
        if not process.faulty:
            break
        what = history.rng.choice(("kill", "freeze", "freeze", "stop"))
        if what not in process.limits.faults:
            continue
        history.count(what)
        if what == "kill":
            process.dead = True
            process.scope.cancel()
            return
        if what == "stop":
            stop.set()
            return
        process.frozen_until = trio.current_time() + history.rng.uniform(0.5, 8)
    await end.wait()
    stop.set()


async def enqueue_some(history: History, process: Process, make_id: Callable[[], str]) -> None:
    """A client that enqueues, repeats what was not acknowledged, and cancels now and then."""
    rng = history.rng
    view = View(history.store, process)
    async with open_on(view, grace=timedelta(0), rng=process.rng) as m:
        *both, _ = queues(history, process)
        hurried = is_hurried(history.seed)
        least, most = (30, MOST_JOBS) if hurried else (4, MOST_JOBS_AT_LEISURE)
        for number in range(min(rng.randint(least, most), process.limits.jobs)):
            await trio.sleep(rng.uniform(0, 0.02 if hurried else 2))
            attempts = rng.randint(1, 3)
            order = Order(
                number,
                tuple(rng.choice((0.0, 0.1, 1.0, 5.0)) for _ in range(attempts)),
                tuple(
                    rng.choice(("ok", "ok", "ok", "declared", "crash", "swallow"))
                    for _ in range(attempts)
                ),
            )
            delay = rng.choice((0, 0, 1.5))
            own = number % 3 != 0
            job = m25.Job(
                _with_requests(order, history.seed),
                id=m25.JobId(make_id()),
                # Without numbers of its own it has its queue's.
                max_attempts=attempts if own else None,
                retry_delay=delay if own else 0,
                timeout=rng.choice((None, 3.0, 0.5)),
                priority=rng.choice((0, 0, 1, -1)),
                unique_key=rng.choice((None, None, f"key {number % 3}")),
                scheduled_at=rng.choice(
                    (None, None, history.store.now() + timedelta(seconds=rng.uniform(-1, 6)))
                ),
            )
            queue = both[0] if hurried and number % 3 else rng.choice(both)
            assert job.id is not None
            for _ in range(20):
                try:
                    await m.enqueue(queue, job)
                except m25.UniqueKeyConflict:
                    break
                except m25.errors.JobRecordFetchQueryError:
                    history.count("enqueue lost")
                    await trio.sleep(0.1)
                else:
                    history.acknowledged.add(str(job.id))
                    if waits_for_a_message(history.seed, number):
                        history.waiting.append((queue.name, job.id, number))
                    history.waited_for.append((queue.name, job.id))
                    break
            if rng.random() < 0.1:
                try:
                    record = await m.cancel_job(queue, job.id)
                except m25.JobCancelError:
                    pass
                else:
                    # It may be a later attempt.
                    history.cancelled.add(str(record.id))


def _with_requests(order: Order, seed: int) -> Order:
    """The order, with some of what its handler may raise about its own job."""
    # Of its own, so that the rest of the history is the same without it.
    rng = random.Random(f"requests {seed} {order.number}")
    asked = ("snooze", "give up", "again")
    ends = tuple(rng.choice(asked) if rng.random() < 0.25 else end for end in order.ends)
    return attrs.evolve(order, ends=ends)


def waits_for_a_message(seed: int, number: int) -> bool:
    """Whether the handler of an order waits for a message, and sleeps a while after that."""
    # Of its own, so that the rest of the history is the same without it.
    return number > 0 and random.Random(f"messages {seed} {number}").random() < 0.3


async def send_messages(history: History, process: Process) -> None:
    """A client that sends each job that waits its message, until cancelled; a message that is slept
    through leaves a job that does not end.
    """
    async with open_on(View(history.store, process), grace=timedelta(0), rng=process.rng) as m:
        by_name = {queue.name: queue for queue in queues(history, process)}
        sent = 0
        while True:
            await trio.sleep(process.rng.uniform(0, 3))
            for queue_name, id, number in history.waiting[sent:]:
                sent += 1
                for _ in range(50):
                    try:
                        # A repeat after a lost answer changes nothing.
                        await m.send(by_name[queue_name], id, MESSAGE, number, key="the only one")
                    except m25.errors.JobRecordFetchQueryError:
                        history.count("send lost")
                        await trio.sleep(0.1)
                    except m25.InvalidState:
                        break
                    else:
                        break


async def wait_for_all(history: History, process: Process) -> None:
    """A client that waits for every job that was enqueued, until cancelled."""
    async with open_on(View(history.store, process), grace=timedelta(0), rng=process.rng) as m:
        by_name = {queue.name: queue for queue in queues(history, process)}

        async def wait(queue_name: str, id: m25.JobId) -> None:
            record = await m.wait(by_name[queue_name], id)
            history.ends.append(End(str(id), str(record.id), record.status.value))

        async with trio.open_nursery() as nursery:
            waits = 0
            while True:
                for each in history.waited_for[waits:]:
                    nursery.start_soon(wait, *each)
                waits = len(history.waited_for)
                await trio.sleep(0.25)


async def lock_some(history: History, limits: Limits) -> None:
    """A stranger who locks rows, each for up to two leases, until cancelled."""
    # Of its own, so that the rest of the history is the same without it.
    rng = random.Random(f"locks {history.seed}")
    store = history.store

    async def lock(id: str, seconds: float) -> None:
        store.lock(id)
        try:
            await trio.sleep(seconds)
        finally:
            store.unlock(id)

    async with trio.open_nursery() as nursery:
        while True:
            await trio.sleep(rng.uniform(0.1, 3))
            ids = [
                row.id
                for row in store.rows()
                if row.status not in FINAL and row.id not in store._table.locked
            ]
            if ids and "lock" in limits.faults:
                id = rng.choice(ids)
                history.locked.add(id)
                history.count("lock")
                nursery.start_soon(lock, id, rng.uniform(0, 2 * LEASE))


async def cancel_some(history: History, process: Process) -> None:
    """A client that cancels jobs whatever they are doing, until cancelled."""
    rng = random.Random(f"cancels {history.seed}")
    store = history.store
    async with open_on(View(store, process), grace=timedelta(0), rng=rng) as m:
        both = {queue.name: queue for queue in queues(history, process)}
        while True:
            await trio.sleep(rng.uniform(0.5, 4))
            live = [row for row in store.rows() if row.status not in FINAL]
            if not live or "cancel" not in process.limits.faults:
                continue
            row = rng.choice(live)
            try:
                record = await m.cancel_job(
                    both[row.queue_name], m25.JobId(row.id), running=rng.random() < 0.9
                )
            except m25.JobCancelError:
                continue
            history.count("cancel")
            id = str(record.id)
            if record.status is m25.JobStatus.CANCELLED:
                history.cancelled.add(id)
            token = store._table.rows[id].claim_token
            history.asked.setdefault(id, Asked(store.now(), token))


async def watch(history: History) -> None:
    """What must hold at any moment."""
    while True:
        await trio.sleep(0.5)
        keys: dict[str, str] = {}
        for row in history.store.rows():
            if row.unique_key and row.status not in ("failed", "cancelled"):
                if row.unique_key in keys:
                    history.problems.append(f"5: two rows hold {row.unique_key!r}")
                keys[row.unique_key] = row.id


def _ids(rng: random.Random) -> Callable[[], str]:
    counter = iter(range(1, 1 << 30))
    return lambda: str(UUID(int=next(counter) << 64 | rng.getrandbits(62)))


async def _history(seed: int, limits: Limits) -> History:
    rng = random.Random(seed)
    make_id = _ids(rng)
    history = History(seed, rng, MemoryStore(make_id=make_id))
    processes = [
        Process(f"worker {n}", random.Random(rng.getrandbits(64)), limits)
        for n in range(rng.randint(1, MOST_WORKERS))
    ][: limits.workers]
    client = Process("client", random.Random(rng.getrandbits(64)), limits)
    # Of its own, so that the rest of the history is the same without it.
    waiter = Process("waiter", random.Random(f"waits {seed}"), limits)
    sender = Process("sender", random.Random(f"sends {seed}"), limits)
    end = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, history)
        strangers = await nursery.start(_cancellable, lock_some, history, limits)
        nursery.start_soon(wait_for_all, history, waiter)
        nursery.start_soon(send_messages, history, sender)
        cancels = await nursery.start(_cancellable, cancel_some, history, client)
        async with trio.open_nursery() as workers:
            for process in processes:
                workers.start_soon(keep_alive, history, process, end)
            await enqueue_some(history, client, make_id)
            await trio.sleep(rng.uniform(0, 20))
            strangers.cancel()
            cancels.cancel()
            for process in (*processes, waiter, sender):
                # Who is frozen still is: what it asks meanwhile arrives when that is over.
                process.faulty = False
            with trio.move_on_after(PATIENCE) as patience:
                # Each look costs; a simulated second is nothing.
                while any(row.status not in FINAL for row in history.store.rows()):  # noqa: ASYNC110
                    await trio.sleep(1)
            if patience.cancelled_caught:
                stuck = [row.id for row in history.store.rows() if row.status not in FINAL]
                history.problems.append(f"2: not ended after {PATIENCE:g} s: {stuck}")
            # Nothing is notified of what ended before: the next poll finds it.
            with trio.move_on_after(PATIENCE):
                while len(history.ends) < len(history.waited_for):  # noqa: ASYNC110
                    await trio.sleep(1)
            end.set()
        nursery.cancel_scope.cancel()
    for process in processes:
        history.claimed_ahead += process.claimed_ahead
        # Without a limit of the process each of its three queues may run that many.
        if process.most_running > (process_limit(seed) or 3 * SLOTS):
            history.problems.append(f"6: {process.name} ran {process.most_running} at once")
    history.problems += violations(
        history.store.rows(),
        history.runs,
        history.acknowledged,
        history.cancelled,
        history.tokens(),
        history.asked,
        backoff=BACKOFF,
    )
    history.problems += wait_violations(
        history.store.rows(), [str(id) for _, id in history.waited_for], history.ends
    )
    if limits.faults <= {"lock"}:
        history.problems += lock_violations(history.store.rows(), history.runs, history.locked)
    return history


async def _cancellable(
    run: Callable[..., Awaitable[None]],
    *args: Any,
    task_status: trio.TaskStatus[trio.CancelScope],
) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await run(*args)


FINAL = ("succeeded", "failed", "cancelled")


@contextlib.contextmanager
def _seeded_scheduler(seed: int) -> Any:
    before = _run._ALLOW_DETERMINISTIC_SCHEDULING
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True
    _run._r.seed(seed)
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        _run._ALLOW_DETERMINISTIC_SCHEDULING = before


def simulate(seed: int, limits: Limits = Limits()) -> History:  # noqa: B008 - frozen
    """Run the history of this seed, within these limits."""
    with _seeded_scheduler(seed), in_slow_motion(is_hurried(seed)):
        return trio.run(_history, seed, limits, clock=trio.testing.MockClock(autojump_threshold=0))
