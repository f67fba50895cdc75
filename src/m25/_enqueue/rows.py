"""From what a caller enqueues to the row that is inserted, and from the store's answer back.

No I/O, and no Trio: what enqueues on a connection of another library does it by these, too.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from .._job import Error, Input, Job, JobRecord, Output
from .._record import META, decode_record, new_record
from .._store.lanes import key_of
from .._store.protocol import (
    AnyJob,
    Enqueued,
    Exists,
    Held,
    NewJob,
    Twin,
    UniqueAnswer,
    UniqueJob,
    row_of,
)
from .conflicts import check_same, key_conflict, unique_outcome

if TYPE_CHECKING:
    from .._base_queue import BaseQueue

#: The options of an input that comes without a `Job`. To make a `Job` checks all of its fields:
#: once is enough.
_DEFAULTS: Final = Job[Any](None)


def split(job: Input | Job[Input]) -> tuple[Input, Job[Any]]:
    """The input, and the `Job` that has its options."""
    if isinstance(job, Job):
        given = cast("Job[Input]", job)
        return given.input, given
    return job, _DEFAULTS


def make_job(
    queue: BaseQueue[Any, Any, Any],
    value: Any,
    options: Job[Any],
    make_id: Callable[[], str],
    *,
    id: str | None = None,
    waiter: str | None = None,
) -> AnyJob:
    """What is to be inserted for an input.

    `make_id` is called where neither the options nor `id` say which id the job is to have.

    Raises:
        ValueRefused: the input cannot be kept as JSON.
    """
    if options.id is not None:
        id = str(options.id)
    own_retry, retry_delay = options.has_own_retry, options.retry_delay
    if retry_delay is None:
        retry_delay = timedelta(0) if own_retry else queue.default_retry_delay
    text = queue.input_codec.encode(value, "input")
    lane: str | None = None
    # What is for later has its lane once it is due: lanes of jobs that are not would be looked at
    # by every claim.
    if queue.fair_by is not None and options.scheduled_at is None:
        lane = key_of(text, queue.fair_by.path)
    order_key: str | None = None
    if queue.ordered_by is not None:
        order_key = key_of(text, queue.ordered_by.split("."))
    new = NewJob(
        id=make_id() if id is None else id,
        queue_name=queue.name,
        input=text,
        scheduled_at=options.scheduled_at,
        timeout=queue.default_job_timeout if options.timeout is None else options.timeout,
        max_attempts=(
            queue.default_max_attempts if options.max_attempts is None else options.max_attempts
        ),
        retry_delay=retry_delay,
        unique_key=options.unique_key,
        priority=options.priority,
        meta=None if options.meta is None else META.encode(options.meta, "meta"),
        expires_at=options.expires_at,
        # Null costs a row nothing.
        own_retry=own_retry or None,
        waiter=waiter,
        lane=lane,
        order_key=order_key,
    )
    if (unique := options.unique) is None:
        return new
    return UniqueJob(new, unique.key, unique.holding, unique.within, unique.then)


def record_of(
    answer: UniqueAnswer,
    new: AnyJob,
    value: Input,
    options: Job[Any],
    queue: BaseQueue[Input, Output, Error],
) -> JobRecord[Input, Output, Error]:
    """The record of a job, from what the store has answered to its insert.

    Raises:
        UniqueKeyConflict: another job holds the unique key.
        JobIdConflict: another job has the id.
        JobRecordFetchDecodeErrors: the row that is there cannot be read.
    """
    row = row_of(new)
    record: JobRecord[Input, Output, Error]
    match answer:
        case Held():
            raise key_conflict(new, answer)
        case Exists(there):
            check_same(answer, row, queue)
            return decode_record(there, queue)
        case Enqueued():
            record = new_record(row, value, options, answer)
        case Twin(there):
            record = decode_record(there, queue)
    if isinstance(new, UniqueJob):
        return attrs.evolve(record, unique_outcome=unique_outcome(new, answer))
    return record
