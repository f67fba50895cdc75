"""What is asked of a database about places that are held outside of jobs, as steps."""

from __future__ import annotations

from collections.abc import Sequence

from .limited_steps import lock_limit
from .parameters import array, interval, plain_array
from .protocol import AskedPlace, LostHolder, TakenPlaces, Written
from .steps import NOTIFIES, Statement, Steps


def declare_limit(limiter: str, size: int | None, path: Sequence[str] | None) -> Steps[None]:
    """See `Store.declare_limit`."""
    parameters = {
        "limiter": limiter,
        "size": None if size is None else str(size),
        "path": None if path is None else array(path),
    }
    yield Statement("declare_limit", parameters)


def take_places(limiter: str, asked: Sequence[AskedPlace]) -> Steps[TakenPlaces | None]:
    """See `Store.take_places`."""
    parameters = {
        "limiter": limiter,
        "id": plain_array(each.id for each in asked),
        "key": array(each.key for each in asked),
        "lease": array(interval(each.lease) for each in asked),
        **NOTIFIES,
    }
    rows = yield Statement("take_places", parameters, after=lock_limit(limiter))
    if not rows:
        return None
    has_limit, has_key, has_turned, *_ = rows[0]
    ids = frozenset(row[4] for row in rows if row[4] is not None)
    return TakenPlaces(has_limit, has_key, has_turned, ids)


def renew_places(ids: Sequence[str]) -> Steps[Written]:
    """See `Store.renew_places`."""
    rows = yield Statement("renew_places", {"id": plain_array(ids)})
    return Written(
        frozenset(id for id, is_renewed in rows if is_renewed),
        frozenset(id for id, is_renewed in rows if not is_renewed),
    )


def release_places(limiter: str, ids: Sequence[str], room_channel: str) -> Steps[bool]:
    """See `Store.release_places`."""
    parameters = {"limiter": limiter, "id": plain_array(ids), "room_channel": room_channel}
    rows = yield Statement("release_places", {**parameters, **NOTIFIES})
    made_room: bool = rows[0][0]
    return made_room


def find_lost_holders(limit: int) -> Steps[list[LostHolder]]:
    """See `Store.find_lost_holders`."""
    rows = yield Statement("find_lost_holders", {"limit": str(limit)})
    return list(map(LostHolder._make, rows))


def sweep_holders(lost: Sequence[LostHolder], room_channel: str) -> Steps[list[LostHolder]]:
    """See `Store.sweep_holders`."""
    parameters = {
        "id": plain_array(each.id for each in lost),
        "lease_expires_at": array(each.lease_expires_at for each in lost),
        "room_channel": room_channel,
    }
    rows = yield Statement("sweep_holders", {**parameters, **NOTIFIES})
    swept = {id for _, id, *_ in rows}
    return [each for each in lost if each.id in swept]
