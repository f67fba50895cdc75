"""`current_job()`: the job whose handler is calling; long, since all that it can reach is here."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Protocol,
    TypeVar,
    TypeVarTuple,
    Unpack,
    overload,
)

import attrs
import trio

from ._cursor import Cursor
from ._duration import Duration, as_timedelta
from ._errors import NotInJob
from ._job import Error, Input, JobId, JobRecord, Output
from ._progress import Progress, ProgressNotes

if TYPE_CHECKING:
    from . import pg
    from ._client import M25
    from ._family import NurseryNames
    from ._job_nursery import JobNursery
    from ._queue import Queue
    from ._runtime import Runtime
    from ._steps import JobSteps
    from ._store.protocol import ClaimedJob, JobRow
    from ._waits import JobWaits

Item = TypeVar("Item")
Key = TypeVar("Key")
Value = TypeVar("Value")
Result = TypeVar("Result")
Args = TypeVarTuple("Args")


@attrs.frozen(kw_only=True)
class RunningJob(JobRecord[Input, Output, Error]):
    """The job whose handler is calling: its record, as it was when the handler started, and more.

    `id` is the attempt's: each retry has its own.
    """

    #: Set once the queues of this client begin to stop. A handler that can end early, and be run
    #: again later, looks at it or waits for it: after `shutdown_grace` it is cancelled.
    stopping: trio.Event = attrs.field(repr=False, eq=False)
    #: The client that runs the job.
    m: M25 = attrs.field(repr=False, eq=False)
    #: What `report` and `cursor` note; made when one of them is first called.
    _notes: Callable[[], ProgressNotes] = attrs.field(alias="notes", repr=False, eq=False)
    #: Made when a step is first called.
    _steps: Callable[[], JobSteps] = attrs.field(alias="steps", repr=False, eq=False)
    #: Made when the handler first waits.
    _waits: Callable[[], JobWaits] = attrs.field(alias="waits", repr=False, eq=False)
    _cancelled: Callable[[], bool] = attrs.field(alias="cancelled", repr=False, eq=False)

    @property
    def is_cancelled(self) -> bool:
        """Whether a handler with `runs="thread"`, which nothing can interrupt, is to end: the
        job's cancel was asked for, its deadline has passed (noticed within a heartbeat), its claim
        is lost, or its queue has stopped without it. May be read in any thread.

        Any other handler is told by `trio.Cancelled`, and need not look.
        """
        return self._cancelled()

    @property
    def job_id(self) -> JobId:
        """The id of the chain's first attempt, the same for all attempts: an idempotency key."""
        return self.id if self.original_attempt_id is None else self.original_attempt_id

    def open_nursery(self, name: str | None = None) -> JobNursery:
        """Open a block in which this job starts others, and that is left once all have ended.

            async with job.open_nursery() as nursery:
                parts = [await nursery.start_job(resize, each) for each in pictures]
            return [part.output for part in parts]

        A job that fails cancels the others, and is raised in a group, as from a nursery of tasks;
        so does whatever else leaves the block. Where this job is cancelled, or comes to its
        deadline, or its chain ends otherwise, so are all that it has started, and what these have,
        in whatever process. Where it is run again, `start_job` returns what it had started before.

        While the block is being left the handler waits without its slot of `max_concurrency`.

        Args:
            name: names the nursery among those of this job; to be given where the order in which
                they are opened is not always the same.

        Raises:
            ExceptionGroup: of what was raised in the block, and by the jobs: the errors that their
                queues declare, JobFailed, JobCancelled.
            NotInJob: not called from within this job's handler.
            UsageError: another nursery of this attempt has the name; or it is called within a
                transaction of m25's.
            ValueError: the name is empty, longer than 250 characters, or no text.
        """
        attempt = current_attempt.get(None)
        if attempt is None or attempt.running_job() is not self:
            raise NotInJob("a job's nursery can only be opened from within its handler")
        return self.m._open_nursery_of(attempt, name)  # pyright: ignore[reportPrivateUsage]

    async def report(
        self,
        *,
        done: int | float | None = None,  # noqa: PYI041 - as people read it
        total: int | float | None = None,  # noqa: PYI041
        note: str | None = None,
    ) -> None:
        """Say how far the job has come: `M25.progress` tells it to whoever follows the job.

        It takes no statement of its own: the latest report is written with the next heartbeat, and
        surely before the attempt's outcome. The next attempt begins with it.

        Args:
            done: how much is done, in a unit of your own.
            total: how much there is to do, in the same unit.
            note: what people should know, in at most 1,000 characters.

        Raises:
            ValueRefused: `done` or `total` is no finite number from 0 on, or `note` is longer, or
                no text that PostgreSQL can hold.
        """
        self._notes().report(Progress(done, total, note))
        await trio.lowlevel.checkpoint()

    def cursor(
        self,
        name: str,
        source: Callable[[Key | None], AsyncIterable[Item]],
        *,
        key: Callable[[Item], Key],
        key_type: type[Key] | None = None,
    ) -> AsyncIterator[Item]:
        """Go through a source, and go on where an attempt before this one came to.

            async for row in job.cursor("rows", rows_after, key=lambda row: row.id): ...

        An item is behind the cursor once its pass of the loop has ended. Where the cursor stands is
        written with the next heartbeat, and surely before the attempt's outcome, or its release. An
        attempt that is lost with its process leaves what was written last: what came after that
        comes again. A source that is an async generator is closed when the handler has ended.

        Args:
            name: the cursor's, within the job; not empty. A second cursor of the same name can be
                opened once the loop of the first has ended.
            source: called once, with the key of the last item that is behind the cursor, or `None`.
                What it returns yields the items that follow that key, in their order.
            key: the key of an item.
            key_type: the type of the keys, where they are not plain JSON: text, whole numbers, or
                lists of these. It may be any type that a queue's input can have.

        Raises:
            ValueRefused: a key cannot be kept as JSON, or is `None`; for other types there is
                `key_type`.
            UsageError: another cursor of this name is open.
            ValueError: `name` is empty, or no text.
            JobRecordFetchJsonDecodeError: what was kept is no key of this type.
        """
        return Cursor(self.id, self._notes(), name, source, key, key_type)

    async def step(
        self,
        name: str,
        function: Callable[[Unpack[Args]], Awaitable[Result]],
        *args: *Args,
        key: str | None = None,
    ) -> Result:
        """Do something once in the life of the job: a later attempt is given what it returned.

            user = await job.step("create", create_user, form)

        What the function returns is kept under the job, the step's name and its key, before `step`
        returns. When another attempt calls the step, the function is not called. What it raises is
        not kept: the next attempt calls it again. So it is where the process dies after the
        function has returned and before that is kept: make what it does safe to repeat, by
        `job_id`, or do it in the database, with `transact`.

        The result goes through JSON, also the first time: it is a new value, equal to what the
        function returned.

        Args:
            name: the step's, within the job; up to 250 characters.
            function: an `async def`. Its return annotation says how the result is kept: any type
                that a queue's output can have.
            args: what it is called with. A fingerprint of it is kept. Bind what is no value, like a
                client, by `functools.partial`: that is not looked at.
            key: which of the steps of that name, up to 250 characters. Without it they are counted,
                in the order in which they begin; so steps of one name that run at once need it.

        Raises:
            StepChanged: the step is kept, and was given something else then.
            UsageError: the function does not say what it takes and returns; an argument cannot be
                written as JSON; the step could be taken for another one; this run has done one of
                this name and key before; or it is called within a transaction of the handler's. The
                function was not called.
            ValueError: the name or the key is empty, too long, or no text.
            ValueRefused: what it returned cannot be kept.
            JobRecordFetchJsonDecodeError: what was kept is not of the function's type any more.
            ClaimLost: the job is another process's by now, and the handler shields itself from its
                cancellation.
        """
        result: Result = await self._steps().step(name, function, args, key)
        return result

    async def transact(
        self,
        name: str,
        function: Callable[[pg.AsyncConnection[Any], Unpack[Args]], Awaitable[Result]],
        *args: *Args,
        key: str | None = None,
    ) -> Result:
        """Do something in the database exactly once in the life of the job.

            receipt = await job.transact("charge", charge, order)

            async def charge(connection: pg.AsyncConnection, order: Order) -> Receipt: ...

        As `step`, but for this: what the function writes on its connection and the step itself are
        one commit, which is refused where the job is not this process's any more. So the writes are
        there if and only if the step is kept. The transaction is READ COMMITTED, and the function
        must not end it; `connection.transaction()` makes a savepoint. Where the connection is lost,
        the function is called again: it should do nothing else but write on its connection.

        Args:
            name: as for `step`, with which it shares its names; so are `args` and `key`.
            function: an `async def`, called with a connection and `args`.

        Raises:
            psycopg.Error: the commit was refused, as by a deferred constraint. Nothing is written.
            StepChanged, UsageError, ValueError, ValueRefused, JobRecordFetchJsonDecodeError,
                ClaimLost: as `step` does. Nothing is written.
        """
        result: Result = await self._steps().transact(name, function, args, key)
        return result

    async def sleep(
        self,
        seconds: Duration = 0.0,
        *,
        minutes: float = 0.0,
        hours: float = 0.0,
        days: float = 0.0,
        key: str | None = None,
    ) -> None:
        """Sleep for as long as it takes, at no cost: then the handler runs again, from its start.

            await job.sleep(days=3)

        Until when it sleeps is kept under the job. Then the job is set aside: the handler is
        cancelled, so that its clean-up runs, and the row is pending until that time. The attempt is
        not counted, and the job's timeout counts the time alone in which its handler runs. Once the
        time has come, the handler runs again from its first line, maybe in another process. There,
        this call returns at once. What the handler has done before it is done again, but for what
        is kept: `step`, `transact`, `cursor`.

        A second or less is slept in the handler, as by `trio.sleep`.

        Args:
            seconds: how long, in seconds or as a `timedelta`; minutes, hours and days are added.
            key: which of the job's sleeps it is. Without it they are counted, in the order in which
                the handler calls them.

        Raises:
            ValueError: it is negative, or longer than a century.
            UsageError: the handler cannot be cancelled here, or its attempt must not begin again
                (`allowed_losses=0`); or it waits in another task already; or this is called in a
                transaction of the handler's.
            ClaimLost: as `step` does.
        """
        duration = as_timedelta(seconds, "seconds", ValueError, zero=True)
        duration += timedelta(minutes=minutes, hours=hours, days=days)
        duration = as_timedelta(duration, "the time to sleep", ValueError, zero=True)
        await self._waits().sleep(duration, key)

    @overload
    async def receive(
        self,
        name: str,
        kind: type[Value],
        *,
        timeout: Duration | None = None,
        key: str | None = None,
    ) -> Value: ...
    @overload
    async def receive(
        self, name: str, kind: Any, *, timeout: Duration | None = None, key: str | None = None
    ) -> Any: ...
    async def receive(
        self, name: str, kind: Any, *, timeout: Duration | None = None, key: str | None = None
    ) -> Any:
        """Wait for a message to this job, at no cost: see `M25.send`.

            approval = await job.receive("approval", Approval)

        Messages of one name are received in the order in which they were sent, each once, also
        those that were sent before. What was received is kept under the job: when the handler runs
        again, the same call returns the same value. While there is none the job is set aside, as by
        `sleep`: the handler is cancelled, and runs again from its first line once a message of this
        name has come.

        Args:
            name: of the message, up to 250 characters.
            kind: the type of its value, as a queue's input can have it; of a union, type checkers
                know no more than `Any`.
            timeout: for how long it waits, in seconds or as a `timedelta`, from its first call on;
                without it, for ever.
            key: which of the job's waits for that name it is. Without it they are counted.

        Raises:
            trio.TooSlowError: none has come in time; again so when the handler runs again.
            JobRecordFetchJsonDecodeError: what has come is no value of this type.
            ValueError: the name or the key is empty, too long, or no text.
            UsageError, ClaimLost: as `sleep` does.
        """
        within = None
        if timeout is not None:
            within = as_timedelta(timeout, "timeout", ValueError, zero=True)
        return await self._waits().receive(name, kind, within, key)


