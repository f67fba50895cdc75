"""What the calls of the store about queues ask of a database, as steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from .parameters import interval
from .protocol import QueueRow
from .steps import NOTIFIES, Statement, Steps

#: What the workers of a queue are sent when its row has changed. A job's id, which they are sent
#: where one is to be cancelled, looks different.
QUEUE_CHANGED: Final = "queue"


def pause(
    queue_name: str, channel: str, reason: str | None, default_job_timeout: timedelta
) -> Steps[None]:
    """See `Store.pause`."""
    parameters = {
        "queue_name": queue_name,
        "channel": channel,
        "reason": reason,
        "payload": QUEUE_CHANGED,
        **NOTIFIES,
    }
    rows = yield Statement("pause", parameters)
    if not rows:
        parameters["default_job_timeout"] = interval(default_job_timeout)
        yield Statement("pause_unheard", parameters)


def resume(queue_name: str, channel: str) -> Steps[bool]:
    """See `Store.resume`."""
    parameters = {"queue_name": queue_name, "channel": channel, "payload": QUEUE_CHANGED}
    rows = yield Statement("resume", {**parameters, **NOTIFIES})
    return bool(rows)


def queues() -> Steps[list[QueueRow]]:
    """See `Store.queues`."""
    rows = yield Statement("queues", {})
    return list(map(QueueRow._make, rows))
