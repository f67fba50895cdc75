"""What the calls of the store about rates ask of a database, as steps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from .claimed_rows import claimed_rows
from .parameters import array, interval
from .protocol import Claimed, RateHold, Turn
from .steps import Statement, Steps

#: How many due jobs a claim looks at, at least: it may be too early for some of them.
_SHORTEST_WALK: Final = 50


def hold_rate(limiter: str, holds: Sequence[RateHold], *, reads_inputs: bool) -> Steps[None]:
    """See `Store.hold_rate`."""
    parameters = {
        "limiter": limiter,
        "key": array(hold.key for hold in holds),
        "delay": array(interval(hold.delay) for hold in holds),
        "reads_inputs": "true" if reads_inputs else "false",
    }
    yield Statement("hold_rate", parameters, after=Statement("lock_limit", {"limiter": limiter}))


def take_turn(limiter: str, key: str | None, cost: int) -> Steps[Turn | None]:
    """See `Store.take_turn`."""
    parameters = {"limiter": limiter, "key": key, "cost": str(cost)}
    lock = Statement("lock_limit", {"limiter": limiter})
    rows = yield Statement("take_turn", parameters, after=lock)
    return Turn(*rows[0]) if rows else None


def claim_by_rate(
    queue_name: str, *, limiter: str, token: str, limit: int, lease: timedelta, start: bool
) -> Steps[Claimed]:
    """See `Store.claim_by_rate`."""
    parameters = {
        "queue_name": queue_name,
        "limiter": limiter,
        "claim_token": token,
        "limit": str(limit),
        "lease": interval(lease),
        "start": "true" if start else "false",
        "walk": str(max(2 * limit, _SHORTEST_WALK)),
    }
    lock = Statement("lock_limit", {"limiter": limiter})
    rows = yield Statement("claim_by_rate", parameters, after=lock)
    is_full, has_more, room_in = rows[0][:3]
    # Where nothing was claimed there is one row, and no job in it.
    found = [row[3:] for row in rows if row[3] is not None]
    jobs = claimed_rows(found, queue_name, start=start)
    return Claimed(jobs, is_full, has_more, room_in=room_in)
