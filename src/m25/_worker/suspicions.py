"""When a job is taken for lost: decided from what was seen, without I/O and without a clock.

A look at the database shows leases that are over, or nearly, and workers whose sessions are gone.
One look proves nothing. The server may have stood still, or been away, so that no owner could renew
its lease; the database's clock may have been set; this process may have started just now, or stood
still itself. So a job is taken for lost only where its lease was seen unchanged, in looks without a
break between them, for as long as every living owner needs to renew it. Whatever the reason is for
which nobody could write a heartbeat, it breaks the series of looks, and the count begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from .._store.protocol import Suspect

#: A look that takes longer than this, in seconds, breaks the series: heartbeats may have waited for
#: the same reason.
_LONGEST_LOOK: Final = 1.0
#: How long a worker whose sessions are gone has to connect again and say so, in seconds.
RECONNECTING: Final = 3.0


class Suspicions:
    """What one process has seen so far.

    Args:
        patience: by queue, how long an owner may take to renew a lease while all is well, in
            seconds.
    """

    def __init__(self, patience: Mapping[str, float]) -> None:
        self._patience = patience
        self._expires: dict[tuple[str, str | None, str | None], float] = {}
        #: By the lease, and by when its worker has said last that it is there.
        self._abandoned: dict[tuple[str | None, ...], float] = {}

    def forget(self) -> None:
        """A look failed, or did not come when it should have: nothing that was seen counts."""
        self._expires.clear()
        self._abandoned.clear()

    def look(self, suspects: Sequence[Suspect], *, began: float, ended: float) -> list[Suspect]:
        """Take note of a look; return the jobs that are lost.

        Args:
            suspects: what it has found.
            began: when it was asked for, by Trio's clock.
            ended: when it was answered.
        """
        if ended - began > _LONGEST_LOOK:
            self.forget()
        expires, abandoned = self._expires, self._abandoned
        self._expires, self._abandoned = {}, {}
        lost: list[Suspect] = []
        for suspect in suspects:
            key = suspect.id, suspect.token, suspect.lease_expires_at
            self._expires[key] = first = expires.get(key, ended)
            is_lost = suspect.is_expired and (
                suspect.token is None or ended - first >= self._patience_for(suspect)
            )
            if suspect.is_abandoned:
                said = (*key, suspect.heard_at)  # rule: who has connected again is there
                self._abandoned[said] = first = abandoned.get(said, ended)
                is_lost = is_lost or ended - first >= RECONNECTING
            if is_lost:
                lost.append(suspect)
        return lost

    def _patience_for(self, suspect: Suspect) -> float:
        """How long its owner may take; one with other options than ours has given another lease."""
        return min(self._patience[suspect.queue_name], suspect.length)

    def next_look(self, suspects: Sequence[Suspect], now: float) -> float:
        """When a look could show, of these, one more that is lost; infinity if there are none."""
        soonest = math.inf
        for suspect in suspects:
            key = suspect.id, suspect.token, suspect.lease_expires_at
            said = (*key, suspect.heard_at)
            if suspect.is_abandoned and said in self._abandoned:
                soonest = min(soonest, self._abandoned[said] + RECONNECTING)
            if suspect.is_expired and key in self._expires:
                soonest = min(soonest, self._expires[key] + self._patience_for(suspect))
        return soonest if soonest > now else math.inf
