"""An event that can be set again and again, and waited for by one task."""

from __future__ import annotations

import trio


class Wakeup:
    """What one task waits for between two rounds of its work, and any number of others set.

    `set` is remembered until the next `wait` returns: a task that is woken while it works waits for
    nothing afterwards, and so misses no change. Sets between two waits count as one. Only one task
    may wait at a time: the first one to return would take the wakeup from the others.
    """

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        self._event = trio.Event()
        self._is_set = False

    def set(self) -> None:
        """Let the task that waits, or waits next, go on."""
        # Most sets come between two waits, after another one.
        if not self._is_set:
            self._is_set = True
            self._event.set()

    async def wait(self) -> None:
        """Return once `set` was called after the last `wait` returned; a cancelled wait resets
        nothing.
        """
        await self._event.wait()
        self._event = trio.Event()
        self._is_set = False
