"""Nurseries of jobs: what `trio.open_nursery` is for tasks, for jobs in whatever process.

The block is left once every job that was started in it has ended. One that fails cancels the
others; so does whatever leaves the block. All that was raised arrives in one group, as from a
nursery of tasks.

A nursery of a job's own (`RunningJob.open_nursery`) is as durable as that job: when it runs again,
it finds the jobs that it had started. Which are started anew is said in
`_family.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self

import trio

from ._base_queue import BaseQueue
from ._child_job import ChildJob
from ._children import Children, NewOne
from ._completion import complete
from ._errors import UniqueKeyConflict, UsageError
from ._family import Family, left
from ._handler import is_cancellation
from ._in_transaction import refuse_in_transaction
from ._job import Error, Input, Job, Output, has_own_id
from ._lifecycle import FINAL_VALUES
from ._query import check_is_queue
from ._refused_children import refuse_own_key, refuse_own_limit
from ._result_errors import JobCancelled
from ._start_names import StartNames
from ._store.protocol import JobRow, NewJob
from ._waiters import Wait, Waiters
from ._without_slot import without_slot


class JobNursery:
    """A block that starts jobs, and waits for them: see `RunningJob.open_nursery`."""

    def __init__(
        self,
        family: Family,
        children: Children,
        waiters: Waiters,
        started: Callable[[BaseQueue[Any, Any, Any]], None],
    ) -> None:
        self._family = family
        self._children = children
        self._waiters = waiters
        #: Called with the queue of each job that is started.
        self._started = started
        #: As a nursery of tasks has one: its cancel ends the block, and cancels its jobs.
        self.cancel_scope: Final = trio.CancelScope()
        self._waits = ExitStack()
        self._names = StartNames(family.new_job)
        self._detached = StartNames(children.new_job)
        #: Each with what ends the wait for it.
        self._live: dict[ChildJob[Any], ExitStack] = {}
        #: By id, those of calls that have raised: nobody has them, and they may be there.
        self._unreturned: dict[str, ChildJob[Any]] = {}
        #: How many calls are under way that start jobs, or find them again.
        self._starting = 0
        #: What is to be raised, in the order in which it happened.
        self._errors: list[BaseException] = []
        self._is_cancelling = False
        self._is_entered = self._is_closed = False
        #: Why the jobs that are left are cancelled, where one of them is the reason.
        self._why: str | None = None
        #: Set, and replaced by another, whenever a job has ended or was started.
        self._changed = trio.Event()

    async def start_job(
        self,
        queue: BaseQueue[Input, Output, Error],
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
            UsageError: another job of this nursery has the key; the `Job` has an id; the block was
                left; or the job would run under the limit of the one that waits for it, or in its
                order behind that one.
            ValueError: the key is empty, or no text.
            StartRefused: the handler was cancelled, and goes on all the same.
            ValueRefused, UniqueKeyConflict, OutcomeUnknown, EnqueueQueryError, ClientClosed: as
                `M25.enqueue` does; but in a handler's nursery an outage of the database is waited
                for. A job that holds a unique key is no child of anybody else.
        """
        (child,) = await self._start(queue, [job], [key], detached=detached)
        return child

    async def start_many(
        self, queue: BaseQueue[Input, Output, Error], jobs: Iterable[Input | Job[Input]]
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
        queue: BaseQueue[Any, Any, Any],
        jobs: Sequence[Any],
        keys: Sequence[str | None],
        *,
        detached: bool,
    ) -> list[ChildJob[Any]]:
        refuse_in_transaction("start_job()")
        check_is_queue(queue)
        self._check_open()
        if not detached:
            refuse_own_limit(queue)
        news = [
            self._new(queue, job, key, detached=detached)
            for job, key in zip(jobs, keys, strict=True)
        ]
        self._started(queue)
        try:
            if detached:
                with self._children.sending(queue, len(news)) as sent:
                    rows = [self._children.new_job(new) for new in news]
                    await self._family.insert_detached(rows)
                    sent(len(news), None)
                return [ChildJob(queue, new.ids[-1], is_detached=True) for new in news]
            return await self._find_or_insert(queue, news)
        except BaseException:
            # Whoever asked may try again, whether anything was started or not.
            (self._detached if detached else self._names).give_back(news, keys)
            raise

    async def _find_or_insert(
        self, queue: BaseQueue[Any, Any, Any], news: Sequence[NewOne]
    ) -> list[ChildJob[Any]]:
        children: list[ChildJob[Any]] = []
        self._starting += 1
        try:
            found = await self._family.find(news)
            self._check_open()
            count = sum(row is None for _, row in found)
            with self._children.sending(queue, count) as sent:
                rows = [
                    self._family.new_job(new) if row is None else row
                    for new, (_, row) in zip(news, found, strict=True)
                ]
                for row in rows:
                    if isinstance(row, NewJob):
                        refuse_own_key(row)
                missing: list[tuple[NewJob, ChildJob[Any], Wait]] = []
                for row, (id, _) in zip(rows, found, strict=True):
                    child, is_known = self._child(queue, id)
                    children.append(child)
                    if is_known:
                        continue
                    if isinstance(row, NewJob):
                        missing.append((row, child, self._watch(child, is_coming=True)))
                    elif row.status in FINAL_VALUES:
                        self._note_end(child, row)
                    else:
                        self._watch(child)
                if missing:
                    await self._insert(missing)
                sent(count, None)
        except BaseException:
            self._unreturned.update({str(child.id): child for child in children})
            raise
        finally:
            self._starting -= 1
            self._change()
        return children

    def _child(self, queue: BaseQueue[Any, Any, Any], id: str) -> tuple[ChildJob[Any], bool]:
        """The child of an id, and whether it is known already: by a call that has raised."""
        earlier = self._unreturned.pop(id, None)
        if earlier is None:
            return ChildJob(queue, id), False
        if earlier.has_ended or (earlier in self._live and not earlier.is_doubtful):
            return earlier, True
        # Nobody knows whether it is there. That is seen by its insert, which is repeated.
        if wait := self._live.pop(earlier, None):
            wait.close()
        return ChildJob(queue, id), False

    def _check_open(self) -> None:
        if not self._is_entered:
            raise UsageError(
                "a nursery starts jobs within its block: async with job.open_nursery() as nursery"
            )
        if self._is_closed:
            raise UsageError("the block of this nursery was left: it starts no more jobs")

    def _new(
        self, queue: BaseQueue[Any, Any, Any], job: object, key: str | None, *, detached: bool
    ) -> NewOne:
        if has_own_id(job):
            raise UsageError(
                "a job that a nursery starts has an id that is made from its parent's; give"
                " start_job a key instead of the id"
            )
        if detached:
            return self._detached.new(queue, job, key, self._family.detached_ids)
        return self._names.new(queue, job, key, self._family.ids)

    async def _insert(self, missing: list[tuple[NewJob, ChildJob[Any], Wait]]) -> None:
        # They are known from before the insert on: whatever happens, what is there afterwards is
        # waited for, or cancelled.
        has_inserted = False
        try:
            await self._family.insert([job for job, _, _ in missing])
            has_inserted = True
        except UniqueKeyConflict:
            if len(missing) == 1:
                # Surely it is not there, and it may be started once more, under the same id.
                self._live.pop(missing.pop()[1]).close()
                self._change()
            raise
        finally:
            for _, child, wait in missing:
                child.is_doubtful = not has_inserted
                self._waiters.came(wait, is_sure=has_inserted)

    def _watch(self, child: ChildJob[Any], *, is_coming: bool = False) -> Wait:
        """Have the end of a child noted here."""
        stack = self._waits.enter_context(ExitStack())
        wait = stack.enter_context(
            self._waiters.waiting(child.queue, child.id, is_coming=is_coming)
        )
        wait.on_answer.append(lambda answered: self._answered(child, answered))
        self._live[child] = stack
        self._change()
        return wait

    def _answered(self, child: ChildJob[Any], wait: Wait) -> None:
        if wait.is_abandoned:
            self._note_end(child, None, self._waiters.closed())
        else:
            self._note_end(child, wait.row)

    def _note_end(
        self,
        child: ChildJob[Any],
        row: JobRow | None,
        lost: Exception | None = None,
    ) -> None:
        self._live.pop(child, None)
        if row is None and child.is_doubtful:
            # It was never inserted, and whoever wanted to start it has heard why.
            self._change()
            return
        error = child.end(row, lost)
        if error is not None and not (self._is_cancelling and isinstance(error, JobCancelled)):
            self._errors.append(error)
            if self._why is None:
                self._why = f"job {child.id} of queue {child.queue.name!r} has not succeeded"
            self.cancel_scope.cancel()
        self._change()

    def _change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    # The block

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._waits.callback(self._family.close)
        self._family.open()
        self.cancel_scope.__enter__()
        self._is_entered = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:  # With `bool` type checkers doubt after the block what it has assigned.
        error = raised
        with self._waits:
            if error is None:
                try:
                    await self._until_ended()
                except BaseException as from_wait:  # noqa: BLE001 - a part of what is raised
                    error = from_wait
            error = _outside(self.cancel_scope, error)
            if error is not None:
                self._errors.append(error)
            if self._may_leave_jobs and not await self._leaves_children(error):
                self._is_cancelling = True
                # rule: what a nursery has started ends before it
                with contextlib.suppress(trio.TooSlowError):
                    await complete(self._cancel_rest, self._family.grace)
            self._is_closed = True
            await self._without_own_cancel(error)
        if error is not None and error is not raised and self._errors == [error]:
            raise error
        if not self._errors or (len(self._errors) == 1 and is_cancellation(error)):
            # What was raised in the block, if anything, goes on, but for the cancel of its scope.
            return error is None
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

    @property
    def _is_busy(self) -> bool:
        """Whether a child has not ended, or may still come."""
        return bool(self._live) or self._starting > 0  # rule: a block waits for what it is starting

    @property
    def _may_leave_jobs(self) -> bool:
        """Whether there may be jobs of this block that have not ended."""
        return self._is_busy or self._family.is_repeated

    async def _until_ended(self) -> None:
        """Wait until no child is left; within a handler without its slot."""
        await trio.lowlevel.checkpoint()
        if self._is_busy:
            async with without_slot():
                while self._is_busy:
                    await self._changed.wait()

    async def _cancel_rest(self) -> None:
        """Cancel all jobs of the block that have not ended, and wait for them."""
        async with trio.open_nursery() as nursery:
            # rule: what a run does not find again ends with its nursery
            nursery.start_soon(self._family.end_others, [str(child.id) for child in self._live])
            if self._is_busy:
                await self._cancel_known()

    async def _cancel_known(self) -> None:
        asked: set[ChildJob[Any]] = set()
        async with without_slot():
            while self._is_busy:
                changed = self._changed
                new = [child for child in self._live if child not in asked]
                asked.update(new)
                if new:
                    why = self._why or "its block has ended"
                    await self._family.cancel([str(child.id) for child in new], left(why))
                else:
                    await changed.wait()


def _outside(scope: trio.CancelScope, error: BaseException | None) -> BaseException | None:
    """Leave a nursery's own scope; return the part of what was raised that is not the scope's."""
    try:
        is_absorbed = scope.__exit__(type(error) if error else None, error, None)
    except BaseException as remaining:  # noqa: BLE001 - it is raised in the group
        return remaining
    return None if is_absorbed else error
