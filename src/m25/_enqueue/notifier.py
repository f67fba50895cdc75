"""Notifies workers of new work, and so seldom that it does not slow down enqueueing.

PostgreSQL commits transactions that notify one after the other. So the first enqueue on a queue
notifies in its own statement, and those that follow within ten milliseconds do not: the next
enqueue after that time notifies for them, or, where none comes, a statement of the notifier's own.
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
#: The notifier waits this long after a notification, in seconds, for an enqueue that notifies
#: instead of it.
_LONGEST_WAIT: Final = 1.5 * _SHORTEST_GAP
#: Once so many queues were notified, those that may be notified again are forgotten: there may be a
#: queue for each customer.
_MANY: Final = 1_000


class Notifier:
    """One for each client."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._notified_at: dict[str, float] = {}
        #: The queues on which jobs were enqueued without a notification.
        self._pending: set[str] = set()
        self._wakeup = Wakeup()

    def in_statement(self, queue_names: Iterable[str]) -> list[str]:
        """The queues to notify in the statement at hand; `run` soon notifies the others."""
        now = trio.current_time()
        if len(self._notified_at) >= _MANY:
            self._forget(now)
        notified: list[str] = []
        for name in queue_names:
            if now - self._notified_at.get(name, -math.inf) >= _SHORTEST_GAP:
                self._notified_at[name] = now
                self._pending.discard(name)
                notified.append(name)
            elif name not in self._pending:
                self._pending.add(name)
                self._wakeup.set()
        return notified

    def notify_soon(self, queue_names: Iterable[str]) -> None:
        """Have `run` notify these queues, since a statement could not."""
        self._pending.update(queue_names)
        self._wakeup.set()

    async def run(self) -> None:
        """Notify the queues that no enqueue has notified, until cancelled."""
        while True:
            await self._wakeup.wait()
            while self._pending:
                await trio.sleep_until(min(map(self._due_at, self._pending)))
                now = trio.current_time()
                # An enqueue may have notified some of these queues meanwhile.
                late = sorted(name for name in self._pending if self._due_at(name) <= now)
                if late:
                    self._pending.difference_update(late)
                    self._notified_at.update((name, now) for name in late)
                    await self.notify(late)

    def _due_at(self, queue_name: str) -> float:
        return self._notified_at.get(queue_name, -math.inf) + _LONGEST_WAIT

    def _forget(self, now: float) -> None:
        self._notified_at = {
            name: at for name, at in self._notified_at.items() if now - at < _LONGEST_WAIT
        }

    async def notify(self, queue_names: Sequence[str]) -> None:
        """Notify these queues now, if the database can."""
        try:
            await self._store.notify(queue_names)
        except StatementFailed:
            # A notification is a hint: without it the jobs are found at the next poll.
            return
