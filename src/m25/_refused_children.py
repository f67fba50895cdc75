"""Which jobs a handler cannot wait for in a nursery, since they could wait for it."""

from __future__ import annotations

from typing import Any

from ._base_queue import BaseQueue
from ._errors import UsageError
from ._limit_line import held_around
from ._running_job import current_attempt
from ._store.lanes import key_of
from ._store.protocol import NewJob


def refuse_own_key(new: NewJob) -> None:
    """Refuse a job that would wait in its order behind the one that waits for it.

    Raises:
        UsageError: it would. Both would wait for ever.
    """
    attempt = current_attempt.get(None)
    if attempt is None or attempt.queue.name != new.queue_name:
        return
    if (ordered_by := attempt.queue.ordered_by) is None:
        return
    path = ordered_by.split(".")
    if key_of(new.input, path) == key_of(attempt.row.input, path):
        raise UsageError(
            f"a job cannot wait for one of its own queue {new.queue_name!r} that has the same"
            f" {ordered_by!r}: by the queue's order, that one runs once this one has ended; put it"
            " on another queue, or start it with detached=True"
        )


def refuse_own_limit(queue: BaseQueue[Any, Any, Any]) -> None:
    """Refuse a job that would run under the limit of the one that waits for it.

    Raises:
        UsageError: it would. The one that waits keeps its place; so both might wait for ever.
    """
    for place in held_around():
        if getattr(queue, "limiter_name", None) == place.limiter:
            raise UsageError(
                f"within a place of the limit {place.limiter!r} nobody can wait for a job of queue"
                f" {queue.name!r}, which runs under it, too: both could wait for ever; start the"
                " job outside of that block, or with detached=True"
            )
    attempt = current_attempt.get(None)
    limiter = None if attempt is None else attempt.queue.limiter_name
    # Of one that is only declared here no limit is known but that it may be the same queue.
    is_same = attempt is not None and attempt.queue.name == queue.name
    if limiter is not None and (is_same or limiter == getattr(queue, "limiter_name", None)):
        raise UsageError(
            f"a job that runs under the limit {limiter!r} cannot wait for one of queue"
            f" {queue.name!r}, which runs under it, too: a job keeps its place while it waits, and"
            " both could wait for ever; give the queues different limits, or start it with"
            " detached=True"
        )
