"""The line of a queue's jobs in memory that are left to newer workers: when each is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .rows import SECOND, Row
from .table import Table

#: At multiples of this time, in microseconds, jobs of the line are due, and so many together.
_EVERY: Final = 5 * SECOND
_TOGETHER: Final = 100


class NewerLine:
    """One for each store."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def next_looks(self, queue_name: str, now: int) -> Iterator[int]:
        """When jobs are looked at next that go to the end of a queue's line, one after another."""
        times = [row.run_at for row in self._in_line(queue_name)]
        first = now - now % _EVERY + _EVERY
        last = max(times, default=first)
        at, number = (last, times.count(last)) if last >= first else (first, 0)
        while True:
            yield at + number // _TOGETHER * _EVERY
            number += 1

    def recall(self, queue_name: str, limit: int, now: int) -> int:
        """Make the first jobs of a queue's line due now; return how many there were."""
        later = [row for row in self._in_line(queue_name) if row.run_at > now]
        later.sort(key=lambda row: row.run_at)
        recalled = [row for row in later if row.id not in self._table.locked][:limit]
        for row in recalled:
            self._table.reschedule(row, now)
        return len(recalled)

    def _in_line(self, queue_name: str) -> list[Row]:
        rows = [self._table.rows[id] for _, _, id in self._table.pending(queue_name)]
        return [row for row in rows if row.unknown_since is not None and row.was_due_at is None]
