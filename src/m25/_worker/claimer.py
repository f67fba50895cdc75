"""Claims jobs while slots are free, and runs each in an executor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import trio

from .._batcher import Batcher
from .._events import JobReleased, JobStarted
from .._hints import QueueHint
from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import StatementFailed
from .._store.protocol import ClaimedJob, JobRow, Outcome, Started
from ..pg._backoff import Backoff
from .executor import Executor, NotOurs, Unfinished
from .heartbeats import Heartbeats
from .ledger import Ledger, Owed
from .scan_cursor import ScanCursor
from .settler import Settler


class Claimer:
    """One for each manager; it outlasts the manager's restarts."""

    def __init__(
        self,
        queue: Queue[Any, Any, Any],
        runtime: Runtime,
        hint: QueueHint,
        ledger: Ledger,
        settler: Settler,
        heartbeats: Heartbeats,
    ) -> None:
        self._queue = queue
        self._runtime = runtime
        self._hint = hint
        self._ledger = ledger
        self._settler = settler
        self._heartbeats = heartbeats
        self._cursor = ScanCursor(queue.poll_interval.total_seconds())
        self._setup_backoff = Backoff(rng=runtime.rng)
        #: After a setup that failed: when the next may be tried, by Trio's clock.
        self._setup_again_at = -math.inf
        self.stopping = False
        #: Whether a claim was ever answered.
        self.has_started = False
        #: Why the latest claim failed, if it did.
        self.latest_failure: StatementFailed | None = None

    async def run(
        self,
        executors: trio.Nursery,
        starts: Batcher[ClaimedJob, Started | NotOurs],
        task_status: trio.TaskStatus[None],
    ) -> None:
        """Claim until `stopping`; it has started once a claim was answered."""
        ledger, hint = self._ledger, self._hint
        tries = self._runtime.tries()
        while not self.stopping:
            size = ledger.claim_size()
            if not ((hint.due and size) or ledger.in_doubt):
                await hint.wakeup.wait()
                continue
            if (pause := self._setup_again_at - trio.current_time()) > 0:
                await self._pause(pause)
                continue
            hint.due = False
            try:
                await self._make_sure()
                claimed = await self._claim(size, executors, starts) if size else 0
            except StatementFailed as failure:
                self.latest_failure = failure
                hint.due = True
                await self._pause(tries.failed(failure))
            else:
                tries.worked()
                # A full claim may have left something.
                hint.due = hint.due or claimed == size
                if not self.has_started:
                    self.has_started = True
                    task_status.started()

    async def release_unheld(self) -> None:
        """Release what a claim in doubt took that nobody runs.

        Raises:
            StatementFailed: the database cannot be asked; the claim is still in doubt.
        """
        if self._ledger.in_doubt is not None:
            await self._runtime.store.release_claims(self._queue.name, [self._ledger.in_doubt])
            self._ledger.answered()
            self._hint.rewind = True

    async def _claim(
        self,
        size: int,
        executors: trio.Nursery,
        starts: Batcher[ClaimedJob, Started | NotOurs],
    ) -> int:
        queue, ledger = self._queue, self._ledger
        at_once = queue.handler.setup is None
        token = str(uuid4())

        def begin(rows: Sequence[JobRow]) -> None:
            now = trio.current_time()
            tells_all = self._runtime.events.wants(JobStarted)
            for row in rows:
                executor = Executor(
                    queue=queue,
                    row=row,
                    job=ClaimedJob(row.id, token),
                    runtime=self._runtime,
                    deadline=now + float(row.timeout) if at_once else math.inf,
                    start=starts.ask,
                    started=at_once,
                    tells_all=tells_all,
                )
                ledger.begin(executor)
                self._runtime.loop_watch.began(executor.job, queue.name)
                executors.start_soon(self._execute, executor)

        # Nobody else can have the jobs while the claim is being committed, so they need not wait
        # for that. But were the server to go down at that moment, a handler would have begun of
        # which the database knows nothing: a job that may start only once waits for the commit. So
        # does the first claim of all: until it is answered this task, and every task below it, is
        # under the deadline of the queue's start.
        early = at_once and queue.allowed_losses > 0 and self.has_started
        has_begun = False

        def begin_early(rows: Sequence[JobRow]) -> None:
            nonlocal has_begun
            # Where there is more, and room for it, the next claim is to be under way first.
            if len(rows) < size or not ledger.claim_size(len(rows)):
                begin(rows)
                has_begun = True

        if self._hint.rewind:
            self._hint.rewind = False
            self._cursor.rewind()
        began = trio.current_time()
        after = self._cursor.next(began)
        ledger.ask(token)
        rows = await self._runtime.store.claim(
            queue.name,
            token=token,
            limit=size,
            lease=queue.lease if at_once else min(queue.lease, queue.reserved_timeout),
            start=at_once,
            after=after,
            on_rows=begin_early if early else None,
        )
        if not has_begun:
            begin(rows)
        self._answered()
        self._cursor.claimed(rows, after, began=began, now=trio.current_time())
        if len(rows) < size:
            # Whether there is more before the cursor, and what is for later, a survey finds out.
            self._runtime.hints.survey.set()
        return len(rows)

    async def _make_sure(self) -> None:
        """Find out what became of a claim whose answer was lost."""
        ledger = self._ledger
        if ledger.in_doubt is None:
            return
        if begun := ledger.begun_in_doubt():
            held = await self._runtime.store.confirm(begun, self._queue.lease)
            for job in begun:
                if job.id not in held and job in ledger.running:
                    self._heartbeats.fence(ledger.running[job])
            # If any job of this claim began, all did: nothing is left to release.
            self._answered()
        else:
            await self.release_unheld()

    def _answered(self) -> None:
        self._ledger.answered()
        if self._ledger.owes:
            self._settler.wakeup.set()

    async def _execute(self, executor: Executor) -> None:
        try:
            await executor.run()
        finally:
            self._ledger.end(executor)
            self._runtime.loop_watch.ended(executor.job)
            self._heartbeats.executor_ended(executor)
            self._take_result(executor)
            self._settler.wakeup.set()
            self._hint.wakeup.set()

    def _take_result(self, executor: Executor) -> None:
        result = executor.result
        if isinstance(result, Outcome):
            self._ledger.owe(Owed.of(result, executor.row))
            self._setup_backoff.worked()
            self._setup_again_at = -math.inf
        elif result is not Unfinished.FENCED:
            self._ledger.owe_release(executor.job)
            if result is Unfinished.NOT_INITIALISED:
                self._setup_again_at = trio.current_time() + self._setup_backoff.failed()
            else:
                reason = "its queue is stopping" if self.stopping else "its worker was cancelled"
                self._runtime.events.emit(JobReleased(reason=reason, **executor.facts))

    async def _pause(self, seconds: float) -> None:
        """Wait before the next try; a stop ends the wait."""
        with trio.move_on_after(seconds):
            while not self.stopping:
                await self._hint.wakeup.wait()
