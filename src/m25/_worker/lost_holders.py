"""Gives back places of limits whose holders are gone: they were held outside of jobs.

As for jobs, one look proves nothing: see `suspicions`. Workers that have limits look, and so does
whoever waits for a place. Where nobody does, nobody misses it.
"""

from __future__ import annotations

from typing import Final

import trio

from .._events import HolderSwept
from .._runtime import Runtime
from .._store.protocol import LostHolder, Suspect
from .suspicions import Suspicions

#: The most places that one look finds, and gives back.
_MOST: Final = 1_000
#: How many times a holder renews its lease in the time that it lasts, while all is well.
RENEWALS: Final = 4
#: How long the answer to a renewal may take while all is well, in seconds; less where leases are
#: short.
_LONGEST_ANSWER: Final = 1.0


class LostHolders:
    """What one process has seen so far of places that are held outside of jobs."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._suspicions = _HolderSuspicions({})

    def forget(self) -> None:
        """A look did not come when it should have: nothing that was seen counts."""
        self._suspicions.forget()

    async def look(self) -> float:
        """Look, and give back what is lost; return when another look could show more of it, by
        Trio's clock.

        Raises:
            StatementFailed: the database did not answer.
        """
        store = self._runtime.store
        began = trio.current_time()
        try:
            found = {holder.id: holder for holder in await store.find_lost_holders(_MOST)}
        except BaseException:
            self.forget()
            raise
        suspects = list(map(_suspect, found.values()))
        ended = trio.current_time()
        lost = self._suspicions.look(suspects, began=began, ended=ended)
        swept = await store.sweep_holders([found[each.id] for each in lost]) if lost else []
        for holder in swept:
            self._runtime.events.emit(HolderSwept(limit=holder.limiter))
            self._runtime.hints.room(holder.limiter)
        return self._suspicions.next_look(suspects, ended)


class _HolderSuspicions(Suspicions):
    """The patience is that of the lease, which says how often it is renewed."""

    def _patience_for(self, suspect: Suspect) -> float:
        interval = suspect.length / RENEWALS
        return interval + min(_LONGEST_ANSWER, interval / 2)


def _suspect(holder: LostHolder) -> Suspect:
    return Suspect(
        queue_name=holder.limiter,
        id=holder.id,
        token=holder.id,
        lease_expires_at=holder.lease_expires_at,
        is_expired=holder.is_expired,
        is_abandoned=False,
        length=holder.length,
    )
