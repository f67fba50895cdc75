"""Why a job is not inserted: another one has its id or its unique key, or the database failed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from .._errors import EnqueueQueryError, JobIdConflict, OutcomeUnknown, UniqueKeyConflict
from .._job import JobId
from .._query import raise_query_error
from .._store.failures import RowRefused, StatementFailed
from .._store.protocol import AnyJob, Enqueued, Exists, Held, NewJob, Twin, UniqueJob
from .._tracer import without_trace
from .._unique import UniqueOutcome
from .._unique_errors import UniqueJobConflict
from .batch import LARGEST_BATCH

if TYPE_CHECKING:
    from .._base_queue import BaseQueue


def key_conflict(new: AnyJob, held: Held) -> UniqueKeyConflict:
    """What is raised where another job holds the unique key."""
    if isinstance(new, UniqueJob):
        return UniqueJobConflict(new.key, new.job.queue_name, JobId(held.id), held.status)
    assert new.unique_key is not None
    return UniqueKeyConflict(new.unique_key, JobId(held.id))


def unique_outcome(new: UniqueJob, answer: Enqueued | Twin) -> UniqueOutcome:
    """What the call of a user has come to."""
    if isinstance(answer, Enqueued):
        return "new" if answer.follows is None else "rerun"
    if not answer.is_changed:
        return "returned"
    return "debounced" if new.then == "debounce" else "replaced"


def check_same(exists: Exists, new: NewJob, queue: BaseQueue[Any, Any, Any]) -> None:
    """Check that a job which is there under its id is the one that was to be inserted.

    Raises:
        JobIdConflict: it is another.
    """
    differs = exists.differs
    # Most likely the queue's defaults of today: a deploy may have changed them.
    if new.timeout == queue.default_job_timeout:
        differs = tuple(name for name in differs if name != "timeout")
    if not (new.own_retry or exists.row.own_retry):
        differs = tuple(name for name in differs if name not in ("max_attempts", "retry_delay"))
    if "scheduled_at" in differs and _is_later(exists.row.scheduled_at, new.scheduled_at):
        # A handler may have put the job off since.
        differs = tuple(name for name in differs if name != "scheduled_at")
    # It may be enqueued again from elsewhere, or by somebody whom nobody traces.
    # rule: a trace is no difference
    if "meta" in differs and _same_but_for_trace(exists.row.meta, new.meta):
        differs = tuple(name for name in differs if name != "meta")
    if differs:
        raise JobIdConflict(JobId(new.id), exists.row.queue_name, differs)


def _same_but_for_trace(there: str | None, wanted: str | None) -> bool:
    return _meta_but_for_trace(there) == _meta_but_for_trace(wanted)


def _meta_but_for_trace(text: str | None) -> dict[str, Any]:
    return without_trace(None if text is None else json.loads(text))


def _is_later(seconds: str | None, than: datetime | None) -> bool:
    if seconds is None:
        return False
    return than is None or float(seconds) > than.timestamp()


def enqueue_failed(
    failure: StatementFailed, ids: Sequence[JobId], *, in_transaction: bool = False
) -> NoReturn:
    """Tell the caller that the database failed, and what is known of these jobs.

    `in_transaction` says whether they were to be a part of a transaction of the caller's.

    Raises:
        EnqueueQueryError: always.
    """
    if failure.outcome_is_unknown:
        raise OutcomeUnknown(failure.brief, ids) from failure.__cause__
    notes: list[str] = []
    if in_transaction and failure.is_transactions:
        notes.append("the transaction met another one: roll back, and repeat all of it")
    raise_query_error(failure, *notes, kind=EnqueueQueryError)


def batch_refused(refused: RowRefused, position: int) -> NoReturn:
    """Tell the caller of `enqueue_many` that the batch which begins at this position was refused.

    Raises:
        EnqueueQueryError: always.
    """
    raise_query_error(
        refused,
        f"in enqueue_many: one of up to {LARGEST_BATCH} jobs from position {position} on; none was"
        " enqueued",
        kind=EnqueueQueryError,
    )
