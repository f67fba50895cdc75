"""What an operator does with jobs, whatever their queues: finds, counts, retries, cancels, deletes.

Whatever is done to many is done some hundred at a time. Between two parts there is a pause as long
as the part took: claims come first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Final, TypeAlias, Unpack
from uuid import UUID

import attrs
import trio

from ._cancel_asks import check_words
from ._errors import UsageError
from ._events import JobCancelled
from ._job import JobId
from ._job_filter import (
    RETRIED,
    UNENDED,
    JobFilter,
    asks_for_time,
    make_filter,
    statuses_of,
)
from ._job_wait import words_of
from ._job_walk import JobWalk
from ._lifecycle import FINAL, FINAL_VALUES, JobStatus
from ._lock_waits import LockWaits, lock_pauses
from ._query import as_job_id, raise_query_error
from ._runtime import Runtime
from ._schedule_calls import find_time
from ._store import operator
from ._store.failures import StatementFailed
from ._store.operator import Answer, NewAttempt, Refusal
from ._store.protocol import SILENCE, Descendant, JobRow
from ._summaries import (
    JobCounts,
    JobDetails,
    JobPage,
    JobSummary,
    as_found,
    details_of,
    look_of,
    summary_of,
)

#: How many jobs are changed by one statement.
_BATCH: Final = 500
#: Of how many that are refused it is said which.
_MOST_NAMED: Final = 1_000
#: How many jobs below one are shown.
_MOST_BELOW: Final = 1_000
#: How often rows that somebody has locked are tried again.
_TRIES: Final = 5

#: Why nothing was done about a job, in words.
_WHY: Final = {
    Refusal.UNKNOWN: "there is no such job",
    Refusal.LIVE: "it has not ended, or what it has started has not",
    Refusal.ENDED: "it has ended",
    Refusal.SUCCEEDED: "it has succeeded; enqueue it anew to have it run again",
    Refusal.CHILD: "another job has started it, with which it goes: that one is to be named",
    Refusal.KEY_HELD: "another job has its key by now",
    Refusal.ORIGINALS: "a worker of the original m25 runs it, which cannot be asked to cancel it",
    Refusal.HOLDS_NONE: "no key stands still for it",
    Refusal.LOCKED: "another transaction has locked it, or has just changed it; try again",
}

#: Changes jobs, given by their ids, and answers for each.
_Change: TypeAlias = Callable[[Sequence[str]], Awaitable[list[Answer]]]


@attrs.frozen
class RefusedJob:
    """A job about which nothing was done."""

    #: As it was given; of one that was found, that of its latest attempt.
    id: JobId
    #: Why, in words.
    reason: str
    #: The job that has its key, if that is why and it is known.
    holder: JobId | None = None


@attrs.frozen
class ChangedJobs:
    """What has become of jobs that were to be retried, cancelled or deleted."""

    #: How many were.
    done: int
    #: Of these, how many are claimed, and were asked to end: their workers cancel them.
    asked: int = 0
    #: How many were not.
    refusals: int = 0
    #: The first thousand of those.
    refused: tuple[RefusedJob, ...] = ()


class Operations:
    """One for each client."""

    def __init__(self, runtime: Runtime, lock_waits: LockWaits) -> None:
        self._runtime = runtime
        self._lock_waits = lock_waits

    # Reading

    async def jobs(
        self, limit: int, after: JobId | None, seconds: float, **options: Unpack[JobFilter]
    ) -> JobPage:
        """See `M25.jobs`."""
        if limit < 1:
            raise ValueError(f"limit must be 1 or more, not {limit!r:.80}")
        wanted = await self._filter(**options)
        walk = JobWalk(None if after is None else str(after), seconds)
        jobs: list[JobSummary] = []
        while not walk.is_at_end and len(jobs) < limit:
            if walk.is_out_of_time:
                break
            found = await self._find(walk, wanted, limit - len(jobs))
            jobs += map(summary_of, found.jobs)
        place, until = look_of(walk.look)
        is_out_of_time = len(jobs) < limit and place is not None
        return JobPage(
            jobs=jobs,
            after=place,
            is_out_of_time=is_out_of_time,
            looked_back_to=until,
        )

    async def counts(self, seconds: float, **options: Unpack[JobFilter]) -> JobCounts:
        """See `M25.counts`."""
        wanted = await self._filter(**options)
        walk = JobWalk(None, seconds)
        counts = Counter[str]()
        count = partial(self._runtime.store.operator.count, wanted)
        while not walk.is_at_end and not walk.is_out_of_time:
            try:
                counted = await walk.ask(lambda after, rows: count(after=after, walk=rows))
            except StatementFailed as failure:
                raise_query_error(failure)
            counts.update(counted.counts)
        place, until = look_of(walk.look)
        return JobCounts(
            by_status={status: n for status in JobStatus if (n := counts[status.value])},
            is_out_of_time=place is not None,
            looked_back_to=until,
        )

    async def details(self, id: JobId | UUID | str) -> JobDetails | None:
        """See `M25.job_details`."""
        store = self._runtime.store
        try:
            attempts = await store.attempts(str(as_job_id(id)))
            if not attempts:
                return None
            job_id = attempts[-1].job_id
            steps = await store.find_steps([job_id])
            children = await store.operator.find_below(job_id, _MOST_BELOW)
            wait = await store.operator.find_wait(attempts[-1].id, SILENCE)
            holds_others = attempts[-1].status == JobStatus.FAILED.value
            holds_others = holds_others and await store.operator.holds_others(job_id)
        except StatementFailed as failure:
            raise_query_error(failure)
        job = summary_of(as_found(attempts[-1]))
        waits_for = () if wait is None else tuple(words_of(job.queue_name, wait))
        return details_of(job, waits_for, holds_others, attempts, steps.get(job_id, ()), children)

    # Changing

    async def retry(
        self, ids: Sequence[JobId | UUID | str], **options: Unpack[JobFilter]
    ) -> ChangedJobs:
        """See `M25.retry`."""
        return await self._change(self._retry, ids, RETRIED, {JobStatus.FAILED}, "retried", options)

    async def skip(
        self, ids: Sequence[JobId | UUID | str], **options: Unpack[JobFilter]
    ) -> ChangedJobs:
        """See `M25.skip`."""
        failed = {JobStatus.FAILED}
        # Of those that are found most hold nothing, and none of these was meant.
        unsaid = None if ids else Refusal.HOLDS_NONE
        return await self._change(self._skip, ids, failed, failed, "skipped", options, unsaid)

    async def delete(
        self, ids: Sequence[JobId | UUID | str], **options: Unpack[JobFilter]
    ) -> ChangedJobs:
        """See `M25.delete`."""
        return await self._change(self._delete, ids, FINAL, FINAL, "deleted", options)

    async def cancel(
        self,
        ids: Sequence[JobId | UUID | str],
        by: str | None,
        reason: str | None,
        **options: Unpack[JobFilter],
    ) -> ChangedJobs:
        """See `M25.cancel`."""
        check_words("by", by)
        check_words("reason", reason)
        asked = 0

        async def change(ids: Sequence[str]) -> list[Answer]:
            nonlocal asked
            answers, now_asked = await self._cancel(ids, by, reason)
            asked += now_asked
            return answers

        changed = await self._change(change, ids, UNENDED, UNENDED, "cancelled", options)
        return attrs.evolve(changed, asked=asked)

    async def _change(
        self,
        change: _Change,
        ids: Sequence[JobId | UUID | str],
        allowed: AbstractSet[JobStatus],
        default: AbstractSet[JobStatus],
        verb: str,
        options: JobFilter,
        unsaid: Refusal | None = None,
    ) -> ChangedJobs:
        result = _Result(unsaid)
        if ids:
            if options:
                raise UsageError(f"jobs that are to be {verb} are given by ids or by what they are")
            texts = list(dict.fromkeys(str(as_job_id(id)) for id in ids))
            for at in range(0, len(texts), _BATCH):
                result.add(await self._try(change, texts[at : at + _BATCH]))
            return result.changed
        options["status"] = statuses_of(options, allowed, default, verb)
        wanted = await self._filter(**options)
        walk = JobWalk(None, None)
        while not walk.is_at_end:
            found = await self._find(walk, wanted, _BATCH)
            began = trio.current_time()
            if found.jobs:
                result.add(await self._try(change, [job.id for job in found.jobs]))
            await trio.sleep(walk.took + trio.current_time() - began)
        return result.changed

    async def _try(self, change: _Change, ids: Sequence[str]) -> list[Answer]:
        """Change jobs; what somebody has locked is tried again a few times."""
        answers = {answer.id: answer for answer in await self._answers(change, ids)}
        backoff = lock_pauses(self._runtime.rng)
        for _ in range(_TRIES):
            locked = [id for id in ids if answers[id].refusal is Refusal.LOCKED]
            if not locked:
                break
            await trio.sleep(backoff.failed())
            answers.update((answer.id, answer) for answer in await self._answers(change, locked))
        return [answers[id] for id in ids]

    async def _answers(self, change: _Change, ids: Sequence[str]) -> list[Answer]:
        try:
            return await change(ids)
        except StatementFailed as failure:
            raise_query_error(failure)

    async def _retry(self, ids: Sequence[str]) -> list[Answer]:
        attempts = [NewAttempt(id, self._runtime.make_id()) for id in ids]
        retry = partial(self._runtime.store.operator.retry, attempts)
        return await self._lock_waits.run(lambda lock_wait: retry(lock_wait=lock_wait))

    async def _skip(self, ids: Sequence[str]) -> list[Answer]:
        return await self._runtime.store.operator.skip(ids)

    async def _delete(self, ids: Sequence[str]) -> list[Answer]:
        return await self._runtime.store.operator.delete(ids)

    async def _cancel(
        self, ids: Sequence[str], by: str | None, reason: str | None
    ) -> tuple[list[Answer], int]:
        """Cancel jobs, or ask for that; and how many of them were asked for."""
        store = self._runtime.store
        before = await store.latest(ids)
        jobs = {row.job_id for row in before.values() if row.status not in FINAL_VALUES}
        backoff = lock_pauses(self._runtime.rng)
        is_unfinished = False
        for _ in range(_TRIES):
            done = await store.cancel_descendants((), sorted(jobs), by=by, reason=reason)
            self._emit_cancelled(done.reached, by, reason)
            is_unfinished = done.is_unfinished
            if not is_unfinished:
                break
            await trio.sleep(backoff.failed())
        after = await store.latest(ids)
        answers = [
            Answer(id, _why_not_cancelled(before.get(id), after.get(id), is_unfinished))
            for id in ids
        ]
        asked = {
            row.id
            for answer in answers
            if answer.refusal is None and (row := after[answer.id]).status not in FINAL_VALUES
        }
        return answers, len(asked)

    def _emit_cancelled(
        self, reached: Sequence[Descendant], by: str | None, reason: str | None
    ) -> None:
        for each in reached:
            if each.is_cancelled:
                event = JobCancelled(
                    by=by,
                    reason=reason,
                    queue=each.queue_name,
                    job_id=each.id,
                    attempt=each.attempt,
                    max_attempts=each.max_attempts,
                    losses=each.losses,
                )
                self._runtime.events.emit(event)

    # What the calls share

    async def _filter(self, **options: Unpack[JobFilter]) -> operator.JobFilter:
        now = await find_time(self._runtime) if asks_for_time(options) else None
        return make_filter(now, **options)

    async def _find(
        self, walk: JobWalk, wanted: operator.JobFilter, limit: int
    ) -> operator.FoundJobs:
        find = partial(self._runtime.store.operator.find, wanted, limit=limit)
        try:
            return await walk.ask(lambda after, rows: find(after=after, walk=rows))
        except StatementFailed as failure:
            raise_query_error(failure)


def _why_not_cancelled(
    before: JobRow | None, after: JobRow | None, is_unfinished: bool
) -> Refusal | None:
    """Why a job is not cancelled, by how it stood before and after, if it is not.

    `is_unfinished` is that some rows could not be locked.
    """
    if before is None or after is None:
        return Refusal.UNKNOWN
    if before.status in FINAL_VALUES:
        return Refusal.ENDED
    if after.status == JobStatus.CANCELLED.value or after.cancel_requested_at is not None:
        return None
    if after.status in FINAL_VALUES:
        return Refusal.ENDED
    # Nothing was locked, one claim has held it all the while, and still nobody could be asked.
    claim = (before.id, before.reserved_at)
    if not is_unfinished and before.reserved_at and claim == (after.id, after.reserved_at):
        return Refusal.ORIGINALS
    return Refusal.LOCKED


class _Result:
    """What has become of the jobs so far."""

    def __init__(self, unsaid: Refusal | None) -> None:
        self._unsaid = unsaid
        self._done = 0
        self._refusals = 0
        self._refused: list[RefusedJob] = []

    def add(self, answers: Sequence[Answer]) -> None:
        """Count answers."""
        for id, refusal, other_id in answers:
            if refusal is None:
                self._done += 1
                continue
            if refusal is self._unsaid:
                continue
            self._refusals += 1
            if len(self._refused) < _MOST_NAMED:
                holder = None if other_id is None else JobId(other_id)
                reason = _WHY[refusal] + ("" if holder is None else f": {holder}")
                self._refused.append(RefusedJob(JobId(id), reason, holder))

    @property
    def changed(self) -> ChangedJobs:
        """What a caller is told."""
        return ChangedJobs(self._done, 0, self._refusals, tuple(self._refused))
