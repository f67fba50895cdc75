"""The client: what a program holds in its `m25.open` block; long, since all calls are here."""

from __future__ import annotations

import os
import random
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Unpack
from uuid import UUID

import attrs
import trio

from . import migrations, pg
from ._activity import QueueRate, WorkerRecord, list_rates, list_workers
from ._base_queue import BaseQueue
from ._cancel_asks import cancel_errors, check_words
from ._cancel_call import CancelCall
from ._changes import UNCHANGED, Unchanged, make_change
from ._children import Children
from ._duration import Duration, as_timedelta
from ._emitter import Emitter, Listener, check_listeners
from ._enqueue.answers import EnqueuedMany
from ._enqueue.enqueuer import Enqueuer
from ._errors import (
    AlreadyStarted,
    ClientClosed,
    DatabaseUnavailable,
    DuplicateQueue,
    InvalidQueue,
    InvalidState,
    UsageError,
)
from ._events import NeverStarted, NothingToRun
from ._family import FamilyOfClient, FamilyOfJob, NurseryNames
from ._groups import without_nursery
from ._holders import Holders
from ._in_transaction import refuse_in_transaction
from ._in_trio import check_in_trio
from ._job import Error, Input, Job, JobId, JobRecord, JobStatus, Output
from ._job_filter import JobFilter
from ._job_nursery import JobNursery
from ._keep import Keep
from ._limit_records import LimitRecord, list_limits
from ._limiter import Limiter, limiter_of
from ._limits import Limit, Rate, check_alike
from ._lock_waits import LockWaits
from ._operations import ChangedJobs, Operations
from ._operator import Operator, QueueRecord
from ._process_slots import slots_of
from ._progress import Progress
from ._query import as_job_id, check_connection, check_is_queue, raise_query_error
from ._queue import Queue
from ._queue_checks import failure_cycle
from ._record import decode_record, found_row
from ._remote import reference_of
from ._results import Results
from ._running_job import Attempt
from ._runtime import Runtime
from ._schedule import CatchUp, Overlap, Schedule, make_schedule
from ._schedule_calls import ScheduleRecord, find_time, list_schedules, pause_schedule
from ._schedule_errors import DuplicateSchedule, NoScheduleFound
from ._scheduler import Scheduler
from ._send_call import send_message
from ._services import Services
from ._stack import JobStack
from ._stack_call import ask_for_stack
from ._step_names import check_name
from ._store.failures import StatementFailed
from ._store.postgres import PostgresStore, StoreConnection, prepare_connection
from ._store.protocol import NewMessage, Store
from ._summaries import JobCounts, JobDetails, JobPage
from ._tracer import Tracer, check_tracer
from ._waiters import Waiters
from ._waiting_limit import MOST_WAITING, WaitingLimit, check_most_waiting
from ._waits import message_codec
from ._worker.environment import Around, check_around
from ._worker.executor import is_in_job_of
from .instrumentation.logging import LoggingListener

#: How long a call waits for a connection, in seconds: short enough that an outage is soon reported,
#: long enough for an enqueue not to notice a brief outage.
_CONNECTION_TIMEOUT: Final = 10.0
#: How long after its first job a queue may be started, in seconds, before that is told.
_LONGEST_BEFORE_START: Final = 10.0


