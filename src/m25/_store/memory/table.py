"""The job table in memory; long, since it has the rows, and all that is kept in step with them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ..._lifecycle import FINAL, KEYLESS, LIVE, MOVES, FailureReason, JobStatus, has_next_attempt
from ..columns import OF_CLAIM
from ..protocol import Change, ClaimedJob, Enqueued, Exists, Held, Position
from .places import Places
from .rows import (
    HELD_UP_UNTIL,
    LARGEST_INTEGER,
    SECOND,
    Key,
    Row,
    microseconds,
    seconds,
    since_epoch,
    within_bounds,
)

#: Earlier than any time of a row.
_EARLIEST: Final = -(2**63)


class Table:
    """All rows, by id, in the order they were inserted."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self._pending = defaultdict[str, list[Key]](list)
        self._live = defaultdict[str, dict[str, Row]](dict)
        #: By the id of its first attempt, the rows of a job's attempts.
        self._chains = defaultdict[str, list[Row]](list)
        #: By the id of its first attempt, the rows of what a job has started.
        self.children = defaultdict[str, list[Row]](list)
        #: By unique key, the id of the row that holds it.
        self._holders: dict[str, str] = {}
        #: The places of those whose queues have an order.
        self.places = Places()
        #: The ids of the rows that a stranger's transaction has locked.
        self.locked: set[str] = set()

    # Writing

    def insert_unless_taken(self, row: Row) -> Enqueued | Exists | Held:
        """Insert a row, unless its id is there or its key is held."""
        taken = self.taken(row)
        if taken is not None:
            return taken
        self.insert(row)
        return Enqueued(seconds(row.created_at))

    def taken(self, row: Row) -> Exists | Held | None:
        """What keeps a row from being inserted, if anything does."""
        if row.id in self.rows:
            existing = self.rows[row.id]
            return Exists(existing.answer(), existing.differs(row))
        if row.unique_key is not None and row.unique_key in self._holders:
            return Held(self._holders[row.unique_key])
        return None

    def insert(self, row: Row) -> None:
        """Insert a pending row whose id is new, and whose key nobody holds."""
        self.rows[row.id] = row
        self._chains[row.job_id].append(row)
        insort(self._pending[row.queue_name], row.key)
        self.places.put(row)
        if row.parent_id is not None:
            self.children[row.parent_id].append(row)
        if row.unique_key is not None:
            self._holders[row.unique_key] = row.id

    def remove(self, row: Row) -> None:
        """Undo an insert; once is enough."""
        if self.rows.pop(row.id, None) is None:
            return
        self._chains[row.job_id].remove(row)
        pending = self._pending[row.queue_name]
        del pending[bisect_left(pending, row.key)]
        self.places.take(row)
        if row.parent_id is not None:
            self.children[row.parent_id].remove(row)
        if row.unique_key is not None:
            del self._holders[row.unique_key]

    def delete(self, rows: Sequence[Row]) -> None:
        """Delete rows that have ended, as anybody may."""
        for row in rows:
            del self.rows[row.id]
            self._chains[row.job_id].remove(row)
            if not self._chains[row.job_id]:
                self.places.go_on(row.job_id)
            if row.parent_id is not None:
                self.children[row.parent_id].remove(row)
            if row.unique_key is not None and self._holders.get(row.unique_key) == row.id:
                del self._holders[row.unique_key]

    def write(self, verb: str, row: Row, **columns: Any) -> None:
        """Set columns of a row, and keep the indexes in step; only by a move that is legal."""
        before = row.status
        row.write(columns)
        after = row.status
        if after is before:
            return
        assert verb in MOVES.get((before, after), ()), f"{verb}: {before} → {after}"
        if after in FINAL:
            self.places.take(row)
        if before is JobStatus.PENDING:
            pending = self._pending[row.queue_name]
            del pending[bisect_left(pending, row.key)]
        elif after not in LIVE:
            del self._live[row.queue_name][row.id]
        if after is JobStatus.PENDING:
            insort(self._pending[row.queue_name], row.key)
        elif after in LIVE:
            self._live[row.queue_name][row.id] = row
        elif after in KEYLESS and row.unique_key is not None:
            del self._holders[row.unique_key]

    def change(self, row: Row, change: Change) -> None:
        """Change when a pending row is due, or its priority."""
        pending = self._pending[row.queue_name]
        del pending[bisect_left(pending, row.key)]
        if change.reschedule:
            row.scheduled_at = since_epoch(change.scheduled_at)
            row.unknown_since = None
            # rule: in memory, too, what is put off is held up no more
            row.limit_key = row.was_due_at = None
        if change.priority is not None:
            row.priority = change.priority
        insort(pending, row.key)

    def replace(self, row: Row, columns: dict[str, Any]) -> None:
        """Set what is given of a pending row anew."""
        pending = self._pending[row.queue_name]
        del pending[bisect_left(pending, row.key)]
        self.places.take(row)
        row.write(columns)
        self.places.put(row)
        insort(pending, row.key)

    def wake(self, row: Row, now: int) -> None:
        """Make a pending row due that is set aside for a message."""
        pending = self._pending[row.queue_name]
        del pending[bisect_left(pending, row.key)]
        row.scheduled_at = now if row.scheduled_at is None else min(row.scheduled_at, now)
        row.awaits = None
        insort(pending, row.key)

    def reschedule(self, row: Row, at: int) -> None:
        """Make a pending row due at another time."""
        pending = self._pending[row.queue_name]
        del pending[bisect_left(pending, row.key)]
        row.scheduled_at = at
        insort(pending, row.key)

    def hold_up(self, row: Row, key: str, at: int) -> None:
        """Make a pending row wait until another of its key has ended; it was due at `at`."""
        pending = self._pending[row.queue_name]
        del pending[bisect_left(pending, row.key)]
        row.limit_key, row.was_due_at, row.scheduled_at = key, at, HELD_UP_UNTIL
        insort(pending, row.key)

    def let_go(self, row: Row) -> None:
        """Make a pending row as it was before it was held up, if it was."""
        pending = self._pending[row.queue_name]
        del pending[bisect_left(pending, row.key)]
        if row.is_held_up:
            row.scheduled_at = None if row.was_due_at == row.created_at else row.was_due_at
        row.limit_key = row.was_due_at = None
        insort(pending, row.key)

    def redate(self, row: Row, now: int) -> None:
        """Date a pending row as if it were created now."""
        pending = self._pending[row.queue_name]
        del pending[bisect_left(pending, row.key)]
        if row.scheduled_at is not None:
            row.scheduled_at += now - row.created_at
        row.created_at = now
        insort(pending, row.key)

    def release(self, verb: str, row: Row, **columns: Any) -> None:
        """Make a live row pending again, with nothing of its claim left."""
        self.write(verb, row, **dict.fromkeys(OF_CLAIM), **columns)

    def cancel_held(self, verb: str, row: Row, now: int, reason: str | None = None) -> None:
        """End a live row as cancelled."""
        self.write(
            verb,
            row,
            cancelled_at=now,
            cancel_reason=row.cancel_reason if reason is None else reason,
            claim_token=None,
            lease_expires_at=None,
        )

    def end(
        self,
        verb: str,
        row: Row,
        now: int,
        failure_reason: str | None,
        next_attempt_id: str | None,
        allowed_losses: int,
        retry_after: int | None = None,
        **columns: Any,
    ) -> bool:
        """End an attempt; return whether the next was inserted, as the retry rule says.

        Without the id of a next attempt, this one is the last.
        """
        lost = failure_reason == FailureReason.HEARTBEAT_TIMEOUT.value
        self.write(
            verb,
            row,
            finished_at=now,
            failure_reason=failure_reason,
            losses=min(row.losses, LARGEST_INTEGER - 1) + lost,
            **columns,
        )
        if failure_reason is None or not has_next_attempt(
            FailureReason(failure_reason),
            attempt=row.attempt,
            max_attempts=row.max_attempts,
            losses=row.losses,
            allowed_losses=allowed_losses,
        ):
            return False
        if next_attempt_id is None or row.cancel_requested_at is not None:
            return False
        if next_attempt_id in self.rows:
            return False
        delay = (0 if lost else row.retry_delay) if retry_after is None else retry_after
        self.insert(
            Row(
                **row.inherited(),
                id=next_attempt_id,
                created_at=now,
                # What was lost with its process is followed at once, but for what goes on apart.
                scheduled_at=now + within_bounds(delay),
                attempt=min(row.attempt, LARGEST_INTEGER - 1) + 1,
                original_attempt_id=row.job_id,
                previous_attempt_id=row.id,
            )
        )
        return True

    # Reading

    def chain(self, id: str) -> list[Row]:
        """All attempts of a chain, in order, by the id of any of them."""
        row = self.rows.get(id)
        if row is None:
            return []
        return sorted(self._chains[row.job_id], key=lambda row: row.attempt)

    def tree(self, parents: Sequence[str], ids: Sequence[str]) -> Iterator[Row]:
        """All that jobs have started, down to the last, and the jobs of `ids` with all below them;
        ids are those of first attempts.
        """
        for id in ids:
            yield from self.chain(id)
        left = list(dict.fromkeys((*parents, *ids)))
        seen = set(left)
        while left:
            for row in self.children[left.pop()]:
                yield row
                if row.has_children and row.job_id not in seen:
                    seen.add(row.job_id)
                    left.append(row.job_id)

    def queue_names(self) -> list[str]:
        """The queues that have pending jobs, by name."""
        return sorted(name for name, pending in self._pending.items() if pending)

    def unended_queue_names(self) -> set[str]:
        """The queues that have jobs which have not ended."""
        return {*self.queue_names(), *(name for name, live in self._live.items() if live)}

    def pending(self, queue_name: str) -> Sequence[Key]:
        """The pending jobs of a queue, due or not, in the order of claims."""
        return self._pending[queue_name]

    def first_due(self, queue_name: str) -> int | None:
        """When the pending job of a queue is due, or was, that is the first, though it may wait."""
        return min((run_at for _, run_at, _ in self._pending[queue_name]), default=None)

    def holder(self, unique_key: str) -> str | None:
        """The id of the row that holds a unique key."""
        return self._holders.get(unique_key)

    def live(self, queue_name: str) -> list[Row]:
        """The rows of a queue that are reserved or executing."""
        return list(self._live[queue_name].values())

    def unlocked(self, queue_name: str) -> list[Row]:
        """Of these, the rows that nobody has locked."""
        return [row for row in self.live(queue_name) if row.id not in self.locked]

    def all_live(self) -> Iterator[Row]:
        """The same of every queue."""
        for queue in self._live.values():
            yield from queue.values()

    def held(self, claims: Sequence[ClaimedJob]) -> tuple[list[Row], set[str]]:
        """The live rows that are held by their claims; of those that are locked the ids alone."""
        held: dict[str, Row] = {}
        for id, token in claims:
            row = self.rows.get(id)
            if row is not None and row.claim_token == token and row.status in LIVE:
                held[id] = row
        locked = held.keys() & self.locked
        return [row for id, row in held.items() if id not in locked], locked

    def has_due(self, queue_name: str, now: int) -> bool:
        """Whether a pending job of a queue is due that waits for no other of its key."""
        due = self.due(queue_name, now, len(self._pending[queue_name]))
        return any(not self.places.waits(self.rows[id]) for _, _, id in due)

    def due(
        self, queue_name: str, now: int, limit: int, after: Sequence[Position] = ()
    ) -> list[Key]:
        """The first pending jobs of a queue that are due, in the order of claims."""
        pending = self._pending[queue_name]
        positions = {
            position.priority: (position.priority, microseconds(position.run_at), position.id)
            for position in after
        }
        last = max(positions, default=0)
        due: list[Key] = []
        for start, end in _levels(pending):
            if positions:
                position = positions.get(priority := pending[start][0])
                if position is not None:
                    start = bisect_right(pending, position, start, end)  # noqa: PLW2901
                    if start == end:
                        continue
                elif priority <= last:
                    continue
            due_end = bisect_left(pending, (pending[start][0], now + 1, ""), start, end)
            for at in range(start, due_end):
                if len(due) == limit:
                    return due
                id = pending[at][2]
                if id not in self.locked and not self.waits_for_end(self.rows[id]):
                    due.append(pending[at])
        return due

    def waits_for_end(self, row: Row) -> bool:
        """Whether a job that it follows is still to end."""
        return row.follows is not None and any(
            each.status not in FINAL for each in self.chain(row.follows)
        )

    def held_up(self, queue_name: str) -> dict[str, list[Row]]:
        """The pending rows of a queue that are held up, by their keys."""
        found = defaultdict[str, list[Row]](list)
        pending = self._pending[queue_name]
        for _, end in _levels(pending):
            # They come last in their priority.
            for at in range(end - 1, -1, -1):
                row = self.rows[pending[at][2]]
                if not row.is_held_up:
                    break
                found[row.limit_key or ""].append(row)
        return found

    def misdated(self, queue_name: str, now: int) -> Iterator[Row]:
        """The pending jobs that were created more than a second from now, and nobody scheduled."""
        pending = self._pending[queue_name]
        for start, end in _levels(pending):
            first = bisect_left(pending, (pending[start][0], now + SECOND + 1, ""), start, end)
            for at in range(first, end):
                row = self.rows[pending[at][2]]
                is_scheduled = row.scheduled_at is not None and row.previous_attempt_id is None
                if row.created_at > now + SECOND and not is_scheduled:
                    yield row

    def next_due(self, queue_name: str) -> int | None:
        """When the next pending job of a queue is due, or was."""
        pending = self._pending[queue_name]
        return min(
            (
                pending[at][1]
                for start, end in _levels(pending)
                if (at := self._first(pending, start, end)) is not None
            ),
            default=None,
        )

    def _first(self, pending: Sequence[Key], start: int, end: int) -> int | None:
        """Where the first job is, of one priority, that waits for no other's end."""
        return next(
            (
                at
                for at in range(start, end)
                if not self.waits_for_end(row := self.rows[pending[at][2]])
                and not self.places.waits(row)
            ),
            None,
        )


def _levels(pending: Sequence[Key]) -> Iterator[tuple[int, int]]:
    """Where the jobs of each priority begin and end, the most urgent first."""
    start = 0
    while start < len(pending):
        end = bisect_left(pending, (pending[start][0] + 1, _EARLIEST, ""), start)
        yield start, end
        start = end
