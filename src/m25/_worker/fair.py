"""Turns between the keys of a fair queue: what each has had, and where the next claim goes on."""

from __future__ import annotations

import heapq
from typing import Final

import trio

from .._fair import Fair
from .._store.lanes import key_of
from .._store.protocol import FairClaim, FairlyClaimed, JobRow, Walked

#: After how many seconds a job that has ended counts for half of one that ends now. So a key that
#: has had the workers to itself comes behind others for seconds, and not for as long as it has had
#: them.
_HALF_LIFE: Final = 1.0
#: What counts for less is forgotten: of keys that have had next to nothing the older job comes.
_LEAST: Final = 0.5
#: Of how many keys a claim is told, at most; those that have had the most.
_MOST_KEYS: Final = 100


class Turns:
    """One for each manager of a fair queue."""

    def __init__(self, fair: Fair) -> None:
        self._fair = fair
        #: By key, for how many jobs those count that have ended, and when that was counted.
        self._used: dict[str, tuple[float, float]] = {}
        self._from_lane = ""
        self._after: Walked | None = None
        #: Whether claims have come to the last lane, and to the last pending job, since they found
        #: anything that calls for another one.
        self._has_seen_lanes = self._has_seen_jobs = False

    def ended(self, row: JobRow) -> None:
        """A job has ended here, or was released."""
        key, now = key_of(row.input, self._fair.path), trio.current_time()
        self._used[key] = self._left(key, now) + 1, now

    def next(self) -> FairClaim:
        """What the next claim is told."""
        now = trio.current_time()
        used = {key: left for key in self._used if (left := self._left(key, now)) >= _LEAST}
        self._used = {key: (left, now) for key, left in used.items()}
        if len(used) > _MOST_KEYS:
            used = dict(heapq.nlargest(_MOST_KEYS, used.items(), key=lambda item: item[1]))
        return FairClaim(used, self._fair.weights, self._from_lane, self._after)

    def claimed(self, claimed: FairlyClaimed) -> bool:
        """A claim was answered; return whether another might find more at once."""
        self._from_lane = claimed.next_lane or ""
        self._after = claimed.walked
        self._has_seen_lanes |= claimed.next_lane is None
        self._has_seen_jobs |= claimed.walked is None
        has_seen_all = self._has_seen_lanes and self._has_seen_jobs
        if claimed.has_more or has_seen_all:
            self._has_seen_lanes = self._has_seen_jobs = False
        return not claimed.is_full and (claimed.has_more or not has_seen_all)

    def _left(self, key: str, now: float) -> float:
        number, at = self._used.get(key, (0.0, now))
        return float(number * 0.5 ** ((now - at) / _HALF_LIFE))
