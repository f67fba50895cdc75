"""What the calls of `Operator` ask of a database, as steps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from .._lifecycle import FINAL_VALUES, UNSUCCESSFUL_VALUES
from .operator import (
    MOST_KEYS_NAMED,
    Answer,
    CountedJobs,
    FoundJob,
    FoundJobs,
    JobFilter,
    JobWait,
    LimitState,
    Look,
    NewAttempt,
    QueueRate,
    QueueState,
    Refusal,
    WorkerState,
)
from .parameters import array, interval, plain_array, timestamp
from .steps import NOTIFIES, Rows, Statement, Steps, milliseconds

#: Greater than all ids that are made: with this a walk downwards begins.
_BEHIND_ALL: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"


def queues(most: int, silence: timedelta) -> Steps[list[QueueState]]:
    """See `Operator.queues`."""
    rows = yield Statement("queue_states", {"most": str(most), "silence": interval(silence)})
    return list(map(QueueState._make, rows))


def limits(most: int) -> Steps[list[LimitState]]:
    """See `Operator.limits`."""
    rows = yield Statement("limit_states", {"most": str(most), "named": str(MOST_KEYS_NAMED)})
    return list(map(LimitState._make, rows))


def workers(silence: timedelta) -> Steps[list[WorkerState]]:
    """See `Operator.workers`."""
    rows = yield Statement("workers", {"silence": interval(silence)})
    return list(map(WorkerState._make, rows))


def rates(within: timedelta, walk: int) -> Steps[list[QueueRate]]:
    """See `Operator.rates`."""
    parameters = {"within": interval(within), "walk": str(walk)}
    rows = yield Statement("queue_rates", parameters)
    return list(map(QueueRate._make, rows))


def find(wanted: JobFilter, after: str | None, limit: int, walk: int) -> Steps[FoundJobs]:
    """See `Operator.find`."""
    parameters = {**_walk(wanted, after, walk), "limit": str(limit)}
    rows = yield Statement("find_jobs", parameters)
    jobs = [FoundJob._make(row[2:]) for row in rows if row[2] is not None]
    look = _look(rows)
    if len(jobs) == limit:
        look = Look(jobs[-1].id, jobs[-1].created_at)
    return FoundJobs(jobs, look)


def count(wanted: JobFilter, after: str | None, walk: int) -> Steps[CountedJobs]:
    """See `Operator.count`."""
    statement = "count_by_status" if wanted.is_plain else "count_jobs"
    rows = yield Statement(statement, _walk(wanted, after, walk))
    counts = {status: number for _, _, status, number in rows if status is not None}
    return CountedJobs(counts, _look(rows))


def find_below(id: str, most: int) -> Steps[list[FoundJob]]:
    """See `Operator.find_below`."""
    rows = yield Statement("find_below", {"id": id, "most": str(most)})
    return list(map(FoundJob._make, rows))


def find_wait(id: str, silence: timedelta) -> Steps[JobWait | None]:
    """See `Operator.find_wait`."""
    rows = yield Statement("find_wait", {"id": id, "silence": interval(silence)})
    return JobWait._make(rows[0]) if rows else None


def retry(attempts: Sequence[NewAttempt], lock_wait: timedelta | None) -> Steps[list[Answer]]:
    """See `Operator.retry`."""
    rows = yield Statement(
        "retry",
        {
            "id": plain_array(attempt.id for attempt in attempts),
            "next_id": plain_array(attempt.next_id for attempt in attempts),
            "lock_wait": milliseconds(lock_wait),
            **NOTIFIES,
        },
    )
    return _answers([attempt.id for attempt in attempts], rows)


def holds_others(id: str) -> Steps[bool]:
    """See `Operator.holds_others`."""
    rows = yield Statement("holds_others", {"id": id})
    return bool(rows)


def skip(ids: Sequence[str]) -> Steps[list[Answer]]:
    """See `Operator.skip`."""
    rows = yield Statement("skip", {"id": plain_array(ids), **NOTIFIES})
    return _answers(ids, rows)


def delete(ids: Sequence[str]) -> Steps[list[Answer]]:
    """See `Operator.delete`."""
    rows = yield Statement("delete_jobs", {"id": plain_array(ids)})
    return _answers(ids, rows)


def source_of(wanted: JobFilter) -> str:
    """Where jobs are looked for: see `parts/looked_at.sql`."""
    if wanted.statuses is None:
        return "all"
    statuses = set(wanted.statuses)
    if statuses <= UNSUCCESSFUL_VALUES:
        return "unsuccessful"
    return "all" if statuses & FINAL_VALUES else "unended"


def _walk(wanted: JobFilter, after: str | None, walk: int) -> dict[str, str | None]:
    return {
        "queue_name": wanted.queue_name,
        "statuses": None if wanted.statuses is None else array(wanted.statuses),
        "since": timestamp(wanted.since),
        "ended_before": timestamp(wanted.ended_before),
        "where": wanted.where,
        "after": after or _BEHIND_ALL,
        "source": source_of(wanted),
        # The last row of the part, counted from zero.
        "walk": str(walk - 1),
    }


def _look(rows: Rows) -> Look:
    (after, until, *_), *_ = rows
    return Look(after, until)


def _answers(ids: Sequence[str], rows: Rows) -> list[Answer]:
    found = {
        id: Answer(id, None if refusal is None else Refusal(refusal), other_id)
        for id, refusal, other_id, _ in rows
    }
    return [found.get(id) or Answer(id, Refusal.UNKNOWN) for id in ids]
