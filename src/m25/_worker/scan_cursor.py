"""Where in the index a queue's next claim begins: after the latest claim, or at the index's start.

A claim that begins where the latest one ended saves PostgreSQL the walk over the index entries of
jobs that were claimed before. That walk is long while a transaction is held open somewhere, since
vacuum cannot remove the entries. No job before the cursor is forgotten: a claim from the start
comes about every second, and at once after a survey has found work before the cursor. Where such
claims take long, they come less often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from .._store.protocol import JobRow, Position

#: The least time between two claims from the start while there is enough to claim, in seconds.
_SHORTEST_GAP: Final = 1.0
#: After a claim from the start that took t, the next one waits 20 t.
_GAP_PER_DURATION: Final = 20.0
#: The cursor has a position in so many priorities at most, those from which jobs came last: each
#: costs a claim an index probe. Where there are more, a claim goes on behind the last of them.
_MOST_PRIORITIES: Final = 50


class ScanCursor:
    """The cursor of one queue; `longest_gap` bounds the time between claims from the start."""

    def __init__(self, longest_gap: float) -> None:
        self._longest_gap = longest_gap
        self._by_priority: dict[int, Position] = {}
        self._start_over_at = -math.inf

    def rewind(self) -> None:
        """Let the next claim begin from the start: a job may lie before the cursor."""
        self._start_over_at = -math.inf

    def next(self, now: float) -> Sequence[Position]:
        """Where the next claim goes on, by priority; empty if it is to begin from the start."""
        if now >= self._start_over_at:
            return ()
        return [self._by_priority[priority] for priority in sorted(self._by_priority)]

    def claimed(
        self,
        rows: Sequence[JobRow],
        after: Sequence[Position],
        *,
        began: float,
        now: float,
        is_filled: bool,
    ) -> None:
        """Move the cursor to the end of a claim that began at `began` and was answered at `now`.

        Where the claim `is_filled` there may be more to claim than it has brought.
        """
        if not after:
            shortest = _SHORTEST_GAP if is_filled else 0.0
            gap = max(shortest, _GAP_PER_DURATION * (now - began))
            self._start_over_at = now + min(gap, self._longest_gap)
        # By priority, the last of its rows.
        for priority, row in {row.priority: row for row in rows}.items():
            run_at = row.created_at if row.scheduled_at is None else row.scheduled_at
            # A `run_at` of "Infinity" or "-Infinity" is no position to go on from.
            if run_at[-1].isdigit():
                # At the end of the mapping are those that came last.
                self._by_priority.pop(priority, None)
                self._by_priority[priority] = Position(priority, run_at, row.id)
        while len(self._by_priority) > _MOST_PRIORITIES:
            del self._by_priority[next(iter(self._by_priority))]
