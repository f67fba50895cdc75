"""Writes the outcomes of attempts, and releases jobs that were cut short; and how far others are.

One statement at a time is under way, and the next is for all attempts that end meanwhile. While the
database does not answer, outcomes wait in the ledger. So does an outcome whose row somebody has
locked; it keeps no other waiting, and is tried again by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import trio

from .._crash import type_name
from .._events import (
    JobReleased,
    KeyStopped,
    OutcomeRefused,
    OutcomeUnstorable,
    ProgressRefused,
    ResultDiscarded,
    RetryCancelled,
)
from .._job import FailureReason
from .._lifecycle import has_next_attempt
from .._progress import ProgressNotes
from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import RowRefused, StatementFailed, without_rows
from .._store.protocol import ClaimedJob, Outcome, Release, WriteResult, Written
from ..pg._backoff import Backoff
from ..pg._wakeup import Wakeup
from .ledger import Ledger, Owed
from .limited import LimitedClaims
from .outcomes import emit_cancelled, emit_succeeded

#: How long what was locked waits before it is tried again, in seconds: less than a second, so that
#: it is written within one once nobody has it locked.
_FIRST_RETRY: Final = 0.1
_LONGEST_RETRY: Final = 0.8


class Settler:
    """One for each manager."""

    def __init__(
        self,
        queue: Queue[Any, Any, Any],
        runtime: Runtime,
        ledger: Ledger,
        limited: LimitedClaims | None = None,
    ) -> None:
        self._queue = queue
        self._runtime = runtime
        self._ledger = ledger
        self._limited = limited
        #: Set when the ledger owes something.
        self.wakeup = Wakeup()
        self._locks = Backoff(_FIRST_RETRY, _LONGEST_RETRY, runtime.rng)
        #: When what was locked is to be tried again, by Trio's clock.
        self._retry_at = math.inf

    async def run(self) -> None:
        """Write what is owed, until cancelled."""
        tries = self._runtime.tries()
        while True:
            await self.wait_until_owed()
            try:
                await self.write()
            except StatementFailed as failure:
                await trio.sleep(tries.failed(failure))
            else:
                tries.worked()

    async def wait_until_owed(self) -> None:
        """Wait until there is something to write, or what was locked is to be tried again."""
        while not self._ledger.owes and trio.current_time() < self._retry_at:
            with trio.move_on_at(self._retry_at):
                await self.wakeup.wait()

    async def write(self) -> None:
        """Write one batch of outcomes, and one of releases.

        Raises:
            StatementFailed: the database did not answer; all that it did not take is still owed.
        """
        if trio.current_time() >= self._retry_at:
            self._retry_at = math.inf
            self._ledger.retry_locked()
        await self._write()
        if not self._ledger.has_locked:
            self._locks.worked()
        elif self._retry_at == math.inf:
            self._retry_at = trio.current_time() + self._locks.failed()

    async def _write(self) -> None:
        if self._limited is not None:
            await self._limited.until_asked()
        hints, name = self._runtime.hints, self._queue.name
        owed, releases = self._ledger.next_outcomes(), self._ledger.next_releases()
        # What a handler noted last is there before others may have the job, or know its end.
        unnoted: AbstractSet[str] = frozenset()
        if self._ledger.has_progress:
            # rule: the last report is not lost
            unnoted = await self._write_progress(owed, releases)
        if owed:
            # rule: an outcome is written
            results = await self._settle([each for each in owed if each.outcome.id not in unnoted])
            locked = {id for id, result in results.items() if result is WriteResult.LOCKED}
            self._ledger.written(owed, locked | unnoted)  # rule: and forgotten after that
            # The claimer may have been waiting: many unwritten outcomes take slots.
            if hint := hints.queues.get(name):
                hint.wakeup.set()
            for each in owed:
                result = results.get(each.outcome.id)
                if each.row.has_begun:
                    # A job that follows it may be due now.
                    hints.work(name, rewind=True)
                if result is WriteResult.STOPPED:
                    self._runtime.events.emit(KeyStopped(**self._facts(each)))
                if result is WriteResult.FENCED:
                    self._runtime.events.emit(ResultDiscarded(**self._facts(each)))
                elif (
                    each.outcome.next_attempt_id is not None
                    and result is WriteResult.SETTLED
                    and self._was_to_be_retried(each)
                ):
                    self._runtime.events.emit(RetryCancelled(**self._facts(each)))
            if WriteResult.RETRIED in results.values():
                hints.work(name)
                hints.survey.set()
        if releases:
            jobs = [job for job in releases if job.id not in unnoted]
            answer = await self._runtime.store.release(jobs, [name])
            await self._tell_cancelled(jobs, answer)
            if self._ledger.commits_in_doubt:
                await self._tell_in_doubt(jobs, answer)
            self._ledger.released(releases, answer.locked | unnoted)
            hints.work(name, rewind=True)

    async def _write_progress(self, owed: Sequence[Owed], releases: Sequence[Release]) -> set[str]:
        """Write how far handlers have come; return the ids of the jobs whose rows are locked."""
        jobs = [each.job for each in owed]
        jobs += (ClaimedJob(release.id, release.token) for release in releases)
        notes = self._ledger.next_progress(jobs)
        if not notes:
            return set()
        try:
            answer = await self._report(notes)
        except (StatementFailed, trio.Cancelled):
            # Cancelled it is by a stop, whose last writes have the rest.
            for job, each in notes.items():
                self._ledger.note_progress(job, each)
            self._ledger.progress_is_due = True
            raise
        for job, each in notes.items():
            if job.id in answer:
                self._ledger.note_progress(job, each)
        return answer

    async def _report(self, notes: Mapping[ClaimedJob, ProgressNotes]) -> set[str]:
        report = self._runtime.store.report
        try:
            answer = await report(list(notes), [each.text for each in notes.values()])
        except RowRefused as refused:
            if len(notes) == 1:
                ((job, _),) = notes.items()
                self._runtime.events.emit(
                    ProgressRefused(
                        queue=self._queue.name, job_id=job.id, error=without_rows(refused)
                    )
                )
                return set()
        else:
            return set(answer.locked)
        # One of them is the reason; each is tried alone, so that the others are written.
        locked: set[str] = set()
        for job, each in notes.items():
            locked |= await self._report({job: each})
        return locked

    async def _tell_cancelled(self, releases: Sequence[Release], answer: Written) -> None:
        """Tell of the releases that have ended their jobs as cancelled.

        A release that finds another claim, or none, may be the repeat of one whose answer was lost.
        """
        ours = answer.ids - answer.to_cancel
        ids = [
            each.id
            for each in releases
            # What is cancelled for a reason of this process's own was told by whoever had it.
            if each.cancel_reason is None and each.id not in ours and each.id not in answer.locked
        ]
        if ids:
            for row in (await self._runtime.store.get(ids)).values():
                if row.id in answer.to_cancel or row.cancel_requested_at is not None:
                    emit_cancelled(self._runtime, row)

    async def _tell_in_doubt(self, releases: Sequence[Release], answer: Written) -> None:
        """Tell what became of commits that nobody answered, once the rows' locks are gone."""
        for release in releases:
            job = ClaimedJob(release.id, release.token)
            commit = self._ledger.commits_in_doubt.get(job)
            if commit is None or job.id in answer.locked:
                continue
            executor = commit.executor
            if job.id in answer.ids:
                reason = "its transaction was rolled back, and nobody had said so"
                self._runtime.events.emit(JobReleased(reason=reason, **executor.facts))
            else:
                # It is executing no more, and so this writes nothing: it says who has ended it.
                results = await self._runtime.store.settle(
                    [commit.success], self._queue.allowed_losses
                )
                if results[job.id] is WriteResult.REPEATED:
                    emit_succeeded(executor)
                else:
                    self._runtime.events.emit(ResultDiscarded(**executor.facts))
            del self._ledger.commits_in_doubt[job]

    def _was_to_be_retried(self, owed: Owed) -> bool:
        """Whether the retry rule has another attempt follow, as the event of its end has said."""
        outcome = owed.outcome
        if outcome.failure_reason is None:
            return False
        return self._has_next(owed, FailureReason(outcome.failure_reason))

    async def _settle(self, owed: Sequence[Owed]) -> dict[str, WriteResult]:
        outcomes = [each.outcome for each in owed]
        try:
            return await self._store(outcomes)
        except RowRefused as refused:  # rule: an outcome is refused alone
            if len(owed) == 1:
                return await self._settle_refused(owed[0], refused)
        # One of the rows is the reason; each is tried alone, so that the others are written.
        results: dict[str, WriteResult] = {}
        for each in owed:
            results.update(await self._settle([each]))
        return results

    async def _store(self, outcomes: Sequence[Outcome]) -> dict[str, WriteResult]:
        if self._limited is not None:
            return await self._limited.settle(outcomes)
        return await self._runtime.store.settle(outcomes, self._queue.allowed_losses)

    async def _settle_refused(self, owed: Owed, refused: RowRefused) -> dict[str, WriteResult]:
        """Fail an attempt as a crash, since the database refuses its outcome."""
        outcome = owed.outcome
        failed = outcome._replace(
            failure_reason=FailureReason.CRASH.value,
            output=None,
            error_data=None,
            crash_type=type_name((refused.__cause__ or refused).__class__),
            crash_message=refused.brief,
            crash_traceback=None,
            next_attempt_id=(
                # Of a failure: what was given up still is.
                outcome.next_attempt_id
                if outcome.failure_reason is not None
                # The queue may allow less than the row, which is all that the database knows of.
                else self._runtime.make_id()
                if self._has_next(owed, FailureReason.CRASH)
                else None
            ),
        )
        try:
            results = await self._store([failed])
        except RowRefused as again:
            self._runtime.events.emit(
                OutcomeUnstorable(error=without_rows(again), **self._facts(owed))
            )
            return {}
        if WriteResult.LOCKED in results.values():
            # Not written yet: it will be refused again, and told then.
            return results
        self._runtime.events.emit(
            OutcomeRefused(
                error=without_rows(refused),
                next_attempt=WriteResult.RETRIED in results.values(),
                **self._facts(owed),
            )
        )
        return results

    def _has_next(self, owed: Owed, reason: FailureReason) -> bool:
        """Whether the retry rule has another attempt follow one that failed for this reason."""
        return has_next_attempt(
            reason,
            attempt=owed.row.attempt,
            max_attempts=owed.max_attempts,
            losses=owed.row.losses + (reason is FailureReason.HEARTBEAT_TIMEOUT),
            allowed_losses=self._queue.allowed_losses,
        )

    def _facts(self, owed: Owed) -> dict[str, Any]:
        return {
            "queue": self._queue.name,
            "job_id": owed.outcome.id,
            "attempt": owed.row.attempt,
            "max_attempts": owed.max_attempts,
        }
