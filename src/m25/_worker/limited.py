"""Claims of a queue that has a limit: the database counts what runs, in all processes."""

from __future__ import annotations

from typing import Any, Final

from .._limits import Limit
from .._queue import Queue
from .._runtime import Runtime
from .._store.protocol import Claimed

#: How often a queue whose limit is reached is claimed from although nothing says that there is
#: room, in seconds: it may be another process that has made room, or is gone.
FULL_INTERVAL: Final = 1.0


class LimitedClaims:
    """One for each manager whose queue has a limit; it remembers from which key to go on."""

    def __init__(self, queue: Queue[Any, Any, Any], limit: Limit, runtime: Runtime) -> None:
        self._queue = queue
        self._limiter = queue.limiter_name or queue.name
        self._runtime = runtime
        self._from_key = None if limit.key is None else ""
        #: Whether the latest claim has left jobs that wait for room.
        self.is_full = False

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
        self.is_full = claimed.is_full
        return claimed
