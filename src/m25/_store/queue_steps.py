"""What the calls of the store about queues ask of a database, as steps."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final

from .._keep import Keep
from .parameters import interval
from .protocol import Pruned
from .steps import NOTIFIES, Statement, Steps

#: What the workers of a queue are sent when its row has changed. A job's id, which they are sent
#: where one is to be cancelled, looks different.
QUEUE_CHANGED: Final = "queue"

_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"
_LAST_ID: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"
#: How far a clock may be off by which ids were made, in seconds.
_SLACK: Final = 86_400.0


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


def take_pruning(queue_name: str, gap: timedelta) -> Steps[bool]:
    """See `Store.take_pruning`."""
    rows = yield Statement("take_pruning", {"queue_name": queue_name, "gap": interval(gap)})
    return bool(rows)


def prune(queue_name: str, keep: Keep, after: str | None, walk: int) -> Steps[Pruned]:
    """See `Store.prune`."""

    def text(kept: timedelta | None) -> str | None:
        return None if kept is None else interval(kept)

    old, young = _middle(keep)
    after = _FIRST_ID if after is None else after
    is_old = after < old
    parameters = {
        "queue_name": queue_name,
        "succeeded": text(keep.succeeded),
        "failed": text(keep.failed),
        "cancelled": text(keep.cancelled),
        "after": after if is_old else max(after, young),
        "until": old if is_old else _LAST_ID,
        "walk": str(walk),
    }
    ((walked, last_id, jobs, attempts),) = yield Statement("prune", parameters)
    if walked < walk:
        last_id = young if is_old else None
    return Pruned(last_id, jobs, attempts)


def _middle(keep: Keep) -> tuple[str, str]:
    """Between which ids no job is old enough.

    Ids that m25 makes begin with the time. Of ids that others have made, which are anywhere, next
    to none is in between, and that for some time only.
    """
    assert keep.shortest is not None
    now = time.time()
    return _id_at(now - keep.shortest.total_seconds() + _SLACK), _id_at(now + _SLACK)


def _id_at(seconds: float) -> str:
    """Where the ids begin that are made at this time."""
    digits = f"{max(0, min(int(seconds * 1000), 2**48 - 1)):012x}"
    return f"{digits[:8]}-{digits[8:]}-0000-0000-000000000000"
