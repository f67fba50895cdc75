"""The places of jobs in memory: which of a key comes next, and which keys stand still."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict

from .rows import Row


class Places:
    """One for each table."""

    def __init__(self) -> None:
        self._latest = 0
        #: By queue and key, the numbers and the ids of the rows that have not ended, in order.
        self._unended = defaultdict[tuple[str, str | None], list[tuple[int, str]]](list)
        #: By the id of a job that has failed for good: what is behind it is held.
        self._stopped: dict[str, Row] = {}

    def put(self, row: Row) -> None:
        """A row has not ended; if its queue has an order, and it no place yet, it comes last."""
        if row.order_key is None:
            return
        if row.order_number is None:
            row.order_number = self._next()
        insort(self._unended[row.queue_name, row.order_key], (row.order_number, row.id))

    def take(self, row: Row) -> None:
        """A row has ended, or is gone, or is put anew."""
        if row.order_number is not None:
            place = row.order_number, row.id
            places = self._unended[row.queue_name, row.order_key]
            if place in places:
                places.remove(place)

    def keys(self, queue_name: str) -> list[str]:
        """The keys of a queue that have jobs which have not ended."""
        return sorted(
            key
            for (name, key), places in self._unended.items()
            if name == queue_name and key is not None and places
        )

    def head(self, queue_name: str, key: str) -> str | None:
        """The id of the first row of a key that has not ended."""
        places = self._unended[queue_name, key]
        return places[0][1] if places else None

    def waits(self, row: Row) -> bool:
        """Whether a row waits for another of its key."""
        if row.order_number is None or row.order_key is None:
            return False
        return self.head(row.queue_name, row.order_key) != row.id or self.is_held(row)

    def is_held(self, row: Row) -> bool:
        """Whether one before it has failed for good, and holds what is behind."""
        return self.stopped_before(row) is not None

    def stopped_before(self, row: Row) -> str | None:
        """The id of the first job before a row that has failed for good, and holds it."""
        held_by = [
            (stopped.order_number, id)
            for id, stopped in self._stopped.items()
            if (stopped.queue_name, stopped.order_key) == (row.queue_name, row.order_key)
            and (stopped.order_number or 0) < (row.order_number or 0)
        ]
        return min(held_by)[1] if held_by else None

    def stop(self, row: Row) -> None:
        """What is behind this one is held."""
        self._stopped[row.job_id] = row

    def is_stopped_for(self, job_id: str) -> bool:
        """Whether a key stands still for this job."""
        return job_id in self._stopped

    def go_on(self, job_id: str) -> None:
        """Nothing is held any more for this job; if anything was."""
        self._stopped.pop(job_id, None)

    def _next(self) -> int:
        self._latest += 1
        return self._latest
