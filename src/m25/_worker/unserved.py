"""Says which queues have jobs that wait, and no worker that would run them.

A queue's name was misspelt, or its workers were never started, or are gone. Nothing else tells: the
jobs wait for as long as it takes. Each process that runs queues looks, seldom.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import attrs
import trio

from .._events import QueueUnserved
from .._runtime import Runtime
from .._store.failures import StatementFailed
from .._store.protocol import SILENCE, Unserved

#: How long after the start the first look comes, in seconds; each pause between looks is twice the
#: one before, up to the longest.
_FIRST_LOOK: Final = 60.0
_LONGEST_PAUSE: Final = 300.0
#: A queue is told only if a second look, so many seconds later, finds the same: workers may just
#: have been replaced, and one that is there says so every 30 seconds, whatever clocks do.
_SECOND_LOOK: Final = 45.0
#: How long jobs must have waited.
_WAITING: Final = timedelta(seconds=30)
#: For how long a queue that was told is not told again, in seconds: at first, and at most.
_FIRST_REMINDER: Final = 600.0
_LONGEST_REMINDER: Final = 86_400.0


@attrs.define
class _Known:
    """A queue that was found in the latest look."""

    #: `None` until a second look has found it, too.
    tell_at: float | None = None
    reminder: float = _FIRST_REMINDER


class UnservedQueues:
    """One for each client that runs queues."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: dict[str, _Known] = {}

    async def run(self) -> None:
        """Look and tell, until cancelled."""
        tries = self._runtime.tries()
        pause = _FIRST_LOOK
        await trio.sleep(pause)
        while True:
            try:
                found = await self._runtime.store.find_unserved(_WAITING, SILENCE)
            except StatementFailed as failure:
                await trio.sleep(max(tries.failed(failure), _FIRST_LOOK))
                continue
            tries.worked()
            if self._look(found):
                await trio.sleep(_SECOND_LOOK)
            else:
                await trio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _look(self, found: Sequence[Unserved]) -> bool:
        """Tell what is to be told; return whether a queue was found for the first time."""
        now = trio.current_time()
        before, self._known = self._known, {}
        has_new = False
        for queue in found:
            known = self._known[queue.name] = before.get(queue.name, _Known())
            if queue.name not in before:
                has_new = True
            elif known.tell_at is None or known.tell_at <= now:
                known.tell_at = now + known.reminder
                known.reminder = min(2 * known.reminder, _LONGEST_REMINDER)
                self._runtime.events.emit(
                    QueueUnserved(queue=queue.name, seconds=queue.seconds, workers=queue.workers)
                )
        return has_new
