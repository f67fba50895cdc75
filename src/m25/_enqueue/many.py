"""What becomes of the jobs of one `enqueue_many`, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._errors import JobIdConflict
from .._store.protocol import AnyJob, Exists, Held, Twin, UniqueAnswer, UniqueJob, row_of
from .answers import EnqueuedMany
from .batch import which
from .conflicts import check_same, key_conflict, unique_outcome

if TYPE_CHECKING:
    from .._base_queue import BaseQueue


class Many:
    """One for each try of an `enqueue_many`."""

    def __init__(self, queue: BaseQueue[Any, Any, Any], skip_conflicts: bool) -> None:
        self.queue = queue
        self.found = EnqueuedMany()
        self.is_scheduled = False
        self._skip_conflicts = skip_conflicts

    def add(self, batch: Sequence[AnyJob], answers: Sequence[UniqueAnswer]) -> None:
        """Take the answers for a batch.

        Raises:
            UniqueKeyConflict, JobIdConflict: a job refuses them all.
        """
        found = self.found
        before = len(found.ids)
        for position, (new, answer) in enumerate(zip(batch, answers, strict=True), before):
            row = row_of(new)
            self.is_scheduled = self.is_scheduled or row.scheduled_at is not None
            if isinstance(answer, Held):
                conflict = key_conflict(new, answer)
                if not self._skip_conflicts:
                    conflict.add_note(which(position))
                    raise conflict
                found.conflicts[position] = conflict
            elif isinstance(answer, Exists):
                try:
                    check_same(answer, row, self.queue)
                except JobIdConflict as error:
                    error.add_note(which(position))
                    raise
            elif isinstance(new, UniqueJob):
                found.unique_outcomes[position] = unique_outcome(new, answer)
        found.ids._add(map(_id_of, batch, answers))


def _id_of(new: AnyJob, answer: UniqueAnswer) -> str:
    """The id of the job that is there now."""
    match answer:
        case Held():
            return answer.id
        case Twin():
            return answer.row.id
        case _:
            return row_of(new).id
