"""Nurseries of jobs: what `trio.open_nursery` is for tasks, for jobs in whatever process.

The block is left once every job that was started in it has ended. One that fails cancels the
others; so does whatever leaves the block. All that was raised arrives in one group, as from a
nursery of tasks.

A nursery of a job's own (`RunningJob.open_nursery`) is as durable as that job: when it runs again,
it finds the jobs that it had started. Which are started anew is `Family.begin`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import trio

from ._child_ids import child_id
from ._children import Children, NewOne
from ._completion import complete
from ._errors import NoJobRecordFound, UsageError
from ._handler import is_cancellation, sort_raised
from ._in_transaction import refuse_in_transaction
from ._job import Error, Input, Job, JobId, JobRecord, JobStatus, Output
from ._lifecycle import FINAL
from ._outer_cancel import OuterCancel
from ._query import check_is_queue
from ._queue import Queue
from ._record import decode_record, output_of
from ._result_errors import JobCancelled
from ._running_job import Attempt
from ._store.protocol import JobRow, NewJob
from ._waiters import Wait, Waiters
from ._without_slot import without_slot

Result_co = TypeVar("Result_co", covariant=True)

#: How long a nursery of a client waits for its jobs once it was cancelled, in seconds.
_GRACE_OF_CLIENT: Final = 10.0
#: How much of its `cancel_grace` a handler waits for its jobs, and how much of the time that an
#: attempt has to end after its deadline: the rest is for what comes after.
_PART_OF_GRACE: Final = 0.8

_FAILED: Final = frozenset(status.value for status in FINAL if status is not JobStatus.SUCCEEDED)
_FINAL: Final = frozenset(status.value for status in FINAL)


class ChildJob(Generic[Result_co]):
    """A job that was started in a nursery."""

    def __init__(self, queue: Queue[Any, Any, Any], id: str, *, is_detached: bool = False) -> None:
        self._queue = queue
        #: The id of its first attempt, which names the job.
        self.id: Final = JobId(id)
        self._is_detached = is_detached
        self._ended = trio.Event()
        self._record: JobRecord[Any, Any, Any] | None = None
        #: Why there is no record, once it has ended.
        self._error: Exception | None = None
        #: Whether its insert has failed, and nobody knows whether it is there.
        self._is_doubtful = False

    async def result(self) -> Result_co:
        """Wait until the job has ended, and return what its handler returned.

        Raises:
            Exception, JobFailed, JobCancelled, JobRecordFetchDecodeErrors, NoJobRecordFound,
                ClientClosed: as `M25.result` does. Within the nursery's block it is `Cancelled` for
                the most part, since a job that fails cancels the block.
        """
        refuse_in_transaction("ChildJob.result()")
        if not self._ended.is_set() and not self._is_detached:
            async with without_slot():
                await self._ended.wait()
        else:
            await trio.lowlevel.checkpoint()
        return self.output

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, as far as is known here."""
        return self._ended.is_set()

    @property
    def output(self) -> Result_co:
        """What its handler returned; to be read once it has ended, as after the nursery's block.

        Raises:
            UsageError: it has not ended, or was started with `detached=True`.
            Exception, JobFailed, JobCancelled, JobRecordFetchDecodeErrors, NoJobRecordFound,
                ClientClosed: as `M25.result` does.
        """
        output: Result_co = output_of(self.record)
        return output

    @property
    def record(self) -> JobRecord[Any, Result_co, Any]:
        """The record in which it ended.

        Raises:
            UsageError, JobRecordFetchDecodeErrors, NoJobRecordFound, ClientClosed: as for `output`.
        """
        if self._record is not None:
            return self._record
        if self._error is not None:
            raise self._error
        if self._is_detached:
            raise UsageError(
                f"job {self.id} of queue {self._queue.name!r} was started with detached=True, and"
                " its nursery does not wait for it; m.result does, from outside of the block"
            )
        raise UsageError(
            f"job {self.id} of queue {self._queue.name!r} has not ended; await its result(), or"
            " leave the nursery's block first"
        )

    def __repr__(self) -> str:
        return f"<ChildJob {self.id} of queue {self._queue.name!r}>"

    def _end(self, row: JobRow | None, lost: Exception | None) -> Exception | None:
        """Note how it has ended; return what that is to its nursery, if it is an error."""
        self._ended.set()
        try:
            if lost is not None:
                raise lost
            if row is None or row.queue_name != self._queue.name:
                raise NoJobRecordFound(self.id, self._queue.name)
            self._record = decode_record(row, self._queue)
        except Exception as unreadable:  # noqa: BLE001 - it is raised to whoever asks
            self._error = unreadable
            return unreadable
        try:
            output_of(self._record)
        except Exception as raised:  # noqa: BLE001 - likewise
            return raised
        return None


