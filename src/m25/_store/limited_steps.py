"""What claims under a limit, a rate, in turns or in an order ask of a database, as steps.

All of them hold the lock of the queue's limiter, and are told how far their claim has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from .claimed_rows import claimed_rows
from .lanes import FEWEST_LANES, MOST_KEYS, SHORTEST_FRONT, WALK
from .parameters import array, interval, plain_array
from .protocol import (
    Claimed,
    ClaimedInOrder,
    FairClaim,
    FairlyClaimed,
    JobRow,
    LetGo,
    LimitedClaim,
    Walked,
    WalkedHeldUp,
)
from .steps import NOTIFIES, Statement, Steps

#: How many due jobs a claim that reads their inputs looks at, at least: some of them may be of keys
#: that are full, or too early.
_SHORTEST_WALK: Final = 50

#: What all pending jobs are behind.
_FIRST: Final = Walked(-(2**15), "-infinity", "00000000-0000-0000-0000-000000000000")

#: What all jobs are behind that are held up.
_FIRST_HELD_UP: Final = WalkedHeldUp("", *_FIRST)

#: What a claim tells of itself, and the jobs that it has brought.
_Told: TypeAlias = tuple[tuple[Any, ...], list[JobRow]]


def lock_limit(limiter: str) -> Statement:
    """What others who have the limiter wait behind, until the transaction ends."""
    return Statement("lock_limit", {"limiter": limiter})


def claim_limited(
    asked: LimitedClaim, room_channel: str, *, from_key: str | None
) -> Steps[Claimed]:
    """See `Store.claim_limited`."""
    name, more = "claim_limited", dict[str, str]()
    if from_key is not None:
        name, more = "claim_by_key", {"from_key": from_key, "walk": _walk(asked.limit)}
    told, jobs = yield from _claim(name, 4, asked, room_channel, more)
    return Claimed(jobs, *told)


def let_go(
    queue_name: str, after: WalkedHeldUp | None, walk: int, *, is_clean: bool
) -> Steps[LetGo]:
    """See `Store.let_go`."""
    behind = _FIRST_HELD_UP if after is None else after
    parameters = {
        "queue_name": queue_name,
        "key": behind.key,
        "priority": str(behind.priority),
        "was_due_at": behind.was_due_at,
        "id": behind.id,
        "walk": str(walk),
        "is_clean": "true" if is_clean else "false",
    }
    ((number, found, *last),) = yield Statement("let_go", parameters)
    return LetGo(number, found, None if last[0] is None else WalkedHeldUp(*last))


def claim_by_rate(asked: LimitedClaim, room_channel: str) -> Steps[Claimed]:
    """See `Store.claim_by_rate`."""
    more = {"walk": _walk(asked.limit)}
    (is_full, has_more, room_in), jobs = yield from _claim(
        "claim_by_rate", 3, asked, room_channel, more
    )
    return Claimed(jobs, is_full, has_more, room_in=room_in)


def claim_fairly(
    asked: LimitedClaim, room_channel: str, *, fair: FairClaim
) -> Steps[FairlyClaimed]:
    """See `Store.claim_fairly`."""
    more = {
        "key": array(fair.used),
        "used": plain_array(fair.used.values()),
        "weighted": array(fair.weights),
        "weight": plain_array(fair.weights.values()),
        "from_lane": fair.from_lane,
        "lanes": str(max(asked.limit, FEWEST_LANES)),
        **_walk_behind(fair.after),
    }
    (is_full, has_more, room_in, next_lane, *walked), jobs = yield from _claim(
        "claim_fairly", 7, asked, room_channel, more
    )
    return FairlyClaimed(jobs, is_full, has_more, next_lane, _walked(*walked), room_in)


def claim_in_order(
    asked: LimitedClaim, room_channel: str, *, from_key: str, after: Walked | None
) -> Steps[ClaimedInOrder]:
    """See `Store.claim_in_order`."""
    more = {
        "from_key": from_key,
        "front": str(max(asked.limit, SHORTEST_FRONT)),
        "keys": str(MOST_KEYS),
        **_walk_behind(after),
    }
    told, jobs = yield from _claim("claim_in_order", 9, asked, room_channel, more)
    is_full, has_more, has_waiting, next_in, room_in, next_key, *walked = told
    return ClaimedInOrder(
        jobs, is_full, has_more, has_waiting, next_in, next_key, _walked(*walked), room_in
    )


def _claim(
    name: str, told: int, asked: LimitedClaim, room_channel: str, more: Mapping[str, str]
) -> Steps[_Told]:
    """Claim by this statement, whose first `told` columns tell of the claim itself."""
    parameters = {
        "queue_name": asked.queue_name,
        "limiter": asked.limiter,
        "claim_token": asked.token,
        "limit": str(asked.limit),
        "lease": interval(asked.lease),
        "start": "true" if asked.start else "false",
        # On which those are told who wait for places outside of jobs.
        "room_channel": room_channel,
        **NOTIFIES,
        **more,
    }
    rows = yield Statement(name, parameters, after=lock_limit(asked.limiter))
    # The first column only has notified those who wait outside of jobs. Where nothing was claimed
    # there is one row, and no job in it.
    found = [row[1 + told :] for row in rows if row[1 + told] is not None]
    return rows[0][1 : 1 + told], claimed_rows(found, asked.queue_name, start=asked.start)


def _walk(limit: int) -> str:
    return str(max(2 * limit, _SHORTEST_WALK))


def _walk_behind(after: Walked | None) -> dict[str, str]:
    """Where a walk over the pending jobs goes on."""
    behind = _FIRST if after is None else after
    return {
        "walk": str(WALK),
        "priority": str(behind.priority),
        "run_at": behind.run_at,
        "id": behind.id,
    }


def _walked(priority: int | None, run_at: str | None, id: str | None) -> Walked | None:
    """How far a walk has come; `None` is to its end."""
    if priority is None or run_at is None or id is None:
        return None
    return Walked(priority, run_at, id)
