"""Deletes jobs that ended long ago, of queues that say for how long they keep them.

Of the processes that serve a queue one has the turn, every hour; the queue's row says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Final

import trio

from .._events import JobsPruned
from .._prune import prune
from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import StatementFailed

#: How long after the start the first look comes at most, in seconds: many processes may start at
#: once.
_FIRST_LOOK: Final = 30.0
#: How often it is looked whether it is this process's turn, in seconds.
_PAUSE: Final = 600.0
#: How long after a turn the next one is.
_GAP: Final = timedelta(hours=1)


class Pruner:
    """One for each client that runs queues which do not keep their jobs for ever."""

    def __init__(self, queues: Sequence[Queue[Any, Any, Any]], runtime: Runtime) -> None:
        self._queues = [queue for queue in queues if queue.keep is not None]
        self._runtime = runtime

    async def run(self) -> None:
        """Prune, until cancelled."""
        tries = self._runtime.tries()
        rng = self._runtime.rng
        await trio.sleep(rng.uniform(1, _FIRST_LOOK))
        while True:
            pause = rng.uniform(0.9, 1.1) * _PAUSE
            for queue in self._queues:
                try:
                    if await self._runtime.store.take_pruning(queue.name, _GAP):
                        await self._prune(queue)
                except StatementFailed as failure:
                    pause = max(pause, tries.failed(failure))
                else:
                    tries.worked()
            await trio.sleep(pause)

    async def _prune(self, queue: Queue[Any, Any, Any]) -> None:
        assert queue.keep is not None
        jobs = attempts = 0
        try:
            async with aclosing(prune(self._runtime.store, queue.name, queue.keep)) as steps:
                async for pruned in steps:
                    jobs += pruned.jobs
                    attempts += pruned.attempts
        finally:
            if jobs:
                self._runtime.events.emit(
                    JobsPruned(queue=queue.name, jobs=jobs, attempts=attempts)
                )
