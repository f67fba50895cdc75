"""Claims jobs while slots are free, and runs each; long, since it is the whole way of a claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import trio

from .._events import JobExpired, JobReleased, JobSetAside, JobSnoozed, JobStarted, JobSucceeded
from .._hints import QueueHint
from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import StatementFailed
from .._store.protocol import Claimed, ClaimedJob, JobRow, Outcome, Release, SetAside
from .._timestamps import duration_to_text, timestamp_from_text
from . import plan
from .crew import Crew
from .doubt import confirm
from .endings import InDoubt, LeftToNewer, Snoozed, Unfinished
from .environment import Environment
from .executor import Executor
from .heartbeats import Heartbeats
from .lease import Lease
from .ledger import Granted, Ledger, Owed
from .limited import LimitedClaims
from .newer import NewerInputs
from .outcomes import emit_cancelled, facts_of
from .scan_cursor import ScanCursor
from .settler import Settler
from .setup_pause import SetupPause
from .starter import Starter

#: So many jobs are started in one turn of Trio's loop: if each had a task of its own, to make these
#: would take less than a millisecond.
_STARTED_AT_ONCE: Final = 100


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
        environment: Environment,
        limited: LimitedClaims | None,
    ) -> None:
        self._queue = queue
        self._runtime = runtime
        self._hint = hint
        self._ledger = ledger
        self._settler = settler
        self._heartbeats = heartbeats
        self._environment = environment
        self._cursor = ScanCursor(queue.poll_interval.total_seconds())
        self._limited = limited
        #: A claim starts its jobs: no setup comes before that.
        self._at_once = queue.handler.setup is None
        self._setup_pause = SetupPause(runtime.rng)
        #: Of the latest claim, the jobs that came too late to be started.
        self._expired: list[tuple[JobRow, str]] = []
        self._newer = NewerInputs(queue.name, runtime.events)
        #: Who waits for a claim in doubt.
        self._certainty = trio.lowlevel.ParkingLot()
        self.stopping = False
        #: Whether a claim was ever answered.
        self.has_started = False
        #: Why the latest claim failed, if it did.
        self.latest_failure: StatementFailed | None = None

    async def run(
        self, executors: trio.Nursery, starter: Starter, task_status: trio.TaskStatus[None]
    ) -> None:
        """Claim until `stopping`; the claimer has started once a claim was answered."""
        try:
            await self._run(executors, starter, task_status)
        finally:
            if self._limited is not None:
                self._limited.is_open = False

    def stop(self) -> None:
        """Claim no more; `run` returns once no claim is in doubt, and no job begins."""
        self.stopping = True
        if self._limited is not None:
            self._limited.is_open = False

    async def _run(
        self, executors: trio.Nursery, starter: Starter, task_status: trio.TaskStatus[None]
    ) -> None:
        ledger, hint = self._ledger, self._hint
        tries = self._runtime.tries()
        while not self.stopping or (ledger.in_doubt is not None and ledger.running):
            granted = ledger.take_granted()
            # After a stop it is left in doubt, and so released.
            if granted is not None and not self.stopping:
                self._begin(granted, executors, starter)
                self._asked()
                self._answered()
            # A stop that waits for handlers makes sure of a claim in doubt, and claims no more.
            size = 0 if self.stopping or hint.is_paused else ledger.claim_size()
            if not ((hint.due and size) or ledger.in_doubt) or ledger.is_claiming:
                await self._wait()
                continue
            if size and (pause := self._setup_pause.left) > 0:
                await self._pause(pause)
                continue
            hint.due = hint.due and not size
            try:
                await self._make_sure()
                has_more = await self._claim(size, executors, starter) if size else False
            except StatementFailed as failure:
                self.latest_failure = failure
                hint.due = True
                await self._pause(tries.failed(failure))
            else:
                tries.worked()
                hint.due = hint.due or has_more
                if not self.has_started:
                    self.has_started = True
                    task_status.started()
                if self._limited is not None:
                    self._limited.is_open = not self.stopping

    async def _wait(self) -> None:
        """Wait until there may be something to claim, or a slot, or the queue is to stop."""
        if self._limited is None:
            await self._hint.wakeup.wait()
            return
        with trio.move_on_at(self._limited.room_at) as scope:
            await self._hint.wakeup.wait()
        if scope.cancelled_caught:
            self._limited.room_at = math.inf
            self._hint.due = True  # rule: room that others make is found

    async def release_unheld(self) -> None:
        """Release the jobs that a claim in doubt took and that do not run here.

        Raises:
            StatementFailed: the database did not answer; the claim is still in doubt.
        """
        if self._ledger.in_doubt is not None:
            store = self._runtime.store
            ids = await store.release_claims(self._queue.name, [self._ledger.in_doubt])
            self._expired.clear()  # They are pending again, and will be found once more.
            if ids:
                for row in (await store.get(ids)).values():
                    emit_cancelled(self._runtime, row)
            self._ledger.answered()
            self._hint.rewind = True

    async def _claim(self, size: int, executors: trio.Nursery, starter: Starter) -> bool:
        """Claim jobs, and begin them; return whether there may be more that are due."""
        queue, ledger, at_once = self._queue, self._ledger, self._at_once
        # A worker whose sessions are cut off runs its handlers on. Where these must have ended
        # before anyone else starts the job, the lease alone says when.
        token = self._runtime.new_token(named=not queue.exclusive)  # rule: no lease is cut short
        began = trio.current_time()

        # Rows that the claim returns are locked: nobody else can have these jobs while the claim is
        # being committed, so their handlers may begin before the commit is answered. But if the
        # server goes down at that moment, the claim is undone, and the database does not know that
        # a handler began. So a job that may start only once (`allowed_losses=0`), or whose handlers
        # may not run at once, waits for the commit. The jobs of the manager's first claim wait,
        # too: until it is answered, this task and all tasks below it are under the deadline of the
        # queue's start.
        # rule: a job that may start only once waits for the commit
        early = (
            at_once
            and queue.allowed_losses > 0
            and not (queue.exclusive or queue.transactional or self._limited is not None)
            and self.has_started
        )
        has_begun = False

        def begin_early(rows: Sequence[JobRow]) -> None:
            nonlocal has_begun
            # Where more jobs may be due and slots are left, these jobs begin after the commit, so
            # that the next claim is sent before their handlers take the processor.
            if len(rows) < size or not ledger.claim_size(len(rows)):
                self._begin(Granted(token, rows, began), executors, starter)
                has_begun = True

        if self._hint.rewind:
            self._hint.rewind = False
            self._cursor.rewind()
        after = self._cursor.next(began)
        ledger.ask(token, size)
        limited: Claimed | None = None
        try:
            if self._limited is not None:
                limited = await self._limited.claim(token, size, start=at_once)
                rows = limited.rows
            else:
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
                self._begin(Granted(token, rows, began), executors, starter)
        finally:
            self._asked()
        self._answered()
        if limited is not None:
            has_more = limited.has_more or len(rows) == size
            if not (has_more or limited.is_full):
                self._runtime.hints.survey.set()
            return has_more
        self._cursor.claimed(rows, after, began=began, now=trio.current_time())
        if len(rows) < size:
            # A survey finds out whether jobs are due before the cursor, and when the next will be.
            self._runtime.hints.survey.set()
        # A claim that was filled may have left due jobs.
        return len(rows) == size

    def _begin(self, granted: Granted, executors: trio.Nursery, starter: Starter) -> None:
        """Begin jobs that a claim has brought."""
        queue, token, at_once = self._queue, granted.token, self._at_once
        now = trio.current_time()
        # Not once for all: while queues start there is another deadline.
        self._environment.must_end_by = trio.current_effective_deadline()
        events = self._runtime.events
        emits_all = events.wants(JobStarted) or events.wants(JobSucceeded)
        # rule: what has expired is not started
        rows, late = plan.without_expired(granted.rows)
        self._expired += ((row, token) for row in late)
        # rule: what was being claimed when a setup failed waits like the rest
        if not at_once and self._setup_pause.left > 0:
            self._release_untried(rows, token)
            return
        jobs = [ClaimedJob(row.id, token) for row in rows]
        self._runtime.loop_watch.began(jobs, queue.name)
        begun = [
            Executor(
                queue=queue,
                row=row,
                job=job,
                runtime=self._runtime,
                environment=self._environment,
                deadline=now + float(row.timeout) if at_once else math.inf,
                start=starter.start,
                noted=self._ledger.note_progress,
                slots=self._ledger.slots,
                claimed=self._until_claimed,
                started=at_once,
                lease=Lease(queue, granted.asked_at, started=at_once) if queue.exclusive else None,
                emits_all=emits_all,
            )
            for row, job in zip(rows, jobs, strict=True)
        ]
        for executor in begun:
            self._ledger.begin(executor)
        if len(begun) <= _STARTED_AT_ONCE:
            self._start(begun, executors)
        else:
            executors.start_soon(self._start_in_turns, begun, executors)

    async def _make_sure(self) -> None:
        """Find out what became of a claim whose answer was lost."""
        ledger = self._ledger
        if ledger.in_doubt is None:
            return
        if begun := ledger.begun_in_doubt():
            # rule: a claim in doubt is made sure of
            await confirm(begun, self._queue, self._runtime, ledger)
            # If any job of this claim began, all did that had not expired: nothing else is left to
            # release.
            self._answered()
        else:
            await self.release_unheld()

    async def _until_claimed(self, job: ClaimedJob) -> None:
        """Wait until the claim that has given a job is in doubt no more."""
        await trio.lowlevel.checkpoint()
        # rule: a claim in doubt keeps no step
        while self._ledger.in_doubt == job.token:
            await self._certainty.park()

    def _asked(self) -> None:
        self._ledger.asked()
        if self._limited is not None:
            self._limited.asked.set()

    def _answered(self) -> None:
        self._ledger.answered()
        self._certainty.unpark_all()
        # Not before: until its claim is committed, the database would say that a job is fenced.
        for row, token in self._expired:
            reason = "expired before it was started"
            children_of = row.job_id if row.has_children else None
            self._ledger.owe_release(
                Release(row.id, token, cancel_reason=reason, children_of=children_of)
            )
            self._runtime.events.emit(JobExpired(**facts_of(row)))
        self._expired.clear()
        if self._ledger.owes:
            self._settler.wakeup.set()
        if self._hint.to_cancel:
            self._hint.cancels.set()

    def _start(self, begun: Sequence[Executor], nursery: trio.Nursery) -> None:
        Crew(begun, self._execute, nursery, f"jobs of queue {self._queue.name!r}").start()

    async def _start_in_turns(self, begun: Sequence[Executor], nursery: trio.Nursery) -> None:
        """Start jobs that have begun, some at a time: others have turns in between."""
        left = begun
        try:
            while left:
                begun, left = left[:_STARTED_AT_ONCE], left[_STARTED_AT_ONCE:]
                self._start(begun, nursery)
                await trio.lowlevel.checkpoint()
        finally:
            # Cancelled as well, each of them comes to its own end.
            self._start(left, nursery)

    async def _execute(self, executor: Executor) -> None:
        try:
            await executor.run()
        finally:
            self._ledger.end(executor)
            if self._limited is not None:
                self._limited.ended(executor.row)
            self._runtime.loop_watch.ended(executor.job)
            if executor.misses:
                self._heartbeats.executor_ended(executor)
            self._take_result(executor)
            self._settler.wakeup.set()
            self._hint.wakeup.set()

    def _take_result(self, executor: Executor) -> None:
        result, children_of = executor.result, executor.children_of
        if isinstance(result, Outcome):
            owed = Owed(result, executor.row, self._queue.retry)
            self._ledger.owe(owed.with_children_of(children_of))
            if executor.setup_failed:
                self._setup_pause.failed()
            else:
                self._setup_pause.worked()
        elif isinstance(result, SetAside):
            aside = Release(*executor.job, set_aside=result, children_of=children_of)
            self._ledger.owe_release(aside)
            self._setup_pause.worked()
            until = timestamp_from_text(result.until).isoformat()
            self._runtime.events.emit(
                JobSetAside(until=until, awaits=result.awaits, **executor.facts)
            )
        elif isinstance(result, Snoozed):
            delay = duration_to_text(result.delay)
            self._ledger.owe_release(Release(*executor.job, delay=delay, children_of=children_of))
            self._setup_pause.worked()
            seconds = result.delay.total_seconds()
            self._runtime.events.emit(JobSnoozed(seconds=seconds, **executor.facts))
        elif isinstance(result, LeftToNewer):
            # rule: what is newer is left to newer workers
            self._ledger.owe_release(self._newer.release(executor, result))
        elif isinstance(result, InDoubt):
            # rule: a commit in doubt is released
            self._ledger.owe_release(Release(*executor.job, session_lost=True))
            self._ledger.commits_in_doubt[executor.job] = result
        elif result is Unfinished.COMMITTED:
            if self._queue.limit is not None and self._queue.limiter_name is not None:
                self._runtime.hints.room(self._queue.limiter_name)
        elif result is not Unfinished.FENCED:
            lost = result is Unfinished.LOST_CONNECTION
            release = Release(*executor.job, setup_failed=executor.setup_failed, session_lost=lost)
            # rule: what is cut short is released
            self._ledger.owe_release(release._replace(children_of=children_of))
            if executor.setup_failed:
                self._setup_pause.failed()
            elif result is Unfinished.CUT_SHORT:
                why_cut_short = self._environment.why_cut_short
                reason = "its queue is stopping" if self.stopping else why_cut_short
                self._runtime.events.emit(JobReleased(reason=reason, **executor.facts))
            elif result in (Unfinished.TOO_LATE, Unfinished.LOST_CONNECTION):
                self._runtime.events.emit(JobReleased(reason=result.value, **executor.facts))

    def _release_untried(self, rows: Sequence[JobRow], token: str) -> None:
        for row in rows:
            self._ledger.owe_release(Release(row.id, token))
            self._runtime.events.emit(
                JobReleased(reason="its queue's setup has just failed", **facts_of(row))
            )
        self._settler.wakeup.set()

    async def _pause(self, seconds: float) -> None:
        """Wait before the next try; a stop ends the wait, and a try after the stop waits again."""
        was_stopping = self.stopping
        with trio.move_on_after(seconds):
            while was_stopping or not self.stopping:
                await self._hint.wakeup.wait()
