"""Starts jobs for jobs and nurseries, and cancels them; many callers share a statement."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import trio

from ._base_queue import BaseQueue
from ._batcher import Batcher
from ._completion import complete
from ._enqueue.conflicts import enqueue_failed, key_conflict
from ._enqueue.enqueuer import Enqueuer
from ._job import JobId, JobStatus
from ._lifecycle import UNSUCCESSFUL_VALUES
from ._lock_waits import lock_pauses
from ._nursery_errors import StartRefused
from ._running_job import Attempt
from ._runtime import Runtime
from ._store.failures import RowRefused, StatementFailed
from ._store.protocol import (
    ClaimedJob,
    Enqueued,
    Exists,
    Held,
    JobRow,
    Locked,
    NewChild,
    NewJob,
    Refused,
)
from ._tracer import Sent, sending
from ._without_slot import without_slot
from ._worker.outcomes import emit_descendants
from .pg._wire import CLEAN_UP

T = TypeVar("T")

_Answer: TypeAlias = Enqueued | Exists | Held | Locked | Refused

#: How many jobs a statement inserts, reads or cancels at most.
LARGEST_BATCH: Final = 200
_LARGEST_CANCEL: Final = 1_000
#: How long an insert waits for the unique key that another transaction holds, before it lets go of
#: its parent's row.
_LOCK_WAIT: Final = timedelta(milliseconds=50)


def has_come_to_nothing(row: JobRow) -> bool:
    """Whether a job has failed, or was cancelled, or is to be."""
    return row.status in UNSUCCESSFUL_VALUES or (
        row.status != JobStatus.SUCCEEDED.value and row.cancel_requested_at is not None
    )


@attrs.frozen
class NewOne:
    """A job to be started: where, what, and under which ids.

    `ids` are those that it has had, or would have, in each incarnation of its parent, the present
    one last. A job that is started for a client alone has one.
    """

    queue: BaseQueue[Any, Any, Any]
    job: Any
    ids: Sequence[str]


class Children:
    """One for each client."""

    def __init__(
        self, runtime: Runtime, enqueuer: Enqueuer, channel: str, closed: Callable[[], Exception]
    ) -> None:
        self._runtime = runtime
        self._enqueuer = enqueuer
        #: On which this process is notified of ends.
        self._channel = channel
        self._batcher = Batcher[NewChild, _Answer](self._send, closed)

    async def run(self) -> None:
        """Start what gathers, until cancelled."""
        await self._batcher.run()

    def sending(self, queue: BaseQueue[Any, Any, Any], jobs: int) -> AbstractContextManager[Sent]:
        """A block in which so many jobs are made and inserted: to a tracer it is one send."""
        return sending(self._runtime.tracer if jobs else None, queue.name)

    def new_job(self, new: NewOne, parent_id: str | None = None) -> NewJob:
        """The row to be inserted.

        Raises:
            ValueRefused: the input cannot be kept as JSON.
            UsageError: the job has an id of its own.
        """
        job = self._enqueuer.new_job(new.queue, new.job, id=new.ids[-1], waiter=self._channel)
        return job._replace(parent_id=parent_id)

    async def find(self, news: Sequence[NewOne]) -> dict[str, JobRow]:
        """Of jobs that earlier attempts may have started, those that are there: the latest attempt
        of each, by id.
        """
        ids = [id for new in news for id in new.ids]
        found: dict[str, JobRow] = {}
        for start in range(0, len(ids), LARGEST_BATCH):
            found.update(await self._latest(ids[start : start + LARGEST_BATCH]))
        return found

    async def _latest(self, ids: Sequence[str]) -> Mapping[str, JobRow]:
        return await self._runtime.tries().until_answered(partial(self._runtime.store.latest, ids))

    async def start(self, attempt: Attempt, nursery: str, jobs: Sequence[NewJob]) -> None:
        """Insert jobs of a nursery under the claim of the attempt that starts them.

        A unique key that a job of an earlier nursery of the attempt's job holds, which is to be
        cancelled and has not ended, is waited for.

        Raises:
            UniqueKeyConflict: another job holds the unique key of one.
            StartRefused: the attempt may start nothing more.
            EnqueueQueryError: the database refuses them. It is asked until it answers.
        """
        # Under a claim in doubt the database would refuse it.
        await attempt.until_claimed()
        attempt.starts_children = True  # rule: who may have children is ended as a parent
        backoff = lock_pauses(self._runtime.rng)
        left = [NewChild(job, attempt.job, nursery) for job in jobs]
        while left:
            answers = await self._ask(left)
            for child, answer in zip(left, answers, strict=True):
                if isinstance(answer, Held) and not await self._is_leaving(answer.id, attempt):
                    raise key_conflict(child.job, answer)
                if isinstance(answer, Refused):
                    await self._refuse(attempt)
            left = [
                child
                for child, answer in zip(left, answers, strict=True)
                if isinstance(answer, Locked | Held)
            ]
            if left:
                await trio.sleep(backoff.failed())

    async def _is_leaving(self, id: str, attempt: Attempt) -> bool:
        """Whether a job gives its unique key back soon: one that the same job has started, and that
        is to be cancelled.
        """
        row = (await self._latest([id])).get(id)
        if row is None or row.parent_id != attempt.row.job_id:
            return False
        return has_come_to_nothing(row)  # rule: the key of a job that is cancelled is waited for

    async def _ask(self, children: Sequence[NewChild]) -> Sequence[_Answer]:
        answers: list[_Answer] = []
        jobs = [child.job for child in children]
        await self._send_jobs(partial(self._ask_store, children, answers), jobs)
        return answers

    async def _send_jobs(
        self,
        ask: Callable[[], Awaitable[T]],
        jobs: Sequence[NewJob],
        *,
        outlasts_outages: bool = True,
    ) -> T:
        """Ask for what inserts these jobs, until there is an answer: by its id, what was inserted
        all the same is found. Unless it `outlasts_outages`, ask once.

        Raises:
            EnqueueQueryError: the database refuses one of the jobs, or is not asked again.
        """
        try:
            if outlasts_outages:  # rule: who starts jobs outlasts an outage
                return await self._runtime.tries().until_answered(
                    partial(_answered, ask), is_final=_is_refusal
                )
            return await _answered(ask)
        except StatementFailed as failure:
            enqueue_failed(failure, [JobId(job.id) for job in jobs])

    async def _ask_store(self, children: Sequence[NewChild], answers: list[_Answer]) -> None:
        """Ask for those that have no answer yet."""
        if len(children) == 1:
            answers.append(await self._batcher.ask(children[0]))
            return
        for start in range(len(answers), len(children), LARGEST_BATCH):
            sent: list[_Answer] = []
            for answer in await self._send(children[start : start + LARGEST_BATCH]):
                if isinstance(answer, Exception):
                    raise answer
                sent.append(answer)
            answers += sent

    async def _send(self, children: Sequence[NewChild]) -> Sequence[_Answer | Exception]:
        store = self._runtime.store
        names = list(dict.fromkeys(child.job.queue_name for child in children))
        try:
            answers = await store.start_children(children, names, lock_wait=_LOCK_WAIT)
        except StatementFailed as failure:
            if len(children) == 1:
                if failure.waits_for_lock:
                    return [Locked(children[0].parent.id)]
                return [failure]
            if not (failure.waits_for_lock or isinstance(failure, RowRefused)):
                raise
            # One of them is the reason; each is tried alone, so that the others are started.
            alone: list[_Answer | Exception] = []
            for child in children:
                alone += await self._send([child])
            return alone
        self._runtime.hints.enqueued([child.job for child in children])
        return answers

    async def _refuse(self, attempt: Attempt) -> None:
        """Wait for the cancellation that is on its way to a handler that may start nothing more.

        Raises:
            StartRefused: it was cancelled already, and goes on all the same.
        """
        await self._wait_for_cancel(attempt)
        raise StartRefused(JobId(attempt.row.id))

    async def wait_for_own_cancel(self, attempt: Attempt) -> None:
        """Wait for the cancellation of a handler, if its job's cancel was asked for."""
        try:
            requests = await self._runtime.store.find_cancel_requests([attempt.job])
        except StatementFailed:
            return
        if requests:
            await self._wait_for_cancel(attempt)

    async def _wait_for_cancel(self, attempt: Attempt) -> None:
        """Wait for a cancellation that the next heartbeat brings at the latest."""
        self._runtime.hints.cancel(attempt.queue.name, attempt.row.id)
        await trio.sleep(2 * attempt.queue.heartbeat_interval.total_seconds())

    async def insert(self, jobs: Sequence[NewJob], *, outlasts_outages: bool = False) -> None:
        """Insert jobs that no other waits for but this client.

        Raises:
            UniqueKeyConflict: another job holds the unique key of one.
            EnqueueQueryError: the database failed; or, with `outlasts_outages`, refuses one.
        """
        for start in range(0, len(jobs), LARGEST_BATCH):
            batch = jobs[start : start + LARGEST_BATCH]
            names = list(dict.fromkeys(job.queue_name for job in batch))
            answers = await self._send_jobs(
                partial(self._runtime.store.enqueue, batch, names),
                batch,
                outlasts_outages=outlasts_outages,
            )
            self._runtime.hints.enqueued(batch)
            for job, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Held):
                    raise key_conflict(job, answer)

    async def end_others(
        self, attempt: Attempt, nursery: str, found: Collection[str], reason: str
    ) -> None:
        """Cancel what a job's earlier runs have started in a nursery, but for what was found again,
        and wait for its end.
        """
        store = self._runtime.store

        async def find() -> set[str]:
            live = await store.live_children(attempt.row.job_id, nursery)
            return live.difference(found)

        others = await self._runtime.tries().until_answered(find)
        if not others:
            return
        pauses = lock_pauses(self._runtime.rng)
        async with without_slot():
            while others:
                await self.cancel(others, reason, attempt.job)
                await trio.sleep(pauses.failed())
                others = await self._runtime.tries().until_answered(find)

    async def cancel(
        self, ids: Collection[str], reason: str, holder: ClaimedJob | None = None
    ) -> None:
        """Cancel jobs with all that is below them, for as long as it takes; and nothing once the
        claim of the attempt that has started them, if one has, is lost.
        """
        left = list(ids)
        tries = self._runtime.tries()
        backoff = lock_pauses(self._runtime.rng)
        while left:
            batch = left[:_LARGEST_CANCEL]
            done = await tries.until_answered(
                partial(
                    self._runtime.store.cancel_descendants, [], batch, reason=reason, holder=holder
                )
            )
            emit_descendants(self._runtime, done.reached)
            if done.is_unfinished:
                # The others need not wait for what somebody has locked.
                left = left[len(batch) :] + batch
                await trio.sleep(backoff.failed())
            else:
                left = left[len(batch) :]


def _is_refusal(failure: StatementFailed) -> bool:
    return isinstance(failure, RowRefused) or failure.is_denied


async def _answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask, and wait for the answer, for five seconds at most where the caller is cancelled: a block
    that did not know of a job would be left before that has ended.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    try:
        # rule: a start that was sent is answered, although its block is cancelled
        return await complete(ask, CLEAN_UP)
    except trio.TooSlowError:
        await trio.lowlevel.checkpoint_if_cancelled()
        raise
