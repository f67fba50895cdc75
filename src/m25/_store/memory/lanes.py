"""Lanes in memory: which due jobs a claim takes that is to be fair between keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from ..lanes import FEWEST_LANES, WALK, key_of
from ..protocol import FairClaim, Walked
from .limits import Limits
from .queues import Queues
from .rows import Key, Row, microseconds, seconds
from .table import Table

#: Before all times.
_EARLIEST: Final = -(2**63)


class Turns(NamedTuple):
    """What one claim may take, and where the next goes on."""

    rows: list[Row]
    is_full: bool
    has_more: bool
    next_lane: str | None
    walked: Walked | None
    room_in: float | None


class Lanes:
    """One for each store."""

    def __init__(self, table: Table, queues: Queues, limits: Limits) -> None:
        self._table = table
        self._queues = queues
        self._limits = limits

    def choose(self, queue_name: str, limiter: str, limit: int, fair: FairClaim, now: int) -> Turns:
        """The first jobs of some lanes, fairly; what has none is given one for the next claim."""
        free = self._limits.free(limiter, limit, now)
        pending = self._table.pending(queue_name)
        due = [self._table.rows[id] for _, _, id in self._table.due(queue_name, now, len(pending))]
        lanes: dict[str, list[Row]] = {}
        for row in due:
            if row.lane is not None:
                lanes.setdefault(row.lane, []).append(row)
        running = Counter(row.lane for row in self._table.live(queue_name))
        names = sorted(name for name in lanes if name >= fair.from_lane)
        most = max(limit, FEWEST_LANES)
        looked_at, left = names[:most], names[most:]
        each = min(limit, 2 * limit // max(1, len(looked_at)) + 1)

        def turn(candidate: tuple[int, Row]) -> tuple[float, int, str]:
            rank, row = candidate
            lane = row.lane or ""
            had = rank + running[row.lane] + fair.used.get(lane, 0)
            return had / fair.weights.get(lane, 1), row.run_at, row.id

        candidates = [
            (rank, row) for name in looked_at for rank, row in enumerate(lanes[name][:each], 1)
        ]
        chosen = [row for _, row in sorted(candidates, key=turn)[: max(0, free)]]
        is_cut = len(chosen) < limit and any(len(lanes[name]) > each for name in looked_at)
        if len(chosen) >= free < limit:
            self._limits.want_turn(limiter, now)
        walked, laned = self._walk(queue_name, due, pending, fair.after)
        return Turns(
            chosen,
            is_full=len(chosen) >= free < limit,
            has_more=laned or is_cut,
            next_lane=left[0] if left else None,
            walked=walked,
            room_in=self._limits.spend(limiter, len(chosen), now),
        )

    def _walk(
        self, queue_name: str, due: Sequence[Row], pending: Sequence[Key], after: Walked | None
    ) -> tuple[Walked | None, bool]:
        """Give lanes to those jobs that are due and have none; return how far it went, and whether
        there were any.
        """
        declared = self._queues.declared(queue_name)
        path = () if declared is None else declared.lane_path or ()
        behind = (-(2**15), _EARLIEST, "")
        if after is not None:
            behind = (after.priority, microseconds(after.run_at), after.id)
        part = [key for key in pending if key > behind][:WALK]
        ids = {id for _, _, id in part}
        new = [row for row in due if row.lane is None and row.id in ids]
        for row in new:
            row.lane = key_of(row.input, path)
        if len(part) < WALK:
            return None, bool(new)
        priority, run_at, id = part[-1]
        return Walked(priority, seconds(run_at), id), bool(new)
