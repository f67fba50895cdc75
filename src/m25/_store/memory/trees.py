"""Cancels down a tree of jobs, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..._lifecycle import FINAL, LIVE, JobStatus
from ..protocol import CancelAsked, Descendant
from .listeners import Listeners
from .rows import Row
from .table import Table


class Trees:
    """What jobs have started, and what that has started, and so on."""

    def __init__(
        self, table: Table, listeners: Listeners, chain_ended: Callable[[Row], None]
    ) -> None:
        self._table = table
        self._listeners = listeners
        self._chain_ended = chain_ended

    def is_locked(self, parents: Sequence[str], ids: Sequence[str] = ()) -> bool:
        """Whether somebody has locked a row that a cancel has not reached yet."""
        return any(
            row.id in self._table.locked
            for row in self._table.tree(parents, ids)
            if _is_to_be_cancelled(row)
        )

    def cancel(
        self,
        parents: Sequence[str],
        ids: Sequence[str],
        now: int,
        by: str | None,
        reason: str | None,
    ) -> list[Descendant]:
        """Cancel all below `parents`, and `ids` with all below them, but for what is locked."""
        reached: dict[str, Descendant] = {}
        for row in list(self._table.tree(parents, ids)):
            if not _is_to_be_cancelled(row) or row.id in self._table.locked:
                continue
            if row.status is JobStatus.PENDING:
                self._table.write(
                    "cancel_descendants",
                    row,
                    cancelled_at=now,
                    cancelled_by=by,
                    cancel_reason=reason,
                )
                self._chain_ended(row)
            else:
                self._table.write(
                    "cancel_descendants",
                    row,
                    cancel_requested_at=now,
                    cancelled_by=by,
                    cancel_reason=reason,
                )
                self._listeners.ask_to_cancel(CancelAsked(row.queue_name, row.id))
            reached[row.id] = Descendant(
                row.id,
                row.queue_name,
                row.attempt,
                row.max_attempts,
                row.losses,
                row.status in FINAL,
            )
        return list(reached.values())


def _is_to_be_cancelled(row: Row) -> bool:
    if row.status in FINAL or row.cancel_requested_at is not None:
        return False
    return row.status not in LIVE or row.claim_token is not None
