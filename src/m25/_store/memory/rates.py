"""Rates with a clock for each key in memory: which due jobs may begin, and which are held up."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from ..lanes import key_of, value_at
from ..protocol import DeclaredQueue, Turn
from .limits import Chosen, Limits, paid
from .queues import Queues
from .rows import SECOND, Row, seconds
from .table import Table

#: How many due jobs one claim looks at, as the statement does.
_SHORTEST_WALK: Final = 50
#: As much as a job may cost.
_HIGHEST_COST: Final = 1_000_000
#: Before all times.
_EARLIEST: Final = -(2**63)


class Rates:
    """One for each store."""

    def __init__(self, table: Table, queues: Queues, limits: Limits) -> None:
        self._table = table
        self._queues = queues
        self._limits = limits
        #: By limiter and key, when the next may begin; times are microseconds.
        self._clocks: dict[tuple[str, str], int] = {}

    def choose(self, queue_name: str, limiter: str, limit: int, now: int) -> Chosen:
        """The first jobs that are due or held up, of each key as many as may begin; of those that
        are due, the others are held up from now on.
        """
        rate = self._limits.rate(limiter)
        free = self._limits.room(limiter, limit)
        declared = self._queues.declared(queue_name)
        if rate is None or declared is None:
            return Chosen([], is_full=True, has_more=False)
        interval, burst = rate
        self._drop(limiter, now - burst * interval)
        path = declared.rate_path
        walk = max(2 * limit, _SHORTEST_WALK)
        walked = [self._table.rows[id] for _, _, id in self._table.due(queue_name, now, walk)]
        waiting = [
            (row.priority, row.run_at, row.id, key_of(row.input, path or ())) for row in walked
        ]
        waiting += [
            (row.priority, row.was_due_at or 0, row.id, key)
            for key, rows in self._table.held_up(queue_name).items()
            for row in rows
            if row.id not in self._table.locked and key == key_of(row.input, path or ())
        ]
        starts: dict[str, int] = {}
        full: dict[str, int] = {}
        chosen: list[Row] = []
        for _, at, id, key in sorted(waiting):
            row = self._table.rows[id]
            start_at = starts.setdefault(
                key,
                max(
                    self._clocks.get((limiter, key), _EARLIEST),
                    now - burst * interval,
                ),
            )
            cost = _cost(row.input, declared.cost_path)
            if key not in full:
                may_start_at = start_at + (min(cost, burst + 1) - 1) * interval
                if may_start_at > now:
                    full[key] = may_start_at
                elif len(chosen) < free:
                    chosen.append(row)
                    starts[key] = self._clocks[limiter, key] = paid(start_at, cost * interval)
                    continue
                else:
                    # Its turn has come, and there is no room for it.
                    full[key] = now
            if full[key] > now and path is not None and not row.is_held_up:
                self._table.hold_up(row, key, at)
        has_room = len(chosen) < free
        room_in = None
        if full and (has_room or free >= limit):
            room_in = (min(full.values()) - now) / SECOND
        return Chosen(
            chosen,
            is_full=bool(full) or (not has_room and free < limit),
            has_more=has_room and path is not None and len(walked) == walk,
            room_in=room_in,
        )

    def next_start_at(
        self, declared: DeclaredQueue | None, key: str | None, now: int
    ) -> str | None:
        """When the next may begin by a queue's rate, of a key if that has one, unless it is now."""
        if declared is None or declared.limiter is None:
            return None
        if declared.rate_path is None and declared.cost_path is None:
            at = self._limits.next_start_at(declared.limiter)
        else:
            at = self._clocks.get((declared.limiter, key or ""))
        return None if at is None or at <= now else seconds(at)

    def take(self, limiter: str, key: str | None, cost: int, now: int) -> Turn | None:
        """Take the next turn for something that is no job."""
        rate = self._limits.rate(limiter)
        if rate is None:
            return None
        queues = self._queues.under(limiter)
        has_key = any(queue.rate_path is not None for queue in queues)
        if has_key != (key is not None):
            return Turn(has_key, None)
        if not (has_key or any(queue.cost_path is not None for queue in queues)):
            return Turn(has_key, self._limits.take(limiter, cost, now))
        interval, burst = rate
        clock = limiter, key or ""
        start_at = max(self._clocks.get(clock, _EARLIEST), now - burst * interval)
        self._clocks[clock] = paid(start_at, cost * interval)
        turn_at = start_at + (min(cost, burst + 1) - 1) * interval
        return Turn(has_key, max(0, turn_at - now) / SECOND)

    def hold(self, limiter: str, key: str, until: int) -> None:
        """Let no job of a key begin before a time."""
        if self._limits.rate(limiter) is not None:
            until = max(until, self._clocks.get((limiter, key), _EARLIEST))
            self._clocks[limiter, key] = until

    def _drop(self, limiter: str, before: int) -> None:
        """Forget the clocks that say nothing any more."""
        for (name, key), next_start_at in list(self._clocks.items()):
            if name == limiter and next_start_at <= before:
                del self._clocks[name, key]


def _cost(text: str, path: Sequence[str] | None) -> int:
    """What a job costs, as the statement reads it."""
    if path is None:
        return 1
    value = value_at(json.loads(text, parse_float=Decimal), path)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return 1
    return math.ceil(min(max(value, 1), _HIGHEST_COST))
