"""Lets jobs go that are held up by a key which their queue's limit or rate has no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .._events import JobsLetGo
from .._runtime import Runtime
from .._store.protocol import WalkedHeldUp

#: How many jobs that are held up one statement looks at.
_WALK: Final = 500


class FormerKeys:
    """One for each client that runs queues."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def let_go(self, names: Sequence[str]) -> None:
        """Let go what is held up by former keys of these queues.

        Raises:
            StatementFailed: the database did not answer. What is left is named by the next
                announcement.
        """
        for name in names:
            await self._let_go_of(name)

    async def _let_go_of(self, name: str) -> None:
        after: WalkedHeldUp | None = None
        is_clean, jobs = True, 0
        try:
            while True:
                let_go = await self._runtime.store.let_go(
                    name, after=after, walk=_WALK, is_clean=is_clean
                )
                jobs += let_go.number
                is_clean = is_clean and not let_go.found
                after = let_go.walked
                if after is None:
                    return
        finally:
            if jobs:
                self._runtime.events.emit(JobsLetGo(queue=name, jobs=jobs))
                self._runtime.hints.work(name, rewind=True)
