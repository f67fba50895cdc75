"""Pauses between attempts: they grow, and differ by chance, so that a thousand clients of a server
that is back do not come at once.
"""

from __future__ import annotations

import random
from typing import Final

import trio

_FIRST: Final = 0.1  # seconds
_LONGEST: Final = 2.0  # seconds


class Pauses:
    """The pauses of one series of attempts: from a tenth of a second to two."""

    def __init__(self) -> None:
        self._next = _FIRST

    async def sleep(self) -> None:
        """Make the next pause."""
        pause, self._next = self._next, min(2 * self._next, _LONGEST)
        await trio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - it spreads load
