"""Tells workers that there is work, seldom enough not to slow those who enqueue.

Every transaction that notifies waits for every other at its commit. So the first enqueue on a queue
tells at once, in its own statement; those that follow within a few milliseconds are told of by the
next that comes after that time, or where none comes, by a statement of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import trio

from .._store.failures import StatementFailed
from .._store.protocol import Store

#: Workers of a queue are told at most once in so many seconds.
_GAP: Final = 0.01
#: How long the next enqueue is waited for, in seconds, that could tell of those before it.
_PATIENCE: Final = 1.5 * _GAP


class Notifier:
    """One for each client."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._told_at: dict[str, float] = {}
        self._untold: set[str] = set()
        self._rung = trio.Event()

    def notify_now(self, queue_names: Iterable[str]) -> list[str]:
        """The queues to tell in the statement at hand; `run` tells of the others in a moment."""
        now = trio.current_time()
        told: list[str] = []
        for name in queue_names:
            if now - self._told_at.get(name, -math.inf) >= _GAP:
                self._told_at[name] = now
                self._untold.discard(name)
                told.append(name)
            else:
                self._untold.add(name)
                self._rung.set()
        return told

    async def run(self) -> None:
        """Tell of what was not told at once, until cancelled."""
        while True:
            await self._rung.wait()
            self._rung = trio.Event()
            while self._untold:
                tell_at = {name: self._told_at[name] + _PATIENCE for name in self._untold}
                await trio.sleep_until(min(tell_at.values()))
                now = trio.current_time()
                # Unless they were told of meanwhile.
                late = sorted(
                    name for name in self._untold if self._told_at[name] + _PATIENCE <= now
                )
                if late:
                    self._untold.difference_update(late)
                    self._told_at.update((name, now) for name in late)
                    await self._tell(late)

    async def _tell(self, queue_names: Sequence[str]) -> None:
        try:
            await self._store.notify(queue_names)
        except StatementFailed:
            # A hint that was lost costs a poll interval, and nothing else.
            return
