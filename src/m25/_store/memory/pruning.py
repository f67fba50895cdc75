"""Jobs in memory that ended long ago are deleted, each with all that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from ..._keep import Keep
from ..._lifecycle import FINAL, JobStatus
from ..protocol import Pruned
from .messages import Messages
from .queues import Queues
from .rows import MICROSECOND, Row
from .steps import Steps
from .table import Table


class Pruning:
    """One for each store."""

    def __init__(self, table: Table, queues: Queues, steps: Steps, messages: Messages) -> None:
        self._table = table
        self._queues = queues
        self._steps = steps
        self._messages = messages
        #: By queue, when somebody last had the turn.
        self._turns: dict[str, int] = {}

    def take(self, queue_name: str, gap: timedelta, now: int) -> bool:
        """Take the turn, if nobody has had it within `gap`."""
        last = self._turns.get(queue_name)
        if last is not None and last >= now - gap // MICROSECOND:
            return False
        self._turns[queue_name] = now
        return True

    def prune(self, queue_name: str, keep: Keep, after: str, walk: int, now: int) -> Pruned:
        """Delete what was kept for its time, of the first `walk` rows behind an id."""
        ids = sorted(id for id in self._table.rows if id > after)[:walk]
        jobs = attempts = 0
        for id in ids:
            row = self._table.rows.get(id)
            if row is None or row.queue_name != queue_name or row.parent_id is not None:
                continue
            is_kept = self._table.places.is_stopped_for(id)
            # rule: in memory, too, where there is no order no key stands still
            is_kept = is_kept and self._queues.has_order(queue_name)
            if is_kept:
                continue
            if row.original_attempt_id is None and self._is_over(row, keep, now):
                tree = self._tree(row)
                if all(each.status in FINAL for each in tree) and not any(
                    each.id in self._table.locked for each in tree
                ):
                    self.delete(tree)
                    jobs += 1
                    attempts += len(tree)
        return Pruned(ids[-1] if len(ids) == walk else None, jobs, attempts)

    def delete(self, tree: Sequence[Row]) -> None:
        """Delete rows that have ended, with what is kept of their jobs."""
        self._table.delete(tree)
        for each in tree:
            self._steps.forget(each.job_id)
            self._messages.forget(each.job_id)

    def _tree(self, root: Row) -> list[Row]:
        chain = self._table.chain(root.id)
        below = self._table.tree([root.id], []) if chain[-1].has_children else ()
        return [*chain, *below]

    def _is_over(self, root: Row, keep: Keep, now: int) -> bool:
        last = self._table.chain(root.id)[-1]
        kept = {
            JobStatus.SUCCEEDED: keep.succeeded,
            JobStatus.FAILED: keep.failed,
            JobStatus.CANCELLED: keep.cancelled,
        }.get(last.status)
        ended_at = last.cancelled_at if last.finished_at is None else last.finished_at
        return kept is not None and ended_at is not None and ended_at < now - kept // MICROSECOND
