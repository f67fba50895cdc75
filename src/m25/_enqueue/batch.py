"""One batch of `enqueue_many`: what one statement inserts. No I/O, and no Trio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .._store.protocol import AnyJob, row_of

#: The most jobs that one statement inserts.
LARGEST_BATCH: Final = 200
#: The largest sum of the sizes of the jobs in a batch, in characters, if it has more than one.
_LARGEST_SIZE: Final = 500_000


class Batch:
    """Jobs are made and collected until there are enough for a statement."""

    def __init__(self, make: Callable[[Any], AnyJob]) -> None:
        self._make = make
        self._jobs: list[AnyJob] = []
        self._size = self._position = 0

    def add(self, job: Any) -> list[AnyJob]:
        """Make the next job; return those that are to be inserted now, which are often none.

        Raises:
            Exception: what `make` raised, with a note that says at which job.
        """
        try:
            new = self._make(job)
        except Exception as error:
            error.add_note(which(self._position))
            raise
        self._position += 1
        size = size_of(new)
        full: list[AnyJob] = []
        if self._jobs and self._size + size > _LARGEST_SIZE:
            full = self.rest()
        self._jobs.append(new)
        self._size += size
        if len(self._jobs) == LARGEST_BATCH:
            full = self.rest()
        return full

    def rest(self) -> list[AnyJob]:
        """Take what is left of the jobs, which may be none."""
        jobs = self._jobs
        self._jobs, self._size = [], 0
        return jobs


def size_of(job: AnyJob) -> int:
    """How large a job is, about, in characters."""
    row = row_of(job)
    return len(row.input) + (0 if row.meta is None else len(row.meta))


def which(position: int) -> str:
    """A note that says which job of `enqueue_many` an error is about."""
    return f"in enqueue_many: the job at position {position}, counted from 0; none was enqueued"
