"""The keys of queues in memory: which job was the last to take each, and who takes it next."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..columns import GIVEN
from ..protocol import Enqueued, Exists, Held, Twin, UniqueAnswer, UniqueJob
from ..uniqueness import Decision, Taker, decide
from .rows import MICROSECOND, Row, seconds
from .table import Table

#: What a job keeps though another one takes its place.
_KEPT = ("id", "queue_name", "scheduled_at", "unique_key", "waiter", "parent_id")


class _Taken(NamedTuple):
    job_id: str
    holding: str
    #: `None` where it does not hold the key within a time.
    until: int | None


class Keys:
    """The keys that were ever taken, by queue and key."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._taken: dict[tuple[str, str], _Taken] = {}
        #: Of the latest transaction, the rows that were replaced, with what they held before.
        self._replaced: list[tuple[Row, dict[str, Any]]] = []

    def put(self, new: UniqueJob, row: Row, now: int) -> UniqueAnswer:
        """Put a job on its queue, or what becomes of it; `row` is its row."""
        key = new.job.queue_name, new.key
        taken = self._taken.get(key)
        follows: str | None = None
        if row.id in self._table.rows:
            answer = self._table.taken(row)
            assert isinstance(answer, Exists)
            return answer
        if taken is not None:
            taker = self._taker(taken, now)
            match decide(new, taker):
                case Decision.REFUSE:
                    return Held(taker.id, taker.row and taker.row.status)
                case Decision.RETURN:
                    assert taker.row is not None
                    return Twin(taker.row, is_changed=False)
                case Decision.REPLACE:
                    assert taker.row is not None
                    twin = self._table.rows[taker.row.id]
                    self._replace(twin, row, moves=new.then == "debounce")
                    return Twin(twin.answer(), is_changed=True)
                case Decision.FOLLOW:
                    follows = taker.id
                case Decision.INSERT:
                    pass
        row.has_begun, row.follows = False, follows
        self._table.insert(row)
        until = None if new.within is None else now + new.within // MICROSECOND
        self._taken[key] = _Taken(row.id, new.holding, until)
        return Enqueued(seconds(row.created_at), follows)

    def is_of(self, job_id: str) -> bool:
        """Whether a job was the last to take some key."""
        return any(taken.job_id == job_id for taken in self._taken.values())

    @contextmanager
    def transaction(self) -> Generator[None]:
        """A block that undoes what it has done to keys and their jobs, if it raises."""
        taken = dict(self._taken)
        self._replaced.clear()
        try:
            yield
        except BaseException:
            self._taken = taken
            for row, columns in reversed(self._replaced):
                self._table.replace(row, columns)
            raise

    def _taker(self, taken: _Taken, now: int) -> Taker:
        chain = self._table.chain(taken.job_id)
        row = chain[-1].answer() if chain else None
        latest = Taker(taken.job_id, is_held=True, row=row)
        match taken.holding:
            case "pending":
                is_held = not latest.has_begun
            case "live":
                is_held = latest.is_live
            case "within":
                is_held = taken.until is not None and taken.until > now
            case _:
                is_held = True
        return latest._replace(is_held=is_held)

    def _replace(self, twin: Row, row: Row, *, moves: bool) -> None:
        given: dict[str, Any] = {name: getattr(row, name) for name in GIVEN if name not in _KEPT}
        if moves:
            given["scheduled_at"] = row.scheduled_at
        elif twin.is_held_up:
            given["scheduled_at"] = None if twin.was_due_at == twin.created_at else twin.was_due_at
        # A job that moves to another key, or time, comes last.
        if moves or row.order_key != twin.order_key:
            given["order_number"] = None
        # Its key under a limit may be another now: it is to be looked at anew.
        given["limit_key"] = given["was_due_at"] = None
        self._replaced.append((twin, {name: getattr(twin, name) for name in given}))
        self._table.replace(twin, given)
