"""Limits in memory: which due jobs may run, and which are held up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from ..protocol import DeclaredQueue
from .jsonb import as_jsonb_text
from .queues import Queues
from .rows import Row
from .table import Table

#: How many due jobs one claim looks at, as the statement does.
_SHORTEST_WALK: Final = 50
#: How many keys with jobs that are held up.
_MOST_KEYS: Final = 500


class Chosen(NamedTuple):
    """What one claim may take."""

    rows: list[Row]
    is_full: bool
    has_more: bool
    last_key: str | None = None


class Limits:
    """One for each store."""

    def __init__(self, table: Table, queues: Queues) -> None:
        self._table = table
        self._queues = queues
        self._declared: dict[str, int] = {}
        self._set_to: dict[str, int] = {}

    def declare(self, queues: Sequence[DeclaredQueue]) -> None:
        """A worker says under which limits its queues run."""
        sizes: dict[str, int] = {}
        for queue in queues:
            if queue.limiter is not None and queue.limit_size is not None:
                sizes[queue.limiter] = min(
                    queue.limit_size, sizes.get(queue.limiter, queue.limit_size)
                )
        self._declared.update(sizes)

    def set(self, limiter: str, size: int | None) -> bool:
        """Set a limit; return whether there is such a one."""
        self._set_to.pop(limiter, None)
        if size is not None and limiter in self._declared:
            self._set_to[limiter] = size
        return limiter in self._declared

    def size(self, limiter: str | None) -> int | None:
        """How many may run at once under a limit, if there is such a one."""
        if limiter is None:
            return None
        return self._set_to.get(limiter, self._declared.get(limiter))

    def choose(self, queue_name: str, limiter: str, limit: int, now: int) -> Chosen:
        """The first due jobs, as many as may run."""
        free = (self.size(limiter) or 0) - self._taken(limiter)[""]
        keys = self._table.due(queue_name, now, max(0, min(limit, free)))
        rows = [self._table.rows[id] for _, _, id in keys]
        return Chosen(rows, len(rows) >= free, has_more=False)

    def choose_by_key(
        self, queue_name: str, limiter: str, limit: int, from_key: str, now: int
    ) -> Chosen:
        """The first jobs that are due or held up, of each key as many as may run; of those that are
        due, the others are held up from now on.
        """
        size, taken = self.size(limiter) or 0, self._taken(limiter)
        declared = self._queues.declared(queue_name)
        path = () if declared is None else declared.limit_path or ()
        walk = max(2 * limit, _SHORTEST_WALK)
        walked = [self._table.rows[id] for _, _, id in self._table.due(queue_name, now, walk)]
        found = [(row.priority, row.run_at, row.id, key_of(row, path)) for row in walked]
        held_up = self._table.held_up(queue_name)
        keys = sorted(key for key in held_up if key >= from_key)
        found += [
            (row.priority, row.was_due_at or 0, row.id, key)
            for key in keys[:_MOST_KEYS]
            for row in sorted(held_up[key], key=_place)
            if row.id not in self._table.locked
        ]
        chosen: list[Row] = []
        is_full = bool(keys)
        for _, at, id, key in sorted(found):
            row = self._table.rows[id]
            if taken[key] < size:
                if len(chosen) < limit:
                    taken[key] += 1
                    chosen.append(row)
            elif row.was_due_at is None or not row.is_held_up:
                is_full = True
                self._table.hold_up(row, key, at)
        has_more = len(walked) == walk or len(keys) >= _MOST_KEYS
        last_key = keys[_MOST_KEYS - 1] if len(keys) >= _MOST_KEYS else None
        return Chosen(chosen, is_full, has_more, last_key)

    def _taken(self, limiter: str) -> Counter[str]:
        return Counter(
            key_of(row, queue.limit_path or ())
            for queue in self._queues.under(limiter)
            for row in self._table.live(queue.name)
        )


def _place(row: Row) -> tuple[int, int, str]:
    return row.priority, row.was_due_at or 0, row.id


def key_of(row: Row, path: Sequence[str]) -> str:
    """What a path leads to in a job's input, as `#>>` has it; nothing is empty."""
    if not path:
        return ""
    value: Any = json.loads(row.input)
    for name in path:
        value = _within(value, name)
    if value is None:
        return ""
    return (value if isinstance(value, str) else as_jsonb_text(json.dumps(value)))[:200]


def _within(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).get(name)
    if isinstance(value, list) and name.lstrip("-").isdecimal():
        items, at = cast("Sequence[Any]", value), int(name)
        return items[at] if -len(items) <= at < len(items) else None
    return None
