"""For tests of your own handlers, schedules and whatever enqueues: m25 without a database.

A handler by itself:

    async def test_a_letter_is_sent() -> None:
        job = await m25.testing.run_job(letters, Letter(to="ada"))
        assert job.output == Receipt(pages=2)

Queues as they run. A schedule or a retry's delay takes no time; nor do a handler's own pauses, if
Trio's clock jumps, too (pytest-trio's `autojump_clock`):

    async def test_a_reminder_follows_after_a_week(autojump_clock: trio.testing.MockClock) -> None:
        async with m25.testing.open() as m:
            m.add_queue(reminders)
            await m.start()
            await sign_up(m, "ada")
            await m25.testing.drain(m, scheduled=True)
            (job,) = m25.testing.jobs(m, reminders)
            assert job.status is m25.JobStatus.SUCCEEDED

While a handler waits for a thread, a process or a socket, such a clock stands: what goes on there
takes real time, and a jump would bring the handler's deadline.

There is no database, and no transaction: `connection=` is refused. For handlers that write in a
transaction, the test gives a connection of its own: see `run_job` and `MemoryStore`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast
from uuid import uuid4

import trio

from ._client import M25, open_on
from ._duration import Duration, as_timedelta
from ._emitter import Listener, check_listeners
from ._errors import UsageError
from ._in_trio import check_in_trio
from ._job import Error, Input, Job, JobRecord, Output
from ._mock_clock import standing_mock_clock
from ._progress import ProgressNotes
from ._query import check_is_queue
from ._queue import Queue
from ._record import decode_record
from ._runtime import Runtime
from ._store.memory import Fault, MemoryStore
from ._store.protocol import ClaimedJob, Outcome, Release, SetAside, Started
from ._timestamps import duration_to_text
from ._tracer import Tracer, check_tracer
from ._waiting_limit import MOST_WAITING
from ._worker.batches import Member, RunningBatch
from ._worker.endings import LeftToNewer, Snoozed, Unfinished
from ._worker.environment import Around, Environment, check_around
from ._worker.executor import Executor, Workplace
from ._worker.kept_scope import KeptScope
from ._worker.slots import Slots

__all__ = ["Fault", "MemoryStore", "advance", "drain", "jobs", "open", "run_job"]

_NO_TIME: Final = timedelta(0)


@asynccontextmanager
async def open(
    store: MemoryStore | None = None,
    *,
    shutdown_grace: Duration = 10.0,
    around: Sequence[Around] = (),
    max_concurrency: int | None = None,
    max_waiting: int = MOST_WAITING,
    listeners: Sequence[Listener] = (),
    tracer: Tracer | None = None,
) -> AsyncGenerator[M25]:
    """Open a client as `m25.open` does, on a job table in memory.

    Args:
        store: the job table. Several clients that are given the same one are a cluster. Without it
            the client has one of its own, whose clock begins at the present time.
        shutdown_grace: as for `m25.open`; so are `around`, `max_concurrency`, `max_waiting`,
            `listeners` and `tracer`.

    Raises:
        TypeError: `around` holds what is no function of a job that returns an async context
            manager; or a listener or the tracer is none.
        ValueError: `max_concurrency` or `max_waiting` is out of range.
        UsageError: called outside of Trio.
    """
    check_in_trio("m25.testing.open")
    grace = as_timedelta(shutdown_grace, "shutdown_grace", ValueError, zero=True)
    check_around(around)
    check_listeners(listeners)
    check_tracer(tracer)
    if store is None:
        store = MemoryStore(epoch=datetime.now(UTC))
    elif not isinstance(store, MemoryStore):
        raise TypeError(f"store must be a m25.testing.MemoryStore or None, not {store!r:.80}")
    with standing_mock_clock():
        async with open_on(
            store,
            grace=grace,
            around=around,
            max_concurrency=max_concurrency,
            max_waiting=max_waiting,
            listeners=listeners,
            tracer=tracer,
        ) as m:
            yield m


async def drain(m: M25, *, scheduled: bool = False) -> None:
    """Wait until the queues that `m` runs have nothing to do: no job is due, and none is running.

    With `scheduled`, jobs that are due later run, too, retries among them: whenever there is
    nothing else to do, the store's clock is set forward to the next job's time. Trio's clock need
    not be a mock clock for that, but for turns of a `Rate`, which pass by Trio's clock. A job that
    waits for a message without a timeout stays pending.

    Schedules have no part in it: for these there is `advance`.

    There is no limit on the wait; set one with `trio.fail_after` where jobs enqueue further jobs
    for ever.

    Raises:
        ValueError: `m` is not one of `m25.testing.open`, or runs no queues.
        UsageError: called outside of Trio.
    """
    check_in_trio("m25.testing.drain")
    store = _memory_of(m)
    services = m._services  # pyright: ignore[reportPrivateUsage]
    names: Sequence[str] = () if services is None else services.queue_names
    if not names:
        raise ValueError("this client runs no queues, so there is nothing to wait for; start it")
    while True:
        await trio.lowlevel.checkpoint()
        while any(store.has_work(name) for name in names):
            await store.wait_for_change()
        if not (scheduled and store.skip_to_next(names)):
            return


async def advance(m: M25, by: Duration) -> None:
    """Let time pass for `m`, by the store's clock, and return once all is done that came meanwhile.

    Its schedules have their ticks, and its queues run their jobs, each at its time; so a year of a
    schedule takes no longer than its jobs:

        m.add_schedule("nightly", reports, "30 2 * * *", input=lambda tick: Report(tick.date()))
        await m.start()
        await m25.testing.advance(m, timedelta(days=365))

    A job that has begun takes no time of that clock, but for what its handler pauses. Trio's clock
    need not be a mock clock.

    Args:
        m: a client of `m25.testing.open` that runs queues or schedules.
        by: in seconds, or as a `timedelta`.

    Raises:
        ValueError: `m` is not one of `m25.testing.open`, or runs nothing; or `by` is no duration.
        UsageError: called outside of Trio.
    """
    check_in_trio("m25.testing.advance")
    store = _memory_of(m)
    services = m._services  # pyright: ignore[reportPrivateUsage]
    names: Sequence[str] = () if services is None else services.queue_names
    scheduler = None if services is None else services.scheduler
    if not names and scheduler is None:
        raise ValueError("this client runs nothing, so nothing comes with time; start it")
    end = store.now() + as_timedelta(by, "by", ValueError, zero=True)
    while True:
        if names:
            await drain(m)
        looked = None if scheduler is None else await scheduler.look()
        if looked is not None and looked.has_ticked:
            continue
        # The client's own task may have claimed the ticks.
        if any(store.has_work(name) for name in names):
            continue
        if store.now() >= end:
            return
        times = [end, store.next_due(names), looked and looked.next_tick]
        store.skip_to(min(time for time in times if time is not None), names)


def jobs(m: M25, queue: Queue[Input, Output, Error]) -> list[JobRecord[Input, Output, Error]]:
    """Every job of a queue, whatever became of it, in the order they were inserted.

    Raises:
        ValueError: `m` is not one of `m25.testing.open`.
        JobRecordFetchDecodeErrors: a row holds what is not of the queue's types.
    """
    check_is_queue(queue)
    rows = _memory_of(m).rows()
    return [decode_record(row, queue) for row in rows if row.queue_name == queue.name]


async def run_job(
    queue: Queue[Input, Output, Error],
    job: Input | Job[Input],
    *,
    around: Sequence[Around] = (),
    connection: Any = None,
) -> JobRecord[Input, Output, Error]:
    """Run the handler on one job, exactly as a worker does, and return what was recorded of it.

    Input, output and error go through JSON and back, and the deadline holds. A job scheduled for
    later runs with the clock set to that time. There are no retries: the next attempt, if one
    follows, does not run. A job whose `setup` fails is pending still, and so is one whose handler
    raises `Snooze`, or is set aside by `sleep` or `receive`, or whose input has a field that is not
    known. The queue's `lifespan` is entered for
    this one job, and has five seconds to end; what it raises is raised.

    A handler of batches is called with this one job.

    Nobody runs the jobs that the handler enqueues by `current_job().m`: to wait for a job there, or
    to start one in a nursery, is a `UsageError`. For these use `m25.testing.open`.

    Args:
        queue: whose handler is run.
        job: an input, or a `Job`.
        around: as for `m25.open`.
        connection: for a transactional queue, and for steps in a transaction: the test's own, on
            which the handler writes, in a savepoint, which is released where the handler succeeds
            and rolled back where it fails. So the test may look at what was written, and roll all
            of it back. Constraints that are deferred are checked at the test's commit. With
            `autocommit` it is a transaction.

    Raises:
        TypeError: `around` holds what is no function of a job that returns an async context
            manager.
        ValueRefused: the input cannot be kept as JSON.
        UsageError: called outside of Trio.
    """
    check_in_trio("m25.testing.run_job")
    check_is_queue(queue)
    check_around(around)
    asked = cast("Job[Input]", job) if isinstance(job, Job) else Job(job)
    now = datetime.now(UTC)
    store = MemoryStore(epoch=max(now, asked.scheduled_at or now), connection=connection)
    with standing_mock_clock():
        async with open_on(store, grace=_NO_TIME) as m:
            m._waiters.refuse(_nobody_runs_it)  # pyright: ignore[reportPrivateUsage]
            enqueued = await m.enqueue(queue, asked)
            runtime = m._runtime  # pyright: ignore[reportPrivateUsage]
            environment = Environment(queue, runtime, m, stopping=trio.Event(), around=around)
            await environment.run_once(lambda: _run(environment, runtime, queue))
            return await m.get_job(queue, enqueued.id)


def _nobody_runs_it() -> UsageError:
    return UsageError(
        "m25.testing.run_job runs one job, and nobody would run what is waited for here; use"
        " m25.testing.open for jobs that wait for others"
    )


async def _run(
    environment: Environment, runtime: Runtime, queue: Queue[Input, Output, Error]
) -> None:
    store = runtime.store
    token = str(uuid4())
    at_once = queue.setup is None
    (row,) = await store.claim(queue.name, token=token, limit=1, lease=queue.lease, start=at_once)

    async def start(job: ClaimedJob) -> Started:
        (started,) = await store.start([job], queue.lease)
        assert isinstance(started, Started), "nobody else knows this store"
        return started

    async def claimed(_: ClaimedJob) -> None:
        await trio.lowlevel.checkpoint()

    noted: dict[ClaimedJob, ProgressNotes] = {}
    workplace = Workplace(
        queue=queue,
        runtime=runtime,
        environment=environment,
        start=start,
        start_locked=start,
        noted=noted.__setitem__,
        slots=Slots(runtime.waiting, lambda: None),
        claimed=claimed,
        emits_all=True,
    )
    executor: Executor
    if queue.batch is not None:
        executor = RunningBatch(workplace).add(row, token)
    else:
        deadline = trio.current_time() + float(row.timeout) if at_once else math.inf
        executor = Executor(workplace, row, token, deadline, started=at_once)

    async def run() -> None:
        if isinstance(executor, Member):
            await executor.batch.run()
            return
        with closing(KeptScope()) as scopes:
            await executor.run(scopes)

    async with trio.open_nursery() as nursery:
        # In a task of its own: `current_job()` is to work there, and not in the test afterwards.
        nursery.start_soon(run)
    if noted:
        await store.report(list(noted), [notes.text for notes in noted.values()])
    result = executor.result
    if isinstance(result, Outcome):
        await store.settle([result], queue.allowed_losses)
    elif isinstance(result, SetAside):
        await store.release([Release(*executor.job, set_aside=result)], [])
    elif result is not Unfinished.COMMITTED:
        delay = duration_to_text(result.delay) if isinstance(result, Snoozed) else None
        release = Release(
            *executor.job,
            delay=delay,
            setup_failed=executor.setup_failed,
            is_newer=isinstance(result, LeftToNewer),
        )
        await store.release([release], [])


def _memory_of(m: M25) -> MemoryStore:
    store = m._runtime.store  # pyright: ignore[reportPrivateUsage]
    if not isinstance(store, MemoryStore):
        raise ValueError("this client has a database; only one of m25.testing.open can be asked")
    return store
