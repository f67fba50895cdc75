"""Claims in order in memory: of each key the first job, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ..lanes import MOST_KEYS, SHORTEST_FRONT, WALK, key_of
from ..protocol import Walked
from .limits import Limits
from .queues import Queues
from .rows import SECOND, Key, Row, microseconds, seconds
from .table import Table

#: Before all pending jobs.
_FIRST: Final[Key] = (-(2**15), -(2**63), "")


class InOrder(NamedTuple):
    """What one claim may take, and where the next goes on: as a `ClaimedInOrder`."""

    rows: list[Row]
    is_full: bool
    has_more: bool
    has_waiting: bool
    next_in: float | None
    next_key: str | None
    walked: Walked | None
    room_in: float | None


class Order:
    """One for each store."""

    def __init__(self, table: Table, queues: Queues, limits: Limits) -> None:
        self._table = table
        self._queues = queues
        self._limits = limits

    def choose(
        self,
        queue_name: str,
        limiter: str,
        limit: int,
        from_key: str,
        after: Walked | None,
        now: int,
    ) -> InOrder:
        """The heads of some keys; what has no place is given one for the next claim."""
        table, places = self._table, self._table.places
        free = self._limits.free(limiter, limit, now)
        keys = table.due(queue_name, now, len(table.pending(queue_name)))
        due = [table.rows[id] for _, _, id in keys]
        front = due[: max(limit, SHORTEST_FRONT)]
        names = [key for key in places.keys(queue_name) if key >= from_key]
        looked_at = {
            *names[:MOST_KEYS],
            *(row.order_key for row in front if row.order_key is not None),
        }
        looked_at -= {row.order_key for row in table.live(queue_name)}
        ids = [places.head(queue_name, key) for key in looked_at]
        heads = [table.rows[id] for id in ids if id is not None]
        free_heads = [row for row in heads if not places.is_held(row)]
        ready = [row for row in free_heads if row in due]
        chosen = sorted(ready, key=lambda row: row.key)[: max(0, free)]
        later = [row.run_at - now for row in free_heads if row.run_at > now]
        if len(chosen) >= free < limit:
            self._limits.want_turn(limiter, now)
        walked, has_placed = self._walk(queue_name, after)
        return InOrder(
            chosen,
            is_full=len(chosen) >= free < limit,
            has_more=has_placed,
            has_waiting=any(row not in chosen for row in front),
            next_in=min(later) / SECOND if later else None,
            next_key=names[MOST_KEYS] if len(names) > MOST_KEYS else None,
            walked=walked,
            room_in=self._limits.spend(limiter, len(chosen), now),
        )

    def _walk(self, queue_name: str, after: Walked | None) -> tuple[Walked | None, bool]:
        """Give places to jobs that have none; return how far it went, and whether any had none."""
        declared = self._queues.declared(queue_name)
        path: Sequence[str] = () if declared is None else declared.order_path or ()
        behind = _FIRST
        if after is not None:
            behind = after.priority, microseconds(after.run_at), after.id
        part = [key for key in self._table.pending(queue_name) if key > behind][:WALK]
        rows = [self._table.rows[id] for _, _, id in part if id not in self._table.locked]
        new = [row for row in rows if row.order_number is None]
        for row in sorted(new, key=lambda row: (row.created_at, row.id)):
            row.order_key = key_of(row.input, path)
            self._table.places.put(row)
        if len(part) < WALK:
            return None, bool(new)
        priority, run_at, id = part[-1]
        return Walked(priority, seconds(run_at), id), bool(new)