class Family(Protocol):
    """Whose jobs a nursery starts."""

    #: How long a cancelled nursery waits for its jobs, in seconds.
    grace: float

    def open(self) -> None:
        """The block begins."""
        ...

    def close(self) -> None:
        """The block has ended."""
        ...

    def ids(self, nursery: str, key: str, number: int) -> Sequence[str]:
        """The ids that a job may have, the one that it is started with last."""
        ...

    def detached_id(self, nursery: str, key: str, number: int) -> str:
        """The id of a job that is not waited for."""
        ...

    async def find(self, news: Sequence[NewOne]) -> list[tuple[str, JobRow | None]]:
        """The id of each, and its latest attempt where it was started before."""
        ...

    def new_job(self, new: NewOne) -> NewJob:
        """The row of a job that is to be started."""
        ...

    async def insert(self, jobs: Sequence[NewJob]) -> None:
        """Start jobs."""
        ...

    async def wait_for_own_cancel(self) -> None:
        """Wait for the cancellation of whoever has started the jobs, if it is on its way."""
        ...

    async def leaves_children(self, error: BaseException) -> bool:
        """Whether what was started is to go on, although this was raised in the block."""
        ...


class FamilyOfJob:
    """The jobs that a job has started, in any attempt.

    An incarnation is what the attempts are between two failures that count: an attempt that was
    lost, cut short or put off goes on in the next one.
    """

    def __init__(self, children: Children, attempt: Attempt) -> None:
        row, queue = attempt.row, attempt.queue
        self._children = children
        self._attempt = attempt
        self._outside = OuterCancel()
        self._job_id = row.original_attempt_id or row.id
        self._incarnation = row.attempt - row.losses - 1
        #: Whether an earlier attempt, or an earlier run of this one, may have started some.
        self._is_repeated = bool(row.has_children)
        bound = min(queue.cancel_grace, queue.heartbeat_interval)
        self.grace = bound.total_seconds() * _PART_OF_GRACE

    def open(self) -> None:
        """Know from now on what is around the attempt."""
        self._outside.begin(self._attempt)

    def close(self) -> None:
        """Know no more."""
        self._outside.end()

    def ids(self, nursery: str, key: str, number: int) -> Sequence[str]:
        """One for each incarnation so far; a job's first run looks for none."""
        first = 0 if self._is_repeated else self._incarnation
        return [
            child_id(self._job_id, nursery, key, number, incarnation)
            for incarnation in range(first, self._incarnation + 1)
        ]

    def detached_id(self, nursery: str, key: str, number: int) -> str:
        """The same in every incarnation: it is started once."""
        return child_id(self._job_id, nursery, f"detached {key}", number, 0)

    async def find(self, news: Sequence[NewOne]) -> list[tuple[str, JobRow | None]]:
        """Find what was started before, whether it is under way or has ended.

        What has failed, or was cancelled, in an earlier incarnation is to be started anew: else no
        next attempt could ever succeed.
        """
        rows = await self._children.find(news) if self._is_repeated else {}
        return [_latest_of(new, rows) for new in news]

    def new_job(self, new: NewOne) -> NewJob:
        """A row that names its parent."""
        return self._children.new_job(new, self._job_id)

    async def insert(self, jobs: Sequence[NewJob]) -> None:
        """Start jobs under the attempt's claim."""
        await self._children.start(self._attempt, jobs)

    async def wait_for_own_cancel(self) -> None:
        """The database knows of it before it knows of any cancel below."""
        await self._children.wait_for_own_cancel(self._attempt)

    async def leaves_children(self, error: BaseException) -> bool:
        """Where the attempt is lost or cut short, the next one finds what this one has started."""
        return (
            self._attempt.leaves_children
            or sort_raised(error).is_interrupt
            or await self._outside.is_cancelled()  # rule: a stop leaves what was started
        )


