"""Sends a message to a job for a caller, whatever becomes of the job's attempts meanwhile."""

from __future__ import annotations

from functools import partial
from typing import Any

from . import pg
from ._base_queue import BaseQueue
from ._errors import InvalidState
from ._job import JobId, JobStatus
from ._lifecycle import FINAL_VALUES
from ._lock_waits import LockWaits
from ._record import found_row
from ._runtime import Runtime
from ._store.protocol import NewMessage, Sent


async def send_message(
    runtime: Runtime,
    lock_waits: LockWaits,
    queue: BaseQueue[Any, Any, Any],
    message: NewMessage,
    connection: pg.AsyncConnection[Any] | None,
) -> None:
    """Send a message, by the id of any of a job's attempts.

    A message goes to the latest attempt. Where that ends meanwhile, and another follows, it is sent
    to that one.

    Raises:
        InvalidState: the job has ended.
        NoJobRecordFound: the queue has no such job.
        StatementFailed: the database failed.
    """
    asked = message.id
    while True:
        call = partial(runtime.store.send, message, queue.name)
        sent = await lock_waits.update(call, message.id, connection)
        if sent is not Sent.NOT_LIVE:
            break
        rows = await runtime.store.latest([asked], connection)
        latest = found_row(rows.get(asked), queue, JobId(asked))
        if latest.status in FINAL_VALUES:
            raise InvalidState(JobId(asked), JobStatus(latest.status))
        message = message._replace(id=latest.id)
    if sent is Sent.WOKEN:
        # In a transaction of the caller's it is not committed yet: then this finds nothing.
        runtime.hints.work(queue.name, rewind=True)
        runtime.hints.survey.set()
