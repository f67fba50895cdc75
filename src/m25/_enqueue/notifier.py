"""Notifies workers that there is work, seldom enough not to slow those who enqueue.

Every transaction that notifies waits for every other one at its commit. So the first enqueue on a
queue notifies in its own statement. Those that follow within a few milliseconds are covered by the
next enqueue that comes after that time, or, where none comes, by a statement of the notifier's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import trio

from .._store.failures import StatementFailed
from .._store.protocol import Store
from ..pg._wakeup import Wakeup

#: The workers of a queue are notified at most once in this time, in seconds.
_SHORTEST_GAP: Final = 0.01
#: How long a later enqueue may take to come and notify in place of the notifier, in seconds.
_LONGEST_WAIT: Final = 1.5 * _SHORTEST_GAP


class Notifier:
    """One for each client."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._notified_at: dict[str, float] = {}
        #: The queues whose workers do not know yet of what was enqueued.
        self._pending: set[str] = set()
        self._wakeup = Wakeup()

    def in_statement(self, queue_names: Iterable[str]) -> list[str]:
        """The queues to notify in the statement at hand; `run` notifies the others in a moment."""
        now = trio.current_time()
        notified: list[str] = []
        for name in queue_names:
            if now - self._notified_at.get(name, -math.inf) >= _SHORTEST_GAP:
                self._notified_at[name] = now
                self._pending.discard(name)
                notified.append(name)
            else:
                self._pending.add(name)
                self._wakeup.set()
        return notified

    async def run(self) -> None:
        """Notify whom no statement has notified, until cancelled."""
        while True:
            await self._wakeup.wait()
            while self._pending:
                await trio.sleep_until(min(map(self._due_at, self._pending)))
                now = trio.current_time()
                # A statement may have notified some of them meanwhile.
                late = sorted(name for name in self._pending if self._due_at(name) <= now)
                if late:
                    self._pending.difference_update(late)
                    self._notified_at.update((name, now) for name in late)
                    await self._notify(late)

    def _due_at(self, queue_name: str) -> float:
        return self._notified_at[queue_name] + _LONGEST_WAIT

    async def _notify(self, queue_names: Sequence[str]) -> None:
        try:
            await self._store.notify(queue_names)
        except StatementFailed:
            # A hint that was lost costs a poll interval, and nothing else.
            return