class M25:
    """A client of one job table, made by `open`.

    It enqueues, reads and cancels jobs; and, once queues were added and it was started, runs them.
    """

    def __init__(
        self,
        runtime: Runtime,
        nursery: trio.Nursery,
        *,
        shutdown_grace: float,
        around: Sequence[Around] = (),
    ) -> None:
        self._around = tuple(around)
        self._runtime = runtime
        self._nursery = nursery
        self._shutdown_grace = shutdown_grace
        self._closed = False
        self._queues: dict[str, Queue[Any, Any, Any]] = {}
        self._schedules: dict[str, Schedule[Any]] = {}
        self._services: Services | None = None
        #: Whether the queues were ever started, or an event said that they were not.
        self._start_settled = False
        #: Set once a job was put on a queue that was added, and not started.
        self._waits_for_start = trio.Event()
        self._lock_waits = LockWaits(self._check_open)
        self._enqueuer = Enqueuer(runtime, self._lock_waits, self._closed_error)
        self._waiters = Waiters(runtime, self._closed_error)
        self._holders = Holders(runtime, self._closed_error)
        self._results = Results(runtime, self._enqueuer, self._waiters)
        self._operator = Operator(runtime)
        self._operations = Operations(runtime, self._lock_waits)
        self._children = Children(
            runtime, self._enqueuer, self._waiters.channel, self._closed_error
        )

    def add_queue(self, queue: Queue[Any, Any, Any]) -> None:
        """Register a queue, to be run by `start` or `run`. Enqueueing does not need it.

        Raises:
            DuplicateQueue: a queue of that name is registered already.
            AlreadyStarted: the queues are running already.
            InvalidQueue: its handler is to run in processes, and no process could import it; or it
                shares a limit with another queue, and the two declare different ones.
            ClientClosed: the block was left.
        """
        check_is_queue(queue, Queue)
        self._check_open()
        if self._services is not None:
            raise AlreadyStarted(
                f"queue {queue.name!r} must be added before the queues are started"
            )
        if queue.name in self._queues:
            raise DuplicateQueue(queue.name)
        if queue.runs == "process":
            reference_of(queue)
        for other in self._queues.values():
            check_alike(queue, other)
        self._queues[queue.name] = queue

    def add_schedule(
        self,
        name: str,
        queue: Queue[Input, Any, Any],
        expression: str | None = None,
        *,
        every: Duration | None = None,
        timezone: str = "UTC",
        input: Input | Job[Input] | Callable[[datetime], Input | Job[Input]],  # noqa: A002
        catch_up: CatchUp = "last",
        overlap: Overlap = "allow",
        jitter: Duration = 0.0,
    ) -> None:
        """Add a schedule, by which a queue is given a job at each tick, once `start` or `run` runs.

            m.add_schedule("nightly", reports, "30 2 * * *", timezone="Europe/Berlin",
                           input=lambda tick: Report(tick.date()))

        Any number of processes may add the same one, and each tick has one job all the same. The
        same name in a database is the same schedule: declared otherwise, it is so from then on. It
        has ticks while a process runs that has declared it; and its jobs run where `queue` does,
        which need not be here. A new schedule begins with the next tick.

        Args:
            name: of the schedule, up to 200 characters.
            queue: where the jobs are put.
            expression: five fields as of cron; see `next_ticks`.
            every: in place of an expression, the time between ticks, in seconds or as a
                `timedelta`, a second or more. They are its multiples since 1970-01-01 00:00 UTC.
            timezone: in whose local time the expression is meant, such as "Europe/Berlin".
            input: the input of each job, or a `Job`; or a function that is given the tick, an aware
                datetime in that time zone, and returns one of these. It may be called in several
                processes, and more than once. A `Job` has no id, time or key of its own; its
                `scheduled_at` is the tick.
            catch_up: which of the ticks run that were missed, as no process was there: the "last",
                "all", one after the other, or "none", but for those that are less than a minute
                late.
            overlap: what becomes of a tick while the job of the one before has not ended: "allow"
                runs both; "skip" passes over the tick; with "queue" it waits, and with "cancel" it
                waits, too, and the earlier job is cancelled, also while it runs. To ticks that
                come while one waits, `catch_up` applies.
            jitter: the longest that a job is due after its tick, in seconds or as a `timedelta`:
                each tick has a part of it, by chance, and the same in every process.

        Raises:
            InvalidSchedule: an argument is not as above.
            DuplicateSchedule: this client has a schedule of that name already.
            ValueRefused: the input is given as a value, and cannot be kept as JSON.
            AlreadyStarted: the queues are running already.
            ClientClosed: the block was left.
        """
        check_is_queue(queue)
        self._check_open()
        if self._services is not None:
            raise AlreadyStarted(
                f"schedule {name!r:.80} must be added before the queues are started"
            )
        schedule = make_schedule(
            name,
            queue,
            expression,
            every=every,
            timezone=timezone,
            input=input,
            catch_up=catch_up,
            overlap=overlap,
            jitter=jitter,
        )
        if name in self._schedules:
            raise DuplicateSchedule(name)
        self._schedules[name] = schedule

    async def schedules(self) -> list[ScheduleRecord]:
        """All schedules that were ever declared in this database, in the order of names.

        Raises:
            JobRecordFetchQueryError: the database failed.
            ClientClosed: the block was left.
        """
        self._check_usable("schedules")
        return await list_schedules(self._runtime)

    async def pause_schedule(self, name: str) -> None:
        """Pause a schedule: from now on it has no ticks, in any process, until it is resumed.

        A pause outlasts restarts and other declarations. Jobs that are there already run.

        Raises:
            NoScheduleFound: no schedule of that name was ever declared.
            InvalidSchedule: the name is no text, or is empty.
            JobRecordFetchQueryError, ClientClosed: as `schedules` does.
        """
        self._check_usable("pause_schedule")
        await pause_schedule(self._runtime, name, is_paused=True)

    async def resume_schedule(self, name: str) -> None:
        """Resume a schedule: it goes on with its next tick, and those of the pause do not run.

        Other processes hear of it within ten seconds.

        Raises:
            NoScheduleFound, InvalidSchedule, JobRecordFetchQueryError, ClientClosed: as
                `pause_schedule` does.
        """
        self._check_usable("resume_schedule")
        await pause_schedule(self._runtime, name, is_paused=False)

    async def run_schedule(self, name: str) -> JobRecord[Any, Any, Any]:
        """Put a job of one of this client's schedules on its queue now, apart from all ticks.

        Its input is as of a tick at this moment, by the database's clock. It is not asked whether
        the schedule is paused, or a job of it live.

        Raises:
            NoScheduleFound: this client has added no schedule of that name.
            JobRecordFetchQueryError: the database failed before anything was put there.
            EnqueueError, ValueRefused, ClientClosed: as `enqueue` does.
            Exception: the function that makes the input has raised it.
        """
        self._check_usable("run_schedule")
        schedule = self._schedules.get(name)
        if schedule is None:
            raise NoScheduleFound(name, is_added=False)
        job = schedule.make_job(await find_time(self._runtime))
        return await self.enqueue(schedule.queue, attrs.evolve(job, scheduled_at=None))

    async def start(self, queue_init_timeout: Duration = 5.0) -> None:
        """Run every registered queue in the client's own nursery; return when each has initialised.

        A queue has initialised once its `lifespan`, if it has one, was entered, and the database
        has answered its first claim. The wait for all queues together is bounded by
        `queue_init_timeout`, in seconds or as a `timedelta`.

        Raises:
            QueueStartError: a queue did not initialise in time, or schedules could not be written
                down; none is left running.
            InvalidQueue: queues are told of each other's failures in a circle.
            AlreadyStarted: the queues are running already.
            ClientClosed: the block was left.
        """
        self._check_usable("start")
        await self._nursery.start(self.run, queue_init_timeout)

    async def run(
        self,
        queue_init_timeout: Duration = 5.0,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run every registered queue as a child of the caller's: `await nursery.start(m.run)`.

        It has started when each queue has initialised, and returns when the client is stopped or
        its block is left. When it is cancelled, it cancels the handlers at once and releases their
        jobs.

        Raises:
            QueueStartError, InvalidQueue, AlreadyStarted, ClientClosed: as `start` does.
        """
        self._check_usable("run")
        if self._services is not None:
            raise AlreadyStarted("the queues of this client are running already")
        timeout = as_timedelta(queue_init_timeout, "queue_init_timeout", ValueError)
        queues = list(self._queues.values())
        if cycle := failure_cycle(queues):
            raise InvalidQueue(
                f"these queues are told of each other's failures in a circle: "
                f"{' → '.join(map(repr, cycle))}; take one of their on_failure away"
            )
        self._start_settled = True
        if not self._queues and not self._schedules:
            self._runtime.events.emit(NothingToRun())
        self._services = Services(queues, self._runtime, self, self._around, self._make_scheduler())
        try:
            await self._services.run(timeout.total_seconds(), self._shutdown_grace, task_status)
        finally:
            self._services = None

    async def stop(self) -> None:
        """Stop the queues in an orderly way, and return once they have stopped.

        Nothing more is claimed, and running handlers have `shutdown_grace` to finish. Handlers that
        still run after that are cancelled, and their jobs released: pending again, the attempt not
        counted. Leaving the client's block does the same. After a stop the client can be used, and
        started again. Where no queues run, nothing happens. Queues that are just being started are
        cancelled, and `start` returns.

        Called from within a handler of this client, or a task that it started, it asks for the stop
        and returns at once: the stop waits for that handler, which has `shutdown_grace` as well.
        """
        check_in_trio("M25.stop")
        if self._services is None:
            await trio.lowlevel.checkpoint()
        elif is_in_job_of(self._runtime):
            self._services.ask_to_stop()
            await trio.lowlevel.checkpoint()
        else:
            await self._services.stop()

    async def enqueue(
        self,
        queue: BaseQueue[Input, Output, Error],
        job: Input | Job[Input],
        *,
        connection: pg.AsyncConnection[Any] | None = None,
        notify: bool = True,
    ) -> JobRecord[Input, Output, Error]:
        """Put a job on a queue: an input as it is, or a `Job` that says how it is to be run.

        With `connection` the job is part of that connection's transaction: the job exists if and
        only if the transaction commits. Where the job is refused, the transaction stays usable, if
        its isolation level is READ COMMITTED.

        A job with a `Unique` may be another one than was given: the record is that of the job that
        has the key, and its `unique_outcome` says what became of the call.

        A unique key or an id that another open transaction holds is waited for; other calls need
        not wait. Cancelled after the job was sent, it waits for the database's answer, for five
        seconds at most, and returns.

        Args:
            queue: where the job goes.
            job: an input or a `Job`. With an `id` of your own it is safe to enqueue it again.
            connection: one of yours, in whose transaction the job is to be.
            notify: whether workers are notified. Without it they find the job at the next poll.
                Notifying slows down the commits of transactions of your own, and excludes
                `PREPARE TRANSACTION`.

        Raises:
            ValueRefused: the input cannot be kept as JSON.
            UniqueKeyConflict: another job holds the unique key; where it is the key of a `Unique`,
                the error is a `UniqueJobConflict`.
            JobIdConflict: another job has the id: on another queue, of another input or of other
                options.
            OutcomeUnknown: the database did not answer, after a cancellation or as the connection
                was lost: the job may exist. After all other errors, nothing was written.
            EnqueueQueryError: the database failed.
            ClientClosed: the block was left.
        """
        self._check_usable("enqueue", queue)
        self._note_unstarted(queue)
        return await self._enqueuer.enqueue(queue, job, connection, notify)

    async def enqueue_many(
        self,
        queue: BaseQueue[Input, Output, Error],
        jobs: Iterable[Input | Job[Input]] | AsyncIterable[Input | Job[Input]],
        *,
        skip_conflicts: bool = False,
        connection: pg.AsyncConnection[Any] | None = None,
        notify: bool = True,
    ) -> EnqueuedMany:
        """Put any number of jobs on a queue, all of them or none.

        Jobs are taken from `jobs`, and written some hundreds at a time, in one transaction: others
        see none of the jobs before all are written. With `connection` the jobs are part of that
        connection's transaction, which stays usable where they are refused, if its isolation level
        is READ COMMITTED. Locks are waited for, and a cancellation at the commit ends, as `enqueue`
        has it; `notify` is the same. An async generator is closed at the end in any case.

        With `skip_conflicts`, a job whose unique key is held is left out, and `conflicts` of the
        answer names it. Of two jobs in `jobs` with one key, the first is enqueued.

        Raises:
            ValueRefused: an input cannot be kept as JSON; a note on the error says the position of
                its job. None of the jobs was written. That holds for a cancellation, too, and for
                the errors below but for `OutcomeUnknown`.
            UniqueKeyConflict: another job holds a unique key, and `skip_conflicts` is not set.
            JobIdConflict: another job has the id of one of them.
            OutcomeUnknown: the database did not answer to the commit: all jobs exist, or none.
            EnqueueQueryError: the database failed.
            ClientClosed: the block was left.
        """
        self._check_usable("enqueue_many", queue)
        self._note_unstarted(queue)
        return await self._enqueuer.enqueue_many(queue, jobs, skip_conflicts, connection, notify)

    async def get_job(
        self,
        queue: BaseQueue[Input, Output, Error],
        id: JobId | UUID | str,
        *,
        connection: pg.AsyncConnection[Any] | None = None,
    ) -> JobRecord[Input, Output, Error]:
        """Read a job of this queue.

        Raises:
            NoJobRecordFound: the queue has no such job.
            InvalidJob: the id is given as a text, and that is not the text of a UUID.
            JobRecordFetchDecodeErrors: the row holds values that are not of the queue's types.
            JobRecordFetchQueryError: the database failed.
            ClientClosed: the block was left.
        """
        self._check_usable("get_job", queue)
        id = as_job_id(id)
        check_connection(connection)
        try:
            rows = await self._runtime.store.get([str(id)], connection)
        except StatementFailed as failure:
            raise_query_error(failure)
        return decode_record(found_row(rows.get(str(id)), queue, id), queue)

    async def current(
        self,
        queue: BaseQueue[Input, Output, Error],
        id: JobId | UUID | str,
        *,
        connection: pg.AsyncConnection[Any] | None = None,
    ) -> JobRecord[Input, Output, Error]:
        """Read how a job of this queue stands: its latest attempt, by the id of any of them.

        Raises:
            NoJobRecordFound, InvalidJob, JobRecordFetchDecodeErrors, JobRecordFetchQueryError,
                ClientClosed: as `get_job` does.
        """
        self._check_usable("current", queue)
        return await self._results.current(queue, as_job_id(id), connection)

    async def attempts(
        self,
        queue: BaseQueue[Input, Output, Error],
        id: JobId | UUID | str,
        *,
        connection: pg.AsyncConnection[Any] | None = None,
    ) -> list[JobRecord[Input, Output, Error]]:
        """Read all attempts of a job of this queue, in order, by the id of any of them.

        Raises:
            NoJobRecordFound, InvalidJob, JobRecordFetchDecodeErrors, JobRecordFetchQueryError,
                ClientClosed: as `get_job` does.
        """
        self._check_usable("attempts", queue)
        return await self._results.attempts(queue, as_job_id(id), connection)

    async def wait(
        self, queue: BaseQueue[Input, Output, Error], id: JobId | UUID | str
    ) -> JobRecord[Input, Output, Error]:
        """Wait until a job of this queue has ended, and return the record in which it did.

        The job is its whole chain of attempts, and `id` that of any of them: where an attempt fails
        and another follows, the wait goes on. There is no limit on the wait; set one with
        `trio.fail_after`. While the database does not answer, the wait goes on. A job that was just
        enqueued in a transaction must be committed first.

        However many tasks wait, they share one connection that listens, and one statement now and
        then, at the shortest `poll_interval` of their queues.

        Raises:
            NoJobRecordFound: the queue has no such job, or it was deleted meanwhile.
            InvalidJob: the id is given as a text, and that is not the text of a UUID.
            JobRecordFetchDecodeErrors: the row holds values that are not of the queue's types.
            ClientClosed: the block was left.
        """
        self._check_usable("wait", queue)
        return await self._results.wait(queue, as_job_id(id))

    async def result(self, queue: BaseQueue[Any, Output, Any], id: JobId | UUID | str) -> Output:
        """Wait until a job of this queue has ended, and return what its handler returned.

        Raises:
            Exception: the error that the handler raised, if it is one that the queue declares.
            JobFailed: the job has failed otherwise; the error's `record` says how.
            JobCancelled: the job was cancelled, or has expired.
            NoJobRecordFound, InvalidJob, JobRecordFetchDecodeErrors, ClientClosed: as `wait` does.
        """
        self._check_usable("result", queue)
        return await self._results.result(queue, as_job_id(id))

    async def call(self, queue: BaseQueue[Input, Output, Any], job: Input | Job[Input]) -> Output:
        """Put a job on a queue, wait until it has ended, and return what its handler returned.

        Cancelled, it leaves the job where it is: to be run, or running.

        Raises:
            Exception, JobFailed, JobCancelled, NoJobRecordFound, JobRecordFetchDecodeErrors: as
                `result` does.
            ValueRefused, UniqueKeyConflict, JobIdConflict, OutcomeUnknown, EnqueueQueryError,
                ClientClosed: as `enqueue` does.
        """
        self._check_usable("call", queue)
        self._note_unstarted(queue)
        return await self._results.call(queue, job)

    def open_nursery(self) -> JobNursery:
        """Open a block in which jobs are started, and that is left once all have ended.

            async with m.open_nursery() as nursery:
                parts = [await nursery.start_job(resize, each) for each in pictures]
            print([part.output for part in parts])

        One that fails cancels the others, and is raised in a group, as from a nursery of tasks; so
        does whatever else leaves the block. It is not durable: jobs that a program leaves behind
        which is killed go on. A job's own nursery is, `RunningJob.open_nursery`.

        Raises:
            ExceptionGroup: of what was raised in the block, and by the jobs: the errors that their
                queues declare, JobFailed, JobCancelled.
            UsageError: called within a transaction of m25's.
            ClientClosed: the block of the client was left.
        """
        self._check_usable("open_nursery")
        refuse_in_transaction("M25.open_nursery()")
        family = FamilyOfClient(self._children, self._runtime.make_id)
        return JobNursery(family, self._children, self._waiters, self._note_unstarted)

    def _open_nursery_of(self, attempt: Attempt, name: str | None) -> JobNursery:
        """See `RunningJob.open_nursery`."""
        self._check_usable("open_nursery")
        refuse_in_transaction("job.open_nursery()")
        if not attempt.started:
            raise UsageError(
                "a job opens no nursery before its handler has begun: not in `setup`, which waits"
                " for nothing but what the handler needs"
            )
        if attempt.nurseries is None:
            attempt.nurseries = NurseryNames()
        family = FamilyOfJob(self._children, attempt, attempt.nurseries.new(name))
        return JobNursery(family, self._children, self._waiters, self._note_unstarted)

    def progress(
        self, queue: BaseQueue[Any, Any, Any], id: JobId | UUID | str
    ) -> AsyncIterator[Progress]:
        """Follow what a job of this queue reports, with `RunningJob.report`, until it has ended.

            async for progress in m.progress(resize, id): ...

        Reports are looked for once a second, in one statement for all that are followed. The latest
        is yielded, if it is not the one that was yielded last: some may be left out.

        Raises:
            JobRecordFetchJsonDecodeError: the row holds a report that is none of m25's.
            NoJobRecordFound, InvalidJob, ClientClosed: as `wait` does.
        """
        self._check_usable("progress", queue)
        return self._results.progress(queue, as_job_id(id))

    async def change_job(
        self,
        queue: BaseQueue[Input, Output, Error],
        id: JobId | UUID | str,
        *,
        scheduled_at: datetime | Unchanged | None = UNCHANGED,
        priority: int | Unchanged = UNCHANGED,
        connection: pg.AsyncConnection[Any] | None = None,
    ) -> JobRecord[Input, Output, Error]:
        """Change when a pending job is to be run, or its priority, and return it.

        A row that another open transaction has locked is waited for; other calls need not wait.

        Args:
            queue: the job's queue.
            id: the job's. Of a job that is to be tried again, it is that of the attempt that is
                pending, which `current` returns.
            scheduled_at: an aware datetime before which the job is not run; `None` has it run now.
            priority: lower runs first.
            connection: one of yours, in whose transaction the job is changed.

        Raises:
            InvalidState: the job is not pending; the error's `status` says what it is.
            InvalidJob: an argument is not as `Job` has it.
            NoJobRecordFound, JobRecordFetchDecodeErrors, JobRecordFetchQueryError, ClientClosed: as
                `get_job` does.
        """
        self._check_usable("change_job", queue)
        id = as_job_id(id)
        check_connection(connection)
        change = make_change(scheduled_at, priority)
        while True:
            try:
                row = await self._lock_waits.update(
                    partial(self._runtime.store.change, str(id), queue.name, change),
                    str(id),
                    connection,
                )
            except StatementFailed as failure:
                raise_query_error(failure)
            if row is not None:
                self._runtime.hints.work(queue.name, rewind=True)
                self._runtime.hints.survey.set()
                return decode_record(row, queue)
            record = await self.get_job(queue, id, connection=connection)
            # Pending: it was released after the update and before it was read. Try again.
            if record.status is not JobStatus.PENDING:
                raise InvalidState(id, record.status, is_change=True)

    async def send(
        self,
        queue: BaseQueue[Any, Any, Any],
        id: JobId | UUID | str,
        name: str,
        value: object,
        *,
        kind: Any = None,
        key: str | None = None,
        connection: pg.AsyncConnection[Any] | None = None,
    ) -> None:
        """Send a message to a job, whose handler receives it by `RunningJob.receive`.

            await m.send(trips, id, "approval", Approval(by="ada"))

        It is kept until a handler asks for it, whatever becomes of the job's attempts. Messages to
        one job are in the order in which they were committed. A job that is set aside for one goes
        on at once, within milliseconds where NOTIFY works.

        Args:
            queue: the job's queue.
            id: the job's, or that of any of its attempts.
            name: of the message, up to 250 characters.
            value: what the handler is given; it must be of the type that the handler asks for.
            kind: that type, where the value's own class does not say it: `list[Item]`, or a union.
            key: by which the message is known, up to 250 characters. One that was sent to this job
                before is not sent again: so a call can be repeated after its answer was lost.
            connection: one of yours, in whose transaction it is sent. The job's row is locked until
                that ends, and its heartbeats wait for that: keep it short.

        Raises:
            InvalidState: the job has ended; the error's `status` says how.
            NoJobRecordFound: the queue has no such job.
            ValueRefused: the value cannot be kept as JSON.
            ValueError: the name or the key is empty, too long, or no text.
            UsageError: values of this type cannot be kept.
            JobRecordFetchQueryError: the database failed, or its answer was lost.
            InvalidJob, ClientClosed: as `get_job` does.
        """
        self._check_usable("send", queue)
        id = as_job_id(id)
        check_connection(connection)
        check_name(name, "a message's name")
        if key is None:
            key = self._runtime.make_id()
        check_name(key, "a message's key")
        codec = message_codec(name, type(value) if kind is None else kind)
        codec = attrs.evolve(codec, size_limit=queue.size_limit)
        message = NewMessage(str(id), key, name, codec.encode(value, f"message {name!r}"))
        try:
            await send_message(self._runtime, self._lock_waits, queue, message, connection)
        except StatementFailed as failure:
            raise_query_error(failure)

    async def cancel_job(
        self,
        queue: BaseQueue[Input, Output, Error],
        id: JobId | UUID | str,
        *,
        running: bool = False,
        by: str | None = None,
        reason: str | None = None,
        wait: bool = False,
        connection: pg.AsyncConnection[Any] | None = None,
    ) -> JobRecord[Input, Output, Error]:
        """Cancel a job, and return it. The id of any of its attempts names the job.

        A pending job is cancelled at once, also where it waits for its next attempt. With `running`
        one that a worker has claimed is asked for: its handler is cancelled within milliseconds
        where NOTIFY works, and else at its next heartbeat. Then the record that is returned has
        `cancel_requested_at`, and the job ends as its handler says: cancelled where the handler
        ends by the cancellation, or goes on past the queue's `cancel_grace`; succeeded where it
        returns all the same; failed, and not tried again, where it raises.

        A row that another open transaction has locked is waited for; other calls need not wait.
        Where the call is itself cancelled after it was sent, it waits for the database's answer,
        for five seconds at most, and returns.

        Args:
            queue: the job's queue.
            id: the job's, or that of any of its attempts.
            running: whether a job that is claimed is to be cancelled, too.
            by: who asks for it, for the record, the log and the handler: at most 1,000 characters.
            reason: why, likewise. Of several requests for a claimed job the first counts.
            wait: whether to return once the job has ended, with the record in which it did; it may
                have succeeded or failed before the cancel reached it. There is no limit on the
                wait; set one with `trio.fail_after`. Cancelled, it leaves the request as it is.
            connection: one of yours, in whose transaction it is cancelled, or asked for.

        Raises:
            InvalidState: the job has ended; or it is claimed, without `running` or by a worker of
                the original m25. The error's `status` says what it is.
            JobCancelNotFound: the queue has no such job. It is a `NoJobRecordFound`, too.
            JobCancelFetchError: the job's row cannot be read; the error's `error` says why.
            JobCancelQueryError: the database failed; or it did not answer, after a cancellation or
                as the connection was lost: then the job may be cancelled.
            InvalidJob: the id is given as a text, and that is not the text of a UUID.
            ValueError: `by` or `reason` is no text that the database can hold, or is too long; or
                it is to wait with a connection of yours: nobody hears of it before your commit.
            ClientClosed: the block was left.
        """
        self._check_usable("cancel_job", queue)
        id = as_job_id(id)
        check_connection(connection)
        if wait and connection is not None:
            raise ValueError(
                "cancel_job cannot wait with a connection of yours: nobody hears of the cancel"
                " before your transaction is committed; wait afterwards, with m.wait"
            )
        if wait:
            refuse_in_transaction("M25.cancel_job(wait=True)")
        check_words("by", by)
        check_words("reason", reason)
        call = CancelCall(
            self._runtime, self._lock_waits, queue, id, connection, by=by, reason=reason
        )
        with cancel_errors():
            row = await call.run(running=running)
            if wait and row.cancelled_at is None:
                return await self._results.wait(queue, id)
            return decode_record(row, queue)

    async def workers(self) -> list[WorkerRecord]:
        """Read which workers are there, the oldest first: which have said so within ten minutes,
        and not goodbye.

        Raises:
            JobRecordFetchQueryError: the database failed.
            ClientClosed: the block was left.
        """
        self._check_usable("workers")
        return await list_workers(self._runtime)

    async def rates(self) -> list[QueueRate]:
        """Read what has ended on each queue within the last minute, by name; a queue on which
        nothing has is left out.

        Raises:
            JobRecordFetchQueryError: the database failed.
            ClientClosed: the block was left.
        """
        self._check_usable("rates")
        return await list_rates(self._runtime)

    async def stack(
        self,
        queue: BaseQueue[Any, Any, Any] | str | None,
        id: JobId | UUID | str,
        *,
        timeout: Duration = 15.0,
    ) -> JobStack:
        """Ask the worker that runs a job, in whatever process, where its handler waits: the tree of
        its tasks as Trio has them, each with the lines at which it stands, and no values.

            print(await m.stack(emails, record.id))

        A worker answers at once where NOTIFY works, and with its next heartbeat elsewhere. Of a
        handler in a thread or a process of its own it is shown where the worker waits for that. Who
        asks needs the right to update jobs.

        Args:
            queue: that of the job, or its name; `None` is any.
            id: that of any attempt of the job; the latest one is asked.
            timeout: how long the answer may take, in seconds or as a `timedelta`.

        Raises:
            NotRunning: the job does not run, or has ended meanwhile.
            StackUnanswered: the worker has not answered in time: its process stands still or is
                gone, or it is an older m25.
            NoJobRecordFound: the queue has no such job.
            JobRecordFetchQueryError: the database failed.
            InvalidJob: the id is a text, and not that of a UUID.
            ClientClosed: the block was left.
        """
        self._check_usable("stack")
        name = queue.name if isinstance(queue, BaseQueue) else queue
        length = as_timedelta(timeout, "timeout", ValueError).total_seconds()
        try:
            return await ask_for_stack(self._runtime, self._lock_waits, as_job_id(id), name, length)
        except StatementFailed as failure:
            raise_query_error(failure)

    async def pause(
        self, queue: BaseQueue[Any, Any, Any] | str, *, reason: str | None = None
    ) -> None:
        """Pause a queue, in all processes and for as long as it takes: until `resume`.

        From when this returns, no job of it begins, nowhere: a claim that is sent later brings
        none. What is running goes on, and jobs can be enqueued. Every process that runs the queue
        says so by an event, `QueuePaused`. Workers of the original m25 know nothing of pauses.

        Args:
            queue: the queue, or its name.
            reason: why, for the log and for `queues`: at most 1,000 characters.

        Raises:
            InvalidQueue: no queue can have this name.
            ValueError: `reason` is no text that the database can hold, or is too long.
            JobRecordFetchQueryError: the database failed.
            ClientClosed: the block was left.
        """
        self._check_usable("pause")
        await self._operator.pause(queue, reason)

    async def resume(self, queue: BaseQueue[Any, Any, Any] | str) -> None:
        """Resume a queue that was paused: its jobs begin again, at once where NOTIFY works, and
        within a second elsewhere. One that is not paused is left as it is.

        Raises:
            InvalidQueue, JobRecordFetchQueryError, ClientClosed: as `pause` does.
        """
        self._check_usable("resume")
        await self._operator.resume(queue)

    async def set_limit(self, limit: BaseQueue[Any, Any, Any] | str, size: int | None) -> None:
        """Set how many jobs may run at once under a limit, in all processes, from now on.

        It goes before what the queues declare, and outlasts the processes. Where it is less than
        run now, none is cancelled: none begins until fewer run. Where it is more, workers begin
        more at once where NOTIFY works, and within a second elsewhere.

        Args:
            limit: a queue that has one, or the name of a limit; that which a queue has to itself
                has the queue's name.
            size: how many, from 1 to 10,000, for each key if the limit has one; `None` is as the
                queues declare it.

        Raises:
            UsageError: the queue has no limit, or no worker has run any that has this one.
            InvalidQueue: `size` is out of range.
            JobRecordFetchQueryError: the database failed.
            ClientClosed: the block was left.
        """
        self._check_usable("set_limit")
        await self._operator.set_limit(limit, size)

    def limiter(
        self,
        limit: BaseQueue[Any, Any, Any] | Limit | Rate | str,
        *,
        key: str | None = None,
        lease: Duration = 10.0,
    ) -> Limiter:
        """Return a limit of which other code can hold places, or a rate of which it can take turns.

            async with m.limiter(gpu):
                ...

        No more jobs and such blocks together run at once than the limit says, over all processes.

        Args:
            limit: a `Limit` or a `Rate` that has a name; a queue that has one; or the name: that of
                one which a queue has to itself is the queue's. A `Limit` need not be that of any
                queue.
            key: of which key, where it has one: as text what its path leads to in the jobs' inputs.
            lease: how long a place is held without an answer of the database, in seconds or as a
                `timedelta`, from a second to a day. It is renewed four times in that time. Where
                the database does not answer for three quarters of it, the block is cancelled; and
                where the process dies, its place is free that long after its latest renewal.

        Raises:
            UsageError: the queue has neither, or the `Limit` no name, or the name is none.
            ValueError: `key` is no text that the database can hold, or `lease` is out of range.
            ClientClosed: the block was left.
        """
        self._check_usable("limiter")
        return limiter_of(self._runtime, self._holders, limit, key, lease)

    async def limits(self) -> list[LimitRecord]:
        """Read the limits and rates under which queues run, or of which places are held, by name,
        with what is held, runs and waits: those that a worker or a program has used.

        Raises:
            JobRecordFetchQueryError: the database failed.
            ClientClosed: the block was left.
        """
        self._check_usable("limits")
        return await list_limits(self._runtime)

    async def queues(self) -> list[QueueRecord]:
        """Read all queues, by name, with what is on them: those that have jobs which have not ended
        or have failed, and those that a worker has run, or somebody has paused.

        Raises:
            JobRecordFetchQueryError: the database failed.
            ClientClosed: the block was left.
        """
        self._check_usable("queues")
        return await self._operator.queues()

    async def prune(self, queue: BaseQueue[Any, Any, Any] | str, keep: Keep | None = None) -> int:
        """Delete the jobs of a queue that have been kept for their time; return how many.

        Each goes with all its attempts and all that it has started, steps and messages too; what
        has not ended as a whole, or is locked by somebody, stays. It is a walk over old rows, with
        pauses in which claims go first; cancelled, it leaves the rest for another time.

        Args:
            queue: whose jobs; or its name.
            keep: for how long each is kept since its end; without it, what the queue declares.

        Raises:
            UsageError: neither says for how long.
            JobRecordFetchQueryError: the database failed, or the role may not delete.
            ClientClosed: the block was left.
        """
        self._check_usable("prune")
        return await self._operator.prune(queue, keep)

    async def jobs(
        self,
        *,
        limit: int = 50,
        after: JobId | UUID | str | None = None,
        seconds: float = 5.0,
        **which: Unpack[JobFilter],
    ) -> JobPage:
        """Find jobs by what they are, the youngest first: each as its latest attempt.

            page = await m.jobs(queue="mails", status="failed", where={"to": "ada@example.org"})

        What has not ended, has failed or was cancelled is found by an index. Whatever else is asked
        for is looked for in the table, some thousand rows at a time, for so many `seconds` at most.

        Args:
            limit: how many at most.
            after: where to go on: the `after` of the page before.
            seconds: how long the look may take; one part of it is done in any case.
            which: see `JobFilter`; without any it is all jobs.

        Raises:
            ValueError: an argument is out of range, or no status.
            InvalidQueue: no queue can have this name.
            JobRecordFetchQueryError: the database failed.
            ClientClosed: the block was left.
        """
        self._check_usable("jobs")
        place = None if after is None else as_job_id(after)
        return await self._operations.jobs(limit, place, seconds, **which)

    async def counts(self, *, seconds: float = 5.0, **which: Unpack[JobFilter]) -> JobCounts:
        """Count jobs by what they are, as `jobs` finds them.

        Raises:
            ValueError, InvalidQueue, JobRecordFetchQueryError, ClientClosed: as `jobs` does.
        """
        self._check_usable("counts")
        return await self._operations.counts(seconds, **which)

    async def job_details(self, id: JobId | UUID | str) -> JobDetails | None:
        """Read all that is known of a job, whatever its queue, by the id of any of its attempts;
        `None` where there is none.

        Raises:
            InvalidJob: the id is given as a text, and that is not the text of a UUID.
            JobRecordFetchQueryError, ClientClosed: as `jobs` does.
        """
        self._check_usable("job_details")
        return await self._operations.details(id)

    async def retry(self, *ids: JobId | UUID | str, **which: Unpack[JobFilter]) -> ChangedJobs:
        """Have jobs tried once more that have failed, or were cancelled: by their ids, or by what
        they are, and then those that have failed, if no status is said.

            await m.retry(queue="mails", since=timedelta(hours=1))

        Each goes on where it was: it has one more attempt, which is due at once, and what its steps
        have done is not done again. It may fail again like any other; then it is not tried again by
        itself, unless it had attempts left. A job that succeeds holds its key, and a job whose key
        another has by now is refused; so is one that another job has started, which is retried with
        that one. The role needs the right to insert jobs.

        Raises:
            UsageError: nothing is said of which jobs; or both ids and what they are; or a status of
                jobs that cannot be retried.
            ValueError, InvalidJob, InvalidQueue, JobRecordFetchQueryError, ClientClosed: as `jobs`
                and `job_details` do. Where it is about many, some may have been done.
        """
        self._check_usable("retry")
        return await self._operations.retry(ids, **which)

    async def skip(self, *ids: JobId | UUID | str, **which: Unpack[JobFilter]) -> ChangedJobs:
        """Let those go on that are behind jobs which have failed for good, on queues with
        `ordered_by`: by the ids of the failed ones, or by what these are.

        A job that is skipped stays as it is: failed, and with its history. It may be retried later
        on, and then runs before all of its key that have not begun. A job for which no key stands
        still is refused where it is named by its id.

        Raises:
            UsageError, ValueError, InvalidJob, InvalidQueue, JobRecordFetchQueryError,
                ClientClosed: as `retry` does.
        """
        self._check_usable("skip")
        return await self._operations.skip(ids, **which)

    async def cancel(
        self,
        *ids: JobId | UUID | str,
        by: str | None = None,
        reason: str | None = None,
        **which: Unpack[JobFilter],
    ) -> ChangedJobs:
        """Cancel jobs, with all that they have started: by their ids, or by what they are, and then
        whatever has not ended, if no status is said.

        What is pending is cancelled. What is claimed is asked to end, as by
        `cancel_job(running=True)`, also what was pending when it was found. Who asks, and why, is
        in the log and in the records.

        Raises:
            UsageError, ValueError, InvalidJob, InvalidQueue, JobRecordFetchQueryError,
                ClientClosed: as `retry` does.
        """
        self._check_usable("cancel")
        return await self._operations.cancel(ids, by, reason, **which)

    async def delete(self, *ids: JobId | UUID | str, **which: Unpack[JobFilter]) -> ChangedJobs:
        """Delete jobs that have ended: by their ids, or by what they are.

        Each goes with all its attempts and all that it has started, steps and messages too. What
        has not ended as a whole stays, and so does what another job has started, which goes with
        that one. The role needs the right to delete.

        Raises:
            UsageError, ValueError, InvalidJob, InvalidQueue, JobRecordFetchQueryError,
                ClientClosed: as `retry` does.
        """
        self._check_usable("delete")
        return await self._operations.delete(ids, **which)

    def _make_scheduler(self) -> Scheduler | None:
        if not self._schedules:
            return None

        async def cancel(schedule: Schedule[Any], id: JobId) -> None:
            by, reason = f"schedule {schedule.name!r}", "its next tick has come"
            await self.cancel_job(schedule.queue, id, running=True, by=by, reason=reason)

        schedules = list(self._schedules.values())
        return Scheduler(schedules, self._runtime, self._enqueuer.new_job, cancel)

    async def _remind_to_start(self) -> None:
        """Say that jobs wait for a start which does not come."""
        await self._waits_for_start.wait()
        await trio.sleep(_LONGEST_BEFORE_START)
        self._emit_never_started()

    def _note_unstarted(self, queue: BaseQueue[Any, Any, Any]) -> None:
        if not self._start_settled and getattr(queue, "name", None) in self._queues:
            self._waits_for_start.set()

    def _emit_never_started(self) -> None:
        if self._queues and not self._start_settled:
            self._start_settled = True
            self._runtime.events.emit(NeverStarted(queues=tuple(self._queues)))

    async def _close(self) -> None:
        """End the services, also those in a nursery of the caller's, and refuse further use."""
        if self._services is not None:
            await self._services.cancel()
        self._closed = True

    def _check_usable(self, method: str, *queues: BaseQueue[Any, Any, Any]) -> None:
        check_in_trio("M25.", method)
        for queue in queues:
            check_is_queue(queue)
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> ClientClosed:
        return ClientClosed(
            "this client's `async with m25.open(...)` block has been left, or was cancelled; open"
            " another"
        )


@asynccontextmanager
async def open(
    conn: str | pg.Pool | None = None,
    *,
    schema: str = "m25",
    pool_size: int = 4,
    transactional_connections: int = 10,
    shutdown_grace: Duration = 10.0,
    around: Sequence[Around] = (),
    max_concurrency: int | None = None,
    max_waiting: int = MOST_WAITING,
    listeners: Sequence[Listener] = (),
    tracer: Tracer | None = None,
) -> AsyncGenerator[M25]:
    """Open a client: `async with m25.open(conn) as m:`.

    Args:
        conn: a conninfo string or URL; a `m25.pg.Pool`, which stays the caller's to close; or
            `None`, and then the environment decides, as for `m25 migrate`: `DATABASE_URL` where it
            is set, and else what libpq reads (`PGHOST` and so on), as for an empty string. Calls
            are made on the pool. While queues run, their claims, heartbeats and results have
            connections of their own, also where the pool is the caller's: at most 3, and 1 for
            heartbeats alone, opened as the pool opens its own.
        schema: the schema of the job table, as it was migrated.
        pool_size: how many connections the client opens at most for its calls. Not used where
            `conn` is a pool. With those above and one that listens, a process that runs queues
            holds 5 more at most, however many queues and jobs there are.
        transactional_connections: how many connections, beside these, handlers of transactional
            queues and functions of `RunningJob.transact` have at most, one each while it runs.
            They are opened when they are needed, as the pool opens its own; who finds none free
            waits.
        shutdown_grace: how long running handlers may go on once the block is left, in seconds or as
            a `timedelta`. Handlers that still run after that are cancelled, and their jobs
            released: pending again, the attempt not counted. Where the block is left by an
            exception or a cancellation, handlers are cancelled at once.
        around: functions that are called with each `RunningJob` and return an async context
            manager. These are entered in order around each call of a handler, after `setup` and
            inside the deadline; what one of them raises is the attempt's, as if the handler had.
        max_concurrency: how many handlers of this client run at once, over all its queues, beside
            the `max_concurrency` of each; a whole number from 1 on, or `None`, and then no more
            than each queue's own holds. Queues that have enough to do share it evenly.
        max_waiting: how many handlers of this process may have given their slot back, since they
            wait for jobs. Beyond that they keep it while they wait.
        listeners: objects that are given each event which they want, beside the log; see
            `m25.instrumentation.Listener`.
        tracer: makes spans of what is enqueued and run, as does
            `m25.instrumentation.opentelemetry.OpenTelemetry`.

    Raises:
        DatabaseUnavailable: the database cannot be reached, or refuses the connection.
        DatabaseNotMigrated: the schema is missing, or behind this m25.
        DatabaseTooNew: a newer m25 has migrated the schema, and this one cannot work with it.
        UnsupportedServer: the server is no PostgreSQL, or is older than 13; or Citus has
            distributed the tables.
        ValueError: an argument is out of range, or `schema` can be the name of none.
        TypeError: `around` holds what is no function of a job that returns an async context
            manager; or a listener or the tracer is none.
        UsageError: called outside of Trio. So do all methods that are awaited.
    """
    check_in_trio("m25.open")
    grace = as_timedelta(shutdown_grace, "shutdown_grace", ValueError, zero=True)
    migrations.check_schema(schema)
    check_around(around)
    check_listeners(listeners)
    check_tracer(tracer)
    if transactional_connections < 1:
        raise ValueError(
            f"transactional_connections must be 1 or more, not {transactional_connections!r:.80}"
        )
    if isinstance(conn, pg.Pool):
        store = await _checked_store(conn, schema, transactional_connections)
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
        return
    if conn is not None and not isinstance(conn, str):
        raise TypeError(
            f"conn must be a conninfo string, a URL, a m25.pg.Pool or None, not {conn!r}"
        )
    async with (
        pg.Pool(
            os.environ.get("DATABASE_URL", "") if conn is None else conn,
            max_size=pool_size,
            timeout=_CONNECTION_TIMEOUT,
            connection_class=StoreConnection,
            kwargs={"autocommit": True, "client_encoding": "UTF8"},
            configure=prepare_connection,
        ) as pool,
        open_on(
            await _checked_store(pool, schema, transactional_connections),
            grace=grace,
            around=around,
            max_concurrency=max_concurrency,
            max_waiting=max_waiting,
            listeners=listeners,
            tracer=tracer,
        ) as m,
    ):
        yield m


@asynccontextmanager
async def open_on(
    store: Store,
    *,
    grace: timedelta,
    rng: random.Random | None = None,
    around: Sequence[Around] = (),
    max_concurrency: int | None = None,
    max_waiting: int = MOST_WAITING,
    listeners: Sequence[Listener] = (),
    tracer: Tracer | None = None,
) -> AsyncGenerator[M25]:
    """Open a client on any store, as `open` and `m25.testing.open` do.

    `rng` only spreads load over time, and need not be secret; a simulation gives one with a seed.
    """
    rng = rng or random.Random()  # noqa: S311
    waiting = WaitingLimit(check_most_waiting(max_waiting))
    heard_by: list[Listener] = [LoggingListener(), *listeners]
    if tracer is not None:
        heard_by.append(tracer)
        # Outermost: what the others do is a part of the attempt.
        around = (tracer.running, *around)
    runtime = Runtime(
        store,
        Emitter(heard_by),
        rng,
        waiting=waiting,
        process_slots=slots_of(max_concurrency),
        tracer=tracer,
    )
    with without_nursery():
        async with trio.open_nursery() as nursery:
            m = M25(runtime, nursery, shutdown_grace=grace.total_seconds(), around=around)
            nursery.start_soon(m._enqueuer.run)
            nursery.start_soon(m._waiters.run)
            nursery.start_soon(m._holders.run)
            nursery.start_soon(m._children.run)
            nursery.start_soon(runtime.step_batches.run)
            nursery.start_soon(m._remind_to_start)
            try:
                yield m
                await m.stop()
            except Exception:
                # It says more than that a start was missing.
                m._start_settled = True
                raise
            finally:
                m._emit_never_started()
                await m._close()
            nursery.cancel_scope.cancel()


async def _checked_store(
    pool: pg.Pool[Any], schema: str, transactional_connections: int
) -> PostgresStore:
    store = PostgresStore(pool, schema, transactional_connections=transactional_connections)
    try:
        await store.check_version()
    except StatementFailed as failure:
        raise DatabaseUnavailable(
            f"the database at {pg.describe(pool.conninfo)} cannot be used: {failure.brief}"
        ) from failure.__cause__
    return store