def _latest_of(new: NewOne, rows: Mapping[str, JobRow]) -> tuple[str, JobRow | None]:
    *earlier, present = new.ids
    if present in rows:
        return present, rows[present]
    for id in reversed(earlier):
        if id in rows:
            # rule: what has failed with its parent is started anew
            return (present, None) if _has_come_to_nothing(rows[id]) else (id, rows[id])
    return present, None


class FamilyOfClient:
    """The jobs that a client has started by itself: they end with its block."""

    grace = _GRACE_OF_CLIENT

    def __init__(self, children: Children, make_id: Callable[[], str]) -> None:
        self._children = children
        self._make_id = make_id

    def open(self) -> None:
        """Nothing is to be done."""

    def close(self) -> None:
        """Nothing is to be done."""

    def ids(self, nursery: str, key: str, number: int) -> Sequence[str]:  # noqa: ARG002
        """A new one."""
        return [self._make_id()]

    def detached_id(self, nursery: str, key: str, number: int) -> str:  # noqa: ARG002
        """A new one."""
        return self._make_id()

    async def find(self, news: Sequence[NewOne]) -> list[tuple[str, JobRow | None]]:
        """Nothing was started before."""
        await trio.lowlevel.checkpoint()
        return [(new.ids[-1], None) for new in news]

    def new_job(self, new: NewOne) -> NewJob:
        """A row like any other."""
        return self._children.new_job(new)

    async def insert(self, jobs: Sequence[NewJob]) -> None:
        """Put jobs on their queues."""
        await self._children.insert(jobs)

    async def wait_for_own_cancel(self) -> None:
        """It does not come from the database."""

    async def leaves_children(self, error: BaseException) -> bool:  # noqa: ARG002
        """Nobody would find them."""
        await trio.lowlevel.cancel_shielded_checkpoint()
        return False