class Attempt(Protocol):
    """What runs a job, as its handler's task knows it."""

    #: The claim under which it runs, and the row as it was claimed.
    job: ClaimedJob
    row: JobRow
    #: Whether the job is executing: in `setup` it is not.
    started: bool
    #: Whether the attempt may have started others; to be set before it does.
    starts_children: bool
    #: The names of the nurseries that it has opened, if it has opened any.
    nurseries: NurseryNames | None
    #: How many of these are open.
    open_nurseries: int

    @property
    def queue(self) -> Queue[Any, Any, Any]:
        """The job's queue."""
        ...

    @property
    def runtime(self) -> Runtime:
        """The client's."""
        ...

    @property
    def grace(self) -> float:
        """How long the handler may go on once it is cancelled, in seconds."""
        ...

    @property
    def leaves_children(self) -> bool:
        """Whether what it has started is to go on although the handler is cancelled."""
        ...

    def running_job(self) -> RunningJob[Any, Any, Any]:
        """The job: made when it is first asked for, since most handlers do not ask."""
        ...

    def running_jobs(self) -> list[RunningJob[Any, Any, Any]]:
        """The job, or all jobs of a batch."""
        ...

    @property
    def has_ended(self) -> bool:
        """Whether the handler has ended, and all around it."""
        ...

    async def until_claimed(self) -> None:
        """Wait until its claim is known to be committed: before that it can write nothing."""
        ...

    def waiting(self) -> AbstractAsyncContextManager[None]:
        """A block in which a task of the handler waits for jobs: its slot is given back."""
        ...


