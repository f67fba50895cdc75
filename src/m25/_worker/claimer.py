"""Claims jobs while slots are free, and runs each; long, since it is the whole way of a claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import trio

from .._events import JobExpired, JobReleased, JobStarted, JobSucceeded
from .._hints import QueueHint
from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import StatementFailed
from .._store.protocol import Claimed, ClaimedJob, JobRow, Release
from . import plan
from .ahead import AheadJob, BegunJob
from .crew import start_crews
from .doubt import confirm
from .environment import Environment
from .executor import Executor, Workplace
from .heartbeats import Heartbeats
from .kept_scope import KeptScope
from .lease import Lease
from .ledger import Granted, Ledger
from .limited import LimitedClaims
from .newer import NewerInputs
from .outcomes import emit_cancelled, facts_of
from .results import Results
from .scan_cursor import ScanCursor
from .settler import Settler
from .setup_pause import SetupPause
from .starter import Starter

#: How many jobs begin without a turn for other tasks: it is to take less than a millisecond, also
#: where their rows were read in the same turn.
_BEGUN_TOGETHER: Final = 100


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
        self._newer = NewerInputs(queue.name, runtime)
        self._results = Results(
            queue,
            runtime,
            ledger,
            environment,
            self._setup_pause,
            self._newer,
        )
        #: Of the present run: the nursery of the executors, and what starts them after their setup.
        self._nursery: trio.Nursery
        self._starter: Starter
        #: Of the latest claim: what its executors have in common.
        self._workplace: Workplace
        #: Who waits for a claim in doubt.
        self._certainty = trio.lowlevel.ParkingLot()
        self.stopping = False
        #: Whether the latest claim has left jobs that are due, it seems.
        self._has_more = False
        #: Whether a claim was ever answered.
        self.has_started = False
        #: Why the latest claim failed, if it did.
        self.latest_failure: StatementFailed | None = None

    async def run(
        self, executors: trio.Nursery, starter: Starter, task_status: trio.TaskStatus[None]
    ) -> None:
        """Claim until `stopping`; the claimer has started once a claim was answered."""
        self._nursery, self._starter = executors, starter
        try:
            await self._run(task_status)
        finally:
            # rule: a stop gives back what was claimed ahead
            self._give_back(self._ledger.ahead.clear())
            self._ledger.wait_for_process(has_work=False)
            if self._limited is not None:
                self._limited.is_open = False

    def stop(self) -> None:
        """Claim no more; `run` returns once no claim is in doubt, and no job begins."""
        self.stopping = True
        if self._limited is not None:
            self._limited.is_open = False

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        ledger, hint = self._ledger, self._hint
        tries = self._runtime.tries()
        while not self.stopping or (ledger.in_doubt is not None and ledger.running):
            granted = ledger.take_granted()
            # After a stop it is left in doubt, and so released.
            if granted is not None and not self.stopping:
                if granted.places:
                    self._keep_ahead(granted)
                else:
                    self._begin_granted(granted)
                self._asked()
                self._answered()
            self._give_back(ledger.ahead.late(trio.current_time()))
            if hint.may_be_paused:
                hint.has_changed = False
                # Where it is not paused, the next claim has these jobs again.
                self._give_back(ledger.ahead.clear())  # rule: a pause holds what was claimed ahead
            self._fill_slots()
            # A stop that waits for handlers makes sure of a claim in doubt, and claims no more.
            slots = 0 if self.stopping or hint.is_paused else ledger.claim_size()
            size = self._claim_size(slots)
            if not ((hint.due and size) or ledger.in_doubt) or ledger.is_claiming:
                self._wait_for_process(task_status)
                await self._wait()
                continue
            if size and (pause := self._rest()) > 0:
                await self._pause(pause)
                continue
            hint.due = hint.due and not size
            try:
                await self._make_sure()
                if self._newer.owes_recall:
                    await self._newer.recall()
                self._has_more = await self._claim_if_free(slots, size) if size else False
            except StatementFailed as failure:
                self.latest_failure = failure
                hint.due = True
                await self._pause(tries.failed(failure))
            else:
                tries.worked()
                hint.due = hint.due or self._has_more
                self._note_started(task_status)
                if self._limited is not None:
                    self._limited.is_open = not self.stopping

    def _wait_for_process(self, task_status: trio.TaskStatus[None]) -> None:
        """Wait for slots of the process that other queues have, if this one could use them."""
        can_run = not (self.stopping or self._hint.is_paused)
        has_work = self._hint.due or bool(self._ledger.ahead)
        self._ledger.wait_for_process(has_work=can_run and has_work)
        if can_run and self._hint.due and not self._ledger.claim_size():
            # All slots may be taken for long.
            self._note_started(task_status)

    def _note_started(self, task_status: trio.TaskStatus[None]) -> None:
        if not self.has_started:
            self.has_started = True
            task_status.started()

    def _claim_size(self, slots: int) -> int:
        """How many jobs to claim, where so many slots are free."""
        if self.stopping or self._hint.is_paused or not self._has_more:
            return slots
        if not self._ledger.may_claim_ahead:  # rule: nothing is claimed ahead of other queues
            return slots
        return min(slots + self._ledger.ahead.room(trio.current_time()), plan.LARGEST_CLAIM)

    def _rest(self) -> float:
        """How long to wait before the next claim, in seconds."""
        return self._setup_pause.left

    async def _wait(self) -> None:
        """Wait until there may be something to claim or to give back, or a slot, or the queue is to
        stop.
        """
        late_at = self._ledger.ahead.late_at
        if self._limited is None:
            with trio.move_on_at(late_at):
                await self._hint.wakeup.wait()
            return
        with trio.move_on_at(min(self._limited.room_at, late_at)):
            await self._hint.wakeup.wait()
        if self._limited.room_at <= trio.current_time():
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

    async def _claim_if_free(self, slots: int, size: int) -> bool:
        """Claim as `_claim` does; for fewer slots, if other queues of the process took some since
        they were counted.
        """
        if self._runtime.process_slots is not None:
            # rule: slots of the process are counted when the claim is sent
            taken = max(0, slots - self._ledger.claim_size())
            slots, size = slots - taken, size - taken
        return await self._claim(slots, size) if size > 0 else True

    async def _claim(self, slots: int, size: int) -> bool:
        """Claim up to `size` jobs, and begin so many as there are slots; return whether there may
        be more that are due.
        """
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
            # What is claimed ahead waits for the commit: meanwhile there are others to begin.
            and size <= slots
        )
        has_begun = False

        def begin_early(rows: Sequence[JobRow]) -> None:
            nonlocal has_begun
            # Where more jobs may be due and slots are left, these jobs begin after the commit, so
            # that the next claim is sent before their handlers take the processor. So do those that
            # are too many to begin in one go.
            is_filled = len(rows) == size and ledger.claim_size(len(rows))
            if len(rows) <= _BEGUN_TOGETHER and not is_filled:
                self._begin_granted(Granted(token, rows, began))
                has_begun = True

        if self._hint.rewind:
            self._hint.rewind = False
            self._cursor.rewind()
        after = self._cursor.next(began)
        ledger.ask(token, slots)
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
            ledger.ahead.met(rows)
            if size > slots:
                self._keep_ahead(Granted(token, rows, trio.current_time()))
            elif not has_begun:
                await self._begin_in_turns(Granted(token, rows, began))
        finally:
            self._asked()
        self._answered()
        if rows and len(rows) < size and self.has_started:
            # They are few: somebody may be waiting for one of them. Trio runs tasks that are ready
            # in any order, so the handlers that have begun, or the settler where one has ended
            # while its claim was being committed, have had their turn once this task has had two.
            # Those of the first claim must not: they would be under the deadline of the start.
            await trio.lowlevel.cancel_shielded_checkpoint()
            await trio.lowlevel.cancel_shielded_checkpoint()
        self._fill_slots()
        if limited is not None:
            has_more = limited.has_more or len(rows) == size
            if not (has_more or limited.is_full):
                self._runtime.hints.survey.set()
            return has_more
        # A claim that was filled may have left due jobs.
        is_filled = len(rows) == size
        now = trio.current_time()
        self._cursor.claimed(rows, after, began=began, now=now, is_filled=is_filled)
        if not is_filled:
            # A survey finds out whether jobs are due before the cursor, and when the next will be.
            self._runtime.hints.survey.set()
        return is_filled

    def _look_around(self) -> None:
        """Note what is the same for all jobs of a claim, since to look takes longer than a job."""
        # Not once for all: while queues start there is another deadline.
        self._environment.must_end_by = trio.current_effective_deadline()
        events = self._runtime.events
        self._workplace = Workplace(
            queue=self._queue,
            runtime=self._runtime,
            environment=self._environment,
            start=self._starter.start,
            start_locked=self._starter.start_locked,
            noted=self._ledger.note_progress,
            slots=self._ledger.slots,
            claimed=self._until_claimed,
            emits_all=events.wants(JobStarted) or events.wants(JobSucceeded),
        )

    def _begin_granted(self, granted: Granted) -> None:
        """Begin jobs that a claim has brought, as many as they are."""
        self._start(self._executors_of(granted))

    async def _begin_in_turns(self, granted: Granted) -> None:
        """The same, but where they are many other tasks have their turns in between."""
        rows, begun = granted.rows, list[Executor]()
        for first in range(0, len(rows), _BEGUN_TOGETHER):
            if len(rows) > _BEGUN_TOGETHER:
                # If any job of a claim begins, all do: no cancellation may come in between.
                await trio.lowlevel.cancel_shielded_checkpoint()
            some = rows[first : first + _BEGUN_TOGETHER]
            begun += self._executors_of(granted._replace(rows=some))
        self._start(begun)

    def _executors_of(self, granted: Granted) -> Sequence[Executor]:
        """Executors for jobs that a claim has brought; for none, where these are to wait."""
        self._look_around()
        rows, token = self._in_time(granted.rows, granted.token), granted.token
        # rule: what was being claimed when a setup failed waits like the rest
        if not self._at_once and self._setup_pause.left > 0:
            self._release_untried(rows, token)
            return ()
        return self._begin([(row, token, granted.asked_at, None) for row in rows])

    def _keep_ahead(self, granted: Granted) -> None:
        """Keep jobs that a claim has brought until there are slots, or places, for them."""
        self._look_around()
        token, at, places = granted.token, granted.asked_at, granted.places
        jobs = [
            AheadJob(row, token, at, places.get(row.id))
            for row in self._in_time(granted.rows, token)
        ]
        self._give_back(self._ledger.ahead.put(jobs))

    def _fill_slots(self) -> None:
        """Begin jobs that were claimed ahead, as many as there are slots."""
        self._start(self._begin_ahead(plan.LARGEST_CLAIM))

    def _begin_ahead(self, most: int) -> Sequence[Executor]:
        if self.stopping or not self._ledger.ahead or self._hint.may_be_paused:
            return ()
        now = trio.current_time()
        jobs = self._ledger.next_ahead(most, now)
        if late := [
            job
            for job in jobs
            if job.row.expires_at is not None and plan.has_expired(job.row, now - job.claimed_at)
        ]:
            # Once they are given back, the next claim ends them: it has the database's time.
            self._give_back(late)
            # rule: what expires before it has a slot is not started
            jobs = [job for job in jobs if job not in late]
        return self._begin(jobs)

    def _give_back(self, jobs: Sequence[AheadJob]) -> None:
        """Release jobs that were claimed ahead, and do not begin here."""
        if jobs:
            self._ledger.give_back(jobs)
            self._settler.wakeup.set()

    def _in_time(self, rows: Sequence[JobRow], token: str) -> Sequence[JobRow]:
        """Those of a claim's jobs that have not expired."""
        # rule: what has expired is not started
        rows, late = plan.without_expired(rows)
        self._expired += ((row, token) for row in late)
        return rows

    def _begin(self, jobs: Sequence[BegunJob]) -> Sequence[Executor]:
        """Executors for jobs. From now on they count as running."""
        queue, at_once, now = self._queue, self._at_once, trio.current_time()
        begun = [
            Executor(
                self._workplace,
                row,
                token,
                now + float(row.timeout) if at_once else math.inf,
                started=at_once,
                lease=Lease(queue, claimed_at, started=at_once) if queue.exclusive else None,
            )
            for row, token, claimed_at, _ in jobs
        ]
        self._runtime.loop_watch.began([executor.job for executor in begun], queue.name)
        self._ledger.begin(begun)
        if self._limited is not None:
            self._limited.began(jobs)
        return begun

    def _start(self, begun: Sequence[Executor]) -> None:
        if begun:
            name = f"jobs of queue {self._queue.name!r}"
            start_crews(begun, self._execute, self._begin_ahead, self._nursery, name)

    async def _execute(self, executor: Executor, scope: KeptScope) -> None:
        """Run a job, in the scope of its task."""
        try:
            await executor.run(scope)
        finally:
            self._ledger.end(executor)
            if self._limited is not None:
                self._limited.ended(executor)
            self._runtime.loop_watch.ended(executor.job)
            if executor.misses:
                self._heartbeats.executor_ended(executor)
            self._results.take(executor, is_stopping=self.stopping)
            self._hint.due = self._hint.due or self._newer.owes_recall
            self._settler.wakeup.set()
            self._hint.wakeup.set()

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

    def _release_untried(self, rows: Sequence[JobRow], token: str) -> None:
        for row in rows:
            self._ledger.owe_release(Release(row.id, token))
            self._runtime.events.emit(
                JobReleased(reason="its queue's setup has just failed", **facts_of(row))
            )
        self._settler.wakeup.set()

    async def _pause(self, seconds: float) -> None:
        """Wait before the next try; a stop ends the wait, and a try after the stop waits again."""
        self._ledger.wait_for_process(has_work=False)
        was_stopping = self.stopping
        with trio.move_on_after(seconds):
            while was_stopping or not self.stopping:
                await self._hint.wakeup.wait()