class JobNursery:
    """A block that starts jobs, and waits for them: see `RunningJob.open_nursery`."""

    def __init__(
        self,
        name: str,
        family: Family,
        children: Children,
        waiters: Waiters,
        started: Callable[[Queue[Any, Any, Any]], None],
    ) -> None:
        self._name = name
        self._family = family
        self._children = children
        self._waiters = waiters
        #: Called with the queue of each job that is started.
        self._started = started
        self._scope = trio.CancelScope()
        self._waits = ExitStack()
        self._keys: set[str] = set()
        #: How many children without a key of their own each queue has got.
        self._counts = Counter[str]()
        self._live: dict[ChildJob[Any], None] = {}
        #: What is to be raised, in the order in which it happened.
        self._errors: list[BaseException] = []
        self._is_cancelling = False
        self._is_closed = False
        #: Set, and replaced by another, whenever a job has ended or was started.
        self._changed = trio.Event()

    async def start_job(
        self,
        queue: Queue[Input, Output, Error],
        job: Input | Job[Input],
        *,
        key: str | None = None,
        detached: bool = False,
    ) -> ChildJob[Output]:
        """Put a job on a queue, as a child of this block, which waits for its end.

        Where the job whose block this is runs again, what it had started before is returned: by its
        `key`, or else by its place among those of its queue that were started without one. A child
        that failed before the last failure of its parent is started anew.

        Args:
            queue: where the job goes.
            job: an input or a `Job`, without an `id` of its own.
            key: what names the job in this nursery; to be given where the order in which jobs are
                started is not always the same, as where several tasks start them.
            detached: whether the job is none of this block's: it is neither waited for nor
                cancelled, and `result` cannot be asked of it; `M25.result` can. It is still started
                once only.

        Raises:
            UsageError: another job of this nursery has the key; the `Job` has an id; or the block
                was left.
            StartRefused: the handler was cancelled, and goes on all the same.
            ValueRefused, UniqueKeyConflict, OutcomeUnknown, EnqueueQueryError, ClientClosed: as
                `M25.enqueue` does. A job that holds a unique key is no child of anybody else.
        """
        (child,) = await self._start(queue, [job], [key], detached=detached)
        return child

    async def start_many(
        self, queue: Queue[Input, Output, Error], jobs: Iterable[Input | Job[Input]]
    ) -> list[ChildJob[Output]]:
        """Put many jobs on a queue, some hundreds at a time; see `start_job`.

        Raises:
            Exception: as `start_job` does. Some of the jobs may have been started then; they are
                cancelled with the block that this error leaves.
        """
        some = list(jobs)
        return await self._start(queue, some, [None] * len(some), detached=False)

    async def _start(
        self,
        queue: Queue[Any, Any, Any],
        jobs: Sequence[Any],
        keys: Sequence[str | None],
        *,
        detached: bool,
    ) -> list[ChildJob[Any]]:
        refuse_in_transaction("start_job()")
        check_is_queue(queue)
        if self._is_closed:
            raise UsageError("the block of this nursery was left: it starts no more jobs")
        news = [
            self._new(queue, job, key, detached=detached)
            for job, key in zip(jobs, keys, strict=True)
        ]
        self._started(queue)
        if detached:
            await self._children.insert([self._children.new_job(new) for new in news])
            return [ChildJob(queue, new.ids[-1], is_detached=True) for new in news]
        found = await self._family.find(news)
        children = [ChildJob[Any](queue, id) for id, _ in found]
        missing: list[tuple[NewJob, ChildJob[Any], Wait]] = []
        for new, child, (_, row) in zip(news, children, found, strict=True):
            if row is None:
                job = self._family.new_job(new)
                missing.append((job, child, self._watch(child, is_coming=True)))
            elif row.status in _FINAL:
                self._note_end(child, row)
            else:
                self._watch(child)
        if missing:
            await self._insert(missing)
        return children

    def _new(
        self, queue: Queue[Any, Any, Any], job: object, key: str | None, *, detached: bool
    ) -> NewOne:
        if isinstance(job, Job) and job.id is not None:
            raise UsageError(
                "a job that a nursery starts has an id that is made from its parent's; give"
                " start_job a key instead of the id"
            )
        number = 0
        if key is None:
            number = self._counts[queue.name]
            self._counts[queue.name] += 1
            said = f"{queue.name} #{number}"
        elif key in self._keys:
            raise UsageError(f"another job of this nursery has the key {key!r}")
        else:
            self._keys.add(key)
            said = f"={key}"
        if detached:
            ids: Sequence[str] = [self._family.detached_id(self._name, said, number)]
        else:
            ids = self._family.ids(self._name, said, number)
        return NewOne(queue, job, ids)

    async def _insert(self, missing: Sequence[tuple[NewJob, ChildJob[Any], Wait]]) -> None:
        # They are known from before the insert on: whatever happens, what is there afterwards is
        # waited for, or cancelled.
        has_inserted = False
        try:
            await self._family.insert([job for job, _, _ in missing])
            has_inserted = True
        finally:
            for _, child, wait in missing:
                child._is_doubtful = not has_inserted
                self._waiters.came(wait, is_sure=has_inserted)

    def _watch(self, child: ChildJob[Any], *, is_coming: bool = False) -> Wait:
        """Have the end of a child noted here."""
        wait = self._waits.enter_context(
            self._waiters.waiting(child._queue, child.id, is_coming=is_coming)
        )
        wait.on_answer.append(lambda answered: self._answered(child, answered))
        self._live[child] = None
        self._change()
        return wait

    def _answered(self, child: ChildJob[Any], wait: Wait) -> None:
        if wait.is_abandoned:
            self._note_end(child, None, self._waiters.closed())
        else:
            self._note_end(child, wait.row)

    def _note_end(
        self, child: ChildJob[Any], row: JobRow | None, lost: Exception | None = None
    ) -> None:
        self._live.pop(child, None)
        if row is None and child._is_doubtful:
            # It was never inserted, and whoever wanted to start it has heard why.
            self._change()
            return
        error = child._end(row, lost)
        if error is not None and not (self._is_cancelling and isinstance(error, JobCancelled)):
            self._errors.append(error)
            self._scope.cancel()
        self._change()

    def _change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    # The block

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._waits.callback(self._family.close)
        self._family.open()
        self._scope.__enter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        error = raised
        with self._waits:
            if error is None:
                try:
                    await self._until_ended()
                except BaseException as from_wait:  # noqa: BLE001 - a part of what is raised
                    error = from_wait
            error = _outside(self._scope, error)
            if error is not None:
                self._errors.append(error)
            if self._live and not await self._leaves_children(error):
                self._is_cancelling = True
                # rule: what a nursery has started ends before it
                with contextlib.suppress(trio.TooSlowError):
                    await complete(self._cancel_rest, self._family.grace)
            self._is_closed = True
            await self._without_own_cancel(error)
        if error is not None and error is not raised and self._errors == [error]:
            raise error
        if not self._errors or (len(self._errors) == 1 and is_cancellation(error)):
            # What was raised in the block, if anything, goes on.
            return
        raise BaseExceptionGroup("Exceptions from a nursery of jobs", self._errors) from None

    async def _without_own_cancel(self, error: BaseException | None) -> None:
        """Of errors that are cancels of children, leave out those that are the cancel of whoever
        has started them: it has reached the children first.
        """
        others = [each for each in self._errors if not isinstance(each, JobCancelled)]
        if len(others) < len(self._errors):
            if not others:
                # rule: a job that is cancelled does not fail by its children's cancels
                await self._family.wait_for_own_cancel()
            elif others == [error] and is_cancellation(error):
                self._errors = others

    async def _leaves_children(self, error: BaseException | None) -> bool:
        return error is not None and await self._family.leaves_children(error)

    async def _until_ended(self) -> None:
        """Wait until no child is left; within a handler without its slot."""
        await trio.lowlevel.checkpoint()
        if self._live:
            async with without_slot():
                while self._live:
                    await self._changed.wait()

    async def _cancel_rest(self) -> None:
        """Cancel all children that have not ended, and wait for them."""
        asked: set[ChildJob[Any]] = set()
        async with without_slot():
            while self._live:
                changed = self._changed
                new = [child for child in self._live if child not in asked]
                asked.update(new)
                if new:
                    reason = "another job of its nursery has failed, or the block was left"
                    await self._children.cancel([str(child.id) for child in new], reason)
                else:
                    await changed.wait()


def _outside(scope: trio.CancelScope, error: BaseException | None) -> BaseException | None:
    """Leave a nursery's own scope; return the part of what was raised that is not the scope's."""
    try:
        is_absorbed = scope.__exit__(type(error) if error else None, error, None)
    except BaseException as remaining:  # noqa: BLE001 - it is raised in the group
        return remaining
    return None if is_absorbed else error


def _has_come_to_nothing(row: JobRow) -> bool:
    """Whether a job of an earlier incarnation has failed, or was cancelled, or is to be."""
    return row.status in _FAILED or (
        row.status != JobStatus.SUCCEEDED.value and row.cancel_requested_at is not None
    )
