"""Claims of a queue that has a limit or a rate: the database counts, over all processes."""

from __future__ import annotations

import math
from typing import Any, Final

from .._queue import Queue
from .._runtime import Runtime
from .._store.protocol import Claimed

#: How often a queue whose limit is reached is claimed from although nothing says that there is
#: room, in seconds: it may be another process that has made room, or is gone.
_FULL_INTERVAL: Final = 1.0


class LimitedClaims:
    """One for each manager whose queue has a limit; it remembers from which key to go on."""

    def __init__(self, queue: Queue[Any, Any, Any], limiter: str, runtime: Runtime) -> None:
        self._queue = queue
        self._limiter = limiter
        self._runtime = runtime
        self._from_key = None if queue.limit is None or queue.limit.key is None else ""
        #: In how long there may be room for jobs that the latest claim has left, in seconds;
        #: infinity where it has left none.
        self.room_in = math.inf

    async def claim(self, token: str, size: int, *, start: bool) -> Claimed:
        """Claim up to `size` jobs.

        Raises:
            StatementFailed: the database did not answer; the claim may have been committed.
        """
        queue = self._queue
        claimed = await self._runtime.store.claim_limited(
            queue.name,
            limiter=self._limiter,
            token=token,
            limit=size,
            lease=queue.lease if start else min(queue.lease, queue.reserved_timeout),
            start=start,
            from_key=self._from_key,
        )
        if self._from_key is not None:
            self._from_key = claimed.last_key or ""
        if not claimed.is_full:
            self.room_in = math.inf
        else:
            self.room_in = _FULL_INTERVAL if claimed.room_in is None else claimed.room_in
        return claimed
