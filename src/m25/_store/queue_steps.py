"""What the calls of the store about queues ask of a database, as steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from .._keep import Keep
from .parameters import interval
from .protocol import Pruned, QueueRow
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


def take_pruning(queue_name: str, gap: timedelta) -> Steps[bool]:
    """See `Store.take_pruning`."""
    rows = yield Statement("take_pruning", {"queue_name": queue_name, "gap": interval(gap)})
    return bool(rows)


def prune(queue_name: str, keep: Keep, after: str, until: str, walk: int) -> Steps[Pruned]:
    """See `Store.prune`."""

    def text(time: timedelta | None) -> str | None:
        return None if time is None else interval(time)

    parameters = {
        "queue_name": queue_name,
        "succeeded": text(keep.succeeded),
        "failed": text(keep.failed),
        "cancelled": text(keep.cancelled),
        "after": after,
        "until": until,
        "walk": str(walk),
    }
    ((walked, last_id, jobs, attempts),) = yield Statement("prune", parameters)
    return Pruned(walked, last_id, jobs, attempts)
