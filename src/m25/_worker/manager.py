"""A queue's manager: claims jobs while slots are free, runs each in an executor, sends heartbeats,
and writes what became of them.

    manager.run                       restarts what follows, with a pause, should it fail
    └─ services                       cancelled once the executors are done
       ├─ settling                    one statement at a time, for all that ended meanwhile
       ├─ promoting                   reserved → executing, for a queue with `setup`; the same way
       ├─ beating                     every heartbeat_interval
       └─ executors                   what a stop's grace ends
          ├─ claiming
          └─ executor …               one per running job

Whatever way it is left, it ends with a shielded, bounded clean-up: results that are still waiting
are written, and jobs that were cut short are handed back.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import uuid4

import trio

from .._batcher import Batcher
from .._crash import describe_crash
from .._database_health import DatabaseHealth
from .._errors import ClientClosed
from .._job import FailureReason
from .._queue import Queue
from .._store.failures import RowRefused, StatementFailed
from .._store.protocol import ClaimedJob, JobRow, Outcome, Started, Store, WriteResult
from . import plan
from .executor import Ending, Executor, Lost, Verdict
from .loop_stall import LoopStall
from .scan_cursor import ScanCursor

_logger = logging.getLogger("m25.manager")

#: How long the clean-up may take, in seconds: what it cannot write by then, the leases will end.
CLEAN_UP: Final = 5.0
#: The same where not one claim was answered: there is next to nothing to write.
CLEAN_UP_UNSTARTED: Final = 1.0

#: How many executors are sent a heartbeat before others have a turn: each answers in its own.
_HEARTBEATS_AT_ONCE: Final = 100

#: The most that one settle statement carries.
_LARGEST_SETTLE: Final = 500


class Manager:
    """Runs the jobs of one queue, in this process.

    `look_soon` asks for a survey: there may be a scheduled job to wait for.
    """

    def __init__(
        self,
        queue: Queue[Any, Any, Any],
        store: Store,
        *,
        make_id: Callable[[], str],
        health: DatabaseHealth,
        rng: random.Random,
        look_soon: Callable[[], None],
    ) -> None:
        self.queue = queue
        self._store = store
        self._make_id = make_id
        self._health = health
        self._rng = rng
        self._look_soon = look_soon
        self._stopping = False
        #: Work may be due.
        self._due = True
        #: Why the last claim failed, if it did.
        self.latest_failure: StatementFailed | None = None
        self._rung = trio.Event()
        self._ended = trio.Event()
        self._executors = trio.CancelScope()
        #: By claim: a job that was handed back may be claimed again before its executor has ended.
        self._running: dict[ClaimedJob, Executor] = {}
        self._unsettled: list[Outcome] = []
        #: The same of attempts whose claims are not known to be committed.
        self._too_early: list[Outcome] = []
        self._to_release: list[ClaimedJob] = []
        #: Tokens of claims that are not known to be committed: their answers have not come, or were
        #: lost.
        self._unanswered: set[str] = set()
        self._init_failures = 0
        #: After a setup that failed: when the next may be tried, by Trio's clock.
        self._init_again_at = -math.inf
        self._loop_stall = LoopStall(queue.name)
        self._cursor = ScanCursor(queue.poll_interval.total_seconds())
        self._has_started = False
        self._answers = trio.open_memory_channel[Executor](math.inf)

    # What others call

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the queue until stopped or cancelled; it has started once a claim was answered."""
        failures = 0
        try:
            while True:
                began = trio.current_time()
                try:
                    await self._serve(task_status)
                    return
                except Exception:
                    if trio.current_time() - began > 10 * plan.LONGEST_PAUSE:
                        failures = 0
                    failures += 1
                    _logger.exception(
                        "manager failed; restarting", extra={"queue": self.queue.name}
                    )
                    await trio.sleep(plan.pause(failures, self._rng))
        finally:
            # What a manager that failed could not write, the next one writes.
            self._report_unwritten()

    def wake(self, *, rewind: bool = False) -> None:
        """There may be work to claim; with `behind`, such as claims have gone past already."""
        if rewind:
            self._cursor.rewind()
        self._due = True
        self._rung.set()

    def stop(self, grace: float) -> None:
        """Claim no more; handlers have `grace` seconds to finish, and the rest are cancelled."""
        self._stopping = True
        self._executors.deadline = trio.current_time() + grace
        self._rung.set()

    # The tree

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        self._executors = trio.CancelScope(deadline=self._executors.deadline)
        promoter: Batcher[ClaimedJob, Started | Lost] = Batcher(self._promote, ClientClosed)
        try:
            async with trio.open_nursery() as services:
                services.start_soon(self._settle_what_ends)
                services.start_soon(self._send_heartbeats)
                if self.queue.setup is not None:
                    services.start_soon(promoter.run)
                with self._executors:
                    async with trio.open_nursery() as executors:
                        await self._claim_while_running(executors, promoter, task_status)
                services.cancel_scope.cancel()
        finally:
            bound = CLEAN_UP if self._has_started else CLEAN_UP_UNSTARTED
            with trio.CancelScope(shield=True, deadline=trio.current_time() + bound):
                await self._clean_up()

    async def _claim_while_running(
        self,
        executors: trio.Nursery,
        promoter: Batcher[ClaimedJob, Started | Lost],
        task_status: trio.TaskStatus[None],
    ) -> None:
        failures = 0
        while not self._stopping:
            size = self._claim_size()
            if not ((self._due and size) or self._unanswered):
                self._rung = trio.Event()
                await self._rung.wait()
                continue
            if (pause := self._init_again_at - trio.current_time()) > 0:
                await self._pause(pause)
                continue
            self._due = False
            try:
                await self._make_sure()
                claimed = await self._claim(size, executors, promoter) if size else 0
            except StatementFailed as error:
                self._health.failed(error)
                self.latest_failure = error
                self._due = True
                failures += 1
                await self._pause(plan.pause(failures, self._rng))
            else:
                failures = 0
                # A full claim may have left something behind.
                self._due = self._due or claimed == size
                if not self._has_started:
                    self._has_started = True
                    task_status.started()

    def _claim_size(self, more: int = 0) -> int:
        return plan.claim_size(
            max_concurrency=self.queue.max_concurrency,
            running=len(self._running) + more,
            unsettled=len(self._unsettled),
        )

    async def _claim(
        self, size: int, executors: trio.Nursery, promoter: Batcher[ClaimedJob, Started | Lost]
    ) -> int:
        queue = self.queue
        starts = queue.setup is None
        lease = queue.lease if starts else min(queue.lease, queue.reserved_timeout)
        token = str(uuid4())

        def begin(rows: Sequence[JobRow]) -> None:
            now = trio.current_time()
            for row in rows:
                executor = Executor(
                    queue=queue,
                    row=row,
                    claim=ClaimedJob(row.id, token),
                    deadline=now + float(row.timeout) if starts else math.inf,
                    promote=promoter.ask,
                    make_id=self._make_id,
                    started=starts,
                )
                self._running[executor.claim] = executor
                executors.start_soon(self._execute, executor)

        # Nobody else can have the jobs while the claim is being committed: they need not wait for
        # that. But were the server to go down at the very moment, a handler would have begun of
        # which it knows nothing: where that may not be, it is waited for. So is the first answer of
        # all: until then this task, and whoever begins below it, is under its starter's deadline.
        early = starts and queue.allowed_losses > 0 and self._has_started
        has_begun = False

        def begin_early(rows: Sequence[JobRow]) -> None:
            nonlocal has_begun
            # Where there is more, and room for it, the next claim is to be under way first.
            if len(rows) < size or not self._claim_size(len(rows)):
                begin(rows)
                has_begun = True

        began = trio.current_time()
        after = self._cursor.next(began)
        self._unanswered.add(token)
        rows = await self._store.claim(
            queue.name,
            token=token,
            limit=size,
            lease=lease,
            start=starts,
            after=after,
            on_rows=begin_early if early else None,
        )
        self._unanswered.remove(token)
        if not has_begun:
            begin(rows)
        self._settle_the_early()
        self._health.worked()
        self._cursor.claimed(rows, after, began=began, now=trio.current_time())
        if len(rows) < size:
            # Whether there is more behind, and what is for later, a survey finds out.
            self._look_soon()
        return len(rows)

    async def _make_sure(self) -> None:
        """Find out what became of claims whose answers were lost."""
        if not self._unanswered:
            return
        if begun := self._begun_in_doubt():
            held = await self._store.confirm(begun, self.queue.lease)
            for claim in begun:
                if claim.id not in held and claim in self._running:
                    self._lose(self._running[claim])
            # Whoever began has all that its claim took.
            self._unanswered -= {claim.token for claim in begun}
        self._settle_the_early()
        await self._recover()

    def _begun_in_doubt(self) -> list[ClaimedJob]:
        # A manager that failed leaves results unsettled that were too early.
        ended = [*self._too_early, *self._unsettled]
        claims = [*self._running, *(ClaimedJob(each.id, each.token) for each in ended)]
        return [claim for claim in claims if claim.token in self._unanswered]

    def _settle_the_early(self) -> None:
        """Settle what has ended before its claim was known to be committed."""
        if self._too_early:
            self._unsettled += self._too_early
            self._too_early.clear()
            self._ended.set()

    async def _recover(self) -> None:
        """Hand back what claims took whose answers were lost: nobody runs it."""
        if self._unanswered:
            await self._store.release_claims(self.queue.name, sorted(self._unanswered))
            self._unanswered.clear()
            self._cursor.rewind()

    async def _execute(self, executor: Executor) -> None:
        try:
            await executor.run()
        finally:
            del self._running[executor.claim]
            self._loop_stall.ended(executor.row.id)
            if executor.misses:
                # Whoever waits for its answer need not.
                self._answers[0].send_nowait(executor)
            self._take_ending(executor)
            self._rung.set()

    def _take_ending(self, executor: Executor) -> None:
        ending = executor.ending
        if isinstance(ending, Outcome):
            self._settle_soon(ending)
            self._init_failures = 0
            self._init_again_at = -math.inf
        elif ending is Ending.LOST:
            _logger.warning("late result dropped; the claim was lost", extra=executor.facts)
        else:
            self._to_release.append(executor.claim)
            if ending is Ending.NOT_INITIALISED:
                self._init_failures += 1
                pause = plan.pause(self._init_failures, self._rng)
                self._init_again_at = trio.current_time() + pause
        self._ended.set()

    def _settle_soon(self, outcome: Outcome) -> None:
        early = outcome.token in self._unanswered
        (self._too_early if early else self._unsettled).append(outcome)
        self._ended.set()

    async def _pause(self, seconds: float) -> None:
        """Wait before the next try; a stop ends the wait."""
        with trio.move_on_after(seconds):
            while not self._stopping:
                self._rung = trio.Event()
                await self._rung.wait()

    # Settling

    async def _settle_what_ends(self) -> None:
        failures = 0
        while True:
            if not (self._unsettled or self._to_release):
                self._ended = trio.Event()
                await self._ended.wait()
                continue
            try:
                await self._write_endings()
            except StatementFailed as error:
                self._health.failed(error)
                failures += 1
                await trio.sleep(plan.pause(failures, self._rng))
            else:
                self._health.worked()
                failures = 0

    async def _write_endings(self) -> None:
        # What is being written stays in its list until the answer is there: a write that is
        # cancelled, or whose answer is lost, is repeated, and changes nothing twice.
        if outcomes := self._unsettled[:_LARGEST_SETTLE]:
            results = await self._settle(outcomes)
            del self._unsettled[: len(outcomes)]
            # Claims may have been waiting for that.
            self._rung.set()
            for outcome in outcomes:
                if results.get(outcome.id) is WriteResult.FENCED:
                    _logger.warning(
                        "late result dropped; the claim was lost",
                        extra={"job_id": outcome.id, "queue": self.queue.name},
                    )
            if WriteResult.RETRIED in results.values():
                self.wake()
                self._look_soon()
        if claims := list(self._to_release):
            await self._store.release(claims, [self.queue.name])
            del self._to_release[: len(claims)]
            self.wake(rewind=True)

    async def _settle(self, outcomes: Sequence[Outcome]) -> dict[str, WriteResult]:
        try:
            return await self._store.settle(outcomes, self.queue.allowed_losses)
        except RowRefused as error:
            if len(outcomes) == 1:
                return await self._settle_refused(outcomes[0], error)
        # One of them is at fault, and the others must not suffer for it.
        results: dict[str, WriteResult] = {}
        for outcome in outcomes:
            results.update(await self._settle([outcome]))
        return results

    async def _settle_refused(self, outcome: Outcome, error: RowRefused) -> dict[str, WriteResult]:
        """What an attempt left cannot be stored: then that is how it failed."""
        extra = {"job_id": outcome.id, "queue": self.queue.name}
        crash = describe_crash(error)
        failed = outcome._replace(
            failure_reason=FailureReason.CRASH.value,
            output=None,
            error_data=None,
            crash_type=crash.type,
            crash_message=crash.message,
            crash_traceback=None,
            next_attempt_id=outcome.next_attempt_id or self._make_id(),
        )
        try:
            results = await self._store.settle([failed], self.queue.allowed_losses)
        except RowRefused:
            _logger.exception("outcome cannot be stored; its lease will end it", extra=extra)
            return {}
        _logger.error("outcome cannot be stored; failed as a crash", extra=extra, exc_info=error)
        return results

    # Promoting

    async def _promote(self, claims: Sequence[ClaimedJob]) -> Sequence[Started | Lost]:
        failures = 0
        while True:
            try:
                started = await self._store.start(claims, self.queue.lease)
            except StatementFailed as error:
                self._health.failed(error)
                failures += 1
                await trio.sleep(plan.pause(failures, self._rng))
            else:
                by_id = {row.id: row for row in started}
                return [by_id.get(claim.id, Lost()) for claim in claims]

    # Beating

    async def _send_heartbeats(self) -> None:
        interval = self.queue.heartbeat_interval.total_seconds()
        failures = 0
        async with trio.open_nursery() as responders:
            beat_at = trio.current_time() + interval
            while True:
                await self._loop_stall.sleep_until(beat_at)
                self._loop_stall.report(each.row.id for each in self._running.values())
                beat_at = trio.current_time() + interval
                self._judge(interval)
                answered = await self._exchange_heartbeats(responders, interval / 2)
                if not (answered or self._unsettled):
                    continue
                try:
                    await self._record_heartbeats(answered)
                except StatementFailed as error:
                    self._health.failed(error)
                    failures += 1
                    # The leases run on: sooner than the next heartbeat would be.
                    pause = plan.pause(failures, self._rng)
                    beat_at = min(beat_at, trio.current_time() + pause)
                else:
                    self._health.worked()
                    failures = 0

    def _judge(self, interval: float) -> None:
        """Cancel the executors that do not answer, and settle those that do not end."""
        running = list(self._running.values())
        for executor in plan.stale(running, self.queue.allowed_heartbeat_misses):
            if executor.verdict is None:
                _logger.warning(
                    "executor left too many heartbeats unanswered", extra=executor.facts
                )
                executor.cancel(Verdict.UNRESPONSIVE)
        for executor in plan.overdue(running, trio.current_time(), interval):
            if executor.verdict is None and executor.started:
                _logger.warning("handler does not end at its deadline", extra=executor.facts)
                self._settle_soon(executor.give_up())

    async def _exchange_heartbeats(
        self, responders: trio.Nursery, patience: float
    ) -> list[Executor]:
        """Send each executor a heartbeat; return those that answered within `patience` seconds."""
        waiting: set[Executor] = set()
        running = list(self._running.values())
        for start in range(0, len(running), _HEARTBEATS_AT_ONCE):
            for executor in running[start : start + _HEARTBEATS_AT_ONCE]:
                # It may have ended while others were sent theirs.
                if executor.verdict is None and executor.claim in self._running:
                    executor.misses += 1
                    waiting.add(executor)
                    if first := executor.send_heartbeat():
                        responders.start_soon(executor.respond, first, self._answers[0])
            await trio.lowlevel.checkpoint()
        answered: list[Executor] = []
        with trio.move_on_after(patience):
            while waiting:
                for executor in await self._receive_answers():
                    executor.misses = 0
                    if executor in waiting:
                        waiting.remove(executor)
                        answered.append(executor)
        return answered

    async def _receive_answers(self) -> list[Executor]:
        """Wait for an answer, and return it with what else is there."""
        answers = self._answers[1]
        executors = [await answers.receive()]
        with contextlib.suppress(trio.WouldBlock):
            while True:
                executors.append(answers.receive_nowait())
        return executors

    async def _record_heartbeats(self, executors: Sequence[Executor]) -> None:
        # A claim that may not be there yet is not to be found lost.
        executors = [each for each in executors if each.claim.token not in self._unanswered]
        claims = [executor.claim for executor in executors]
        # A result that the database has not taken yet must still be its attempt's when it does.
        claims += [ClaimedJob(outcome.id, outcome.token) for outcome in self._unsettled]
        held = await self._store.heartbeat(
            claims,
            self.queue.lease,
            self.queue.reserved_timeout,
        )
        for executor in executors:
            if executor.claim.id not in held and executor.claim in self._running:
                self._lose(executor)

    def _lose(self, executor: Executor) -> None:
        _logger.warning("claim lost; cancelling its handler", extra=executor.facts)
        executor.cancel(Verdict.LOST)

    # Leaving

    async def _clean_up(self) -> None:
        failures = 0
        # Where a claim was not committed after all, its results are refused, and the jobs pending.
        self._settle_the_early()
        while self._unanswered or self._unsettled or self._to_release:
            try:
                await self._write_endings()
                if not self._unsettled:
                    await self._recover()
            except StatementFailed as error:
                self._health.failed(error)
                failures += 1
                await trio.sleep(plan.pause(failures, self._rng))

    def _report_unwritten(self) -> None:
        jobs = [outcome.id for outcome in self._unsettled]
        jobs += [claim.id for claim in self._to_release]
        if jobs or self._unanswered:
            _logger.error(
                "the database did not take what was left; the leases of these jobs will end them",
                extra={"queue": self.queue.name, "job_ids": jobs},
            )
