"""A walk over the job table, a part at a time: each as long as takes about a tenth of a second."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

import trio

from ._store.operator import Look

#: How many rows the first part has, and each has at least and at most.
_FIRST: Final = 4_000
_FEWEST: Final = 50
_MOST: Final = 500_000
#: How long a part should take, in seconds.
_WANTED: Final = 0.1
#: How many times as many rows as the one before a part has at most.
_GROWTH: Final = 4


class _Found(Protocol):
    @property
    def look(self) -> Look: ...


Answer = TypeVar("Answer", bound=_Found)


class JobWalk:
    """How far a walk has come, and for how long it may go on.

    Args:
        after: behind which attempt it begins, by its id; `None` is at the beginning.
        seconds: how long it may take; `None` is as long as it takes.
    """

    def __init__(self, after: str | None, seconds: float | None) -> None:
        self._until = math.inf if seconds is None else trio.current_time() + seconds
        self._rows = _FIRST
        self._has_begun = False
        self.look = Look(after, None)
        #: How long the latest part took.
        self.took = 0.0

    @property
    def is_at_end(self) -> bool:
        """Whether all was looked at."""
        return self._has_begun and self.look.after is None

    @property
    def is_out_of_time(self) -> bool:
        """Whether the time is up. There is time for one part at least."""
        return self._has_begun and trio.current_time() >= self._until

    async def ask(self, call: Callable[[str | None, int], Awaitable[Answer]]) -> Answer:
        """Look at the next part: `call` is given where that begins, and how many rows it has."""
        began = trio.current_time()
        answer = await call(self.look.after, self._rows)
        self.took = trio.current_time() - began
        self._has_begun = True
        self.look = answer.look
        factor = min(_GROWTH, _WANTED / max(self.took, 1e-3))
        left = max(0.0, self._until - trio.current_time())
        # The last part is to end in time.
        rows = self._rows * min(factor, left / max(self.took, 1e-3))
        self._rows = int(max(_FEWEST, min(_MOST, rows)))
        return answer
