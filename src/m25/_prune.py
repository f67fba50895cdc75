"""Deletes the jobs of a queue that ended long ago: a walk over the table, a little at a time."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from typing import Final

import trio

from ._keep import Keep
from ._store.protocol import Pruned, Store

#: How many rows one step looks at.
_WALK: Final = 1_000
#: After a step that took t, nothing is asked for so many times t: claims come first.
_REST: Final = 1.0
#: How far a clock may be off by which ids were made, in seconds.
_SLACK: Final = 86_400.0

_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"
_LAST_ID: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"


async def prune(store: Store, queue_name: str, keep: Keep) -> AsyncGenerator[Pruned]:
    """Delete what has been kept for its time; yield what each step has done.

    Raises:
        StatementFailed: the database failed, or the role may not delete.
    """
    for first, last in _ranges(keep):
        after: str | None = first
        while after is not None:
            began = trio.current_time()
            pruned = await store.prune(queue_name, keep, after=after, until=last, walk=_WALK)
            yield pruned
            after = pruned.last_id if pruned.walked == _WALK else None
            await trio.sleep(_REST * (trio.current_time() - began))


def _ranges(keep: Keep) -> Iterator[tuple[str, str]]:
    """Where in the order of ids the jobs are that may be old enough.

    Ids that m25 makes begin with the time. Those of younger jobs are left out; of ids that others
    have made, which are anywhere, next to none is in between, and that for some time only.
    """
    assert keep.shortest is not None
    now = time.time()
    yield _FIRST_ID, _id_at(now - keep.shortest.total_seconds() + _SLACK)
    yield _id_at(now + _SLACK), _LAST_ID


def _id_at(seconds: float) -> str:
    """Where the ids begin that are made at this time."""
    digits = f"{max(0, min(int(seconds * 1000), 2**48 - 1)):012x}"
    return f"{digits[:8]}-{digits[8:]}-0000-0000-000000000000"
