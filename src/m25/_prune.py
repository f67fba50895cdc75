"""Deletes the jobs of a queue that ended long ago: a walk over the table, a little at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import trio

from ._keep import Keep
from ._store.protocol import Pruned, Store

#: How many rows one step looks at.
_WALK: Final = 500
#: After a step that took t, nothing is asked for so many times t: claims come first.
_REST: Final = 4.0


async def prune(store: Store, queue_name: str, keep: Keep) -> AsyncGenerator[Pruned]:
    """Delete what has been kept for its time; yield what each step has done.

    Raises:
        StatementFailed: the database failed, or the role may not delete.
    """
    after: str | None = None
    while True:
        began = trio.current_time()
        pruned = await store.prune(queue_name, keep, after=after, walk=_WALK)
        yield pruned
        after = pruned.after
        if after is None:
            return
        await trio.sleep(_REST * (trio.current_time() - began))