#: Set in an executor's task, and so in all tasks that its handler starts.
current_attempt: Final[ContextVar[Attempt]] = ContextVar("m25_current_job")


def current_job() -> RunningJob[Any, Any, Any]:
    """The job whose handler is calling, as its record was when the handler started.

    It works in the handler's own task, in the tasks that the handler starts, in threads that these
    wait for by `trio.to_thread`, and in `setup` and `around`. A handler that runs in a process of
    its own has none.

    Raises:
        NotInJob: called outside a handler; or the handler is called with a batch of jobs.
        JobRecordFetchDecodeErrors: the row holds a value that Python's types cannot hold.
    """
    attempt = current_attempt.get(None)
    if attempt is None:
        raise NotInJob("current_job() can only be called from within a handler")
    return attempt.running_job()


def current_jobs() -> list[RunningJob[Any, Any, Any]]:
    """The jobs whose handler is calling: those of its batch, in the order of the inputs.

    Any other handler has one. It works where `current_job` does.

    Raises:
        NotInJob: called outside a handler.
        JobRecordFetchDecodeErrors: a row holds a value that Python's types cannot hold.
    """
    attempt = current_attempt.get(None)
    if attempt is None:
        raise NotInJob("current_jobs() can only be called from within a handler")
    return attempt.running_jobs()
