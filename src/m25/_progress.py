"""How far a job has come: what its handler reports, and where its cursors stand.

Both are in one column, which the next attempt inherits: `{"report": …, "cursors": {name: key}}`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final
from weakref import WeakValueDictionary

import attrs

from ._codec import Codec, Undecodable, value_codec
from ._errors import JobRecordFetchJsonDecodeError, UsageError, ValueRefused
from ._job import JobId
from ._store.protocol import JobRow


@attrs.frozen
class Progress:
    """How far a job has come, as its handler reported last."""

    #: How much is done, of how much, in a unit of the handler's own.
    done: int | float | None = None
    total: int | float | None = None
    #: What the handler says of it, for people.
    note: str | None = None


@attrs.frozen
class _Kept:
    """What is in the column."""

    report: Progress | None = None
    cursors: dict[str, Any] = attrs.field(factory=dict[str, Any])


#: In characters: each report replaces the one before, and is written whole.
_LONGEST_NOTE: Final = 1_000

_KEPT: Final[Codec[_Kept]] = value_codec(_Kept, "progress")
_PROGRESS: Final[Codec[Progress]] = value_codec(Progress, "progress")
_ANYTHING: Final[Codec[Any]] = value_codec(Any, "key")


def _decode(row: JobRow) -> _Kept:
    if row.progress is None:
        return _Kept()
    try:
        return _KEPT.decode(row.progress)
    except Undecodable as error:
        raise JobRecordFetchJsonDecodeError(
            JobId(row.id), "progress", error.path, error.reason
        ) from error


def read_report(row: JobRow) -> Progress | None:
    """What was reported last of a job, as its row has it.

    Raises:
        JobRecordFetchJsonDecodeError: the row holds something else.
    """
    return _decode(row).report


class ProgressNotes:
    """What a running attempt has noted, on top of what the attempts before it had.

    Args:
        row: the attempt's.
        changed: called whenever there is something new to be written.

    Raises:
        JobRecordFetchJsonDecodeError: the row holds something else in that column.
    """

    def __init__(self, row: JobRow, changed: Callable[[ProgressNotes], None]) -> None:
        kept = _decode(row)
        self._changed = changed
        self._sources: list[AsyncGenerator[Any]] = []
        #: Weak: a cursor whose loop was left is dropped, and its name is free again.
        self._open_cursors = WeakValueDictionary[str, object]()
        # Kept as JSON: a cursor moves once for each item, and is written with a heartbeat.
        self._report = "null" if kept.report is None else _PROGRESS.encode(kept.report, "progress")
        self._cursors = {
            name: _ANYTHING.encode(key, f"cursor {name!r}") for name, key in kept.cursors.items()
        }

    @property
    def text(self) -> str:
        """All of it, as the column has it."""
        cursors = ",".join(f"{json.dumps(name)}:{key}" for name, key in self._cursors.items())
        return f'{{"report":{self._report},"cursors":{{{cursors}}}}}'

    def report(self, progress: Progress) -> None:
        """Note how far the handler has come.

        Raises:
            ValueRefused: it holds something else than numbers from 0 on and a text of at most 1,000
                characters that JSON can hold.
        """
        for name in ("done", "total"):
            number: object = getattr(progress, name)
            if isinstance(number, int | float) and number < 0:
                raise ValueRefused("progress", f".{name}", "it must be a number from 0 on")
        note: object = progress.note
        if isinstance(note, str) and len(note) > _LONGEST_NOTE:
            raise ValueRefused(
                "progress",
                ".note",
                f"it must be at most {_LONGEST_NOTE} characters long, not {len(note)}",
            )
        self._report = _PROGRESS.encode(progress, "progress")
        self._changed(self)

    def position(self, name: str) -> str | None:
        """Where a cursor stands, as JSON; `None` where it has not moved yet."""
        return self._cursors.get(name)

    def move(self, name: str, key: str) -> None:
        """Note where a cursor stands, as JSON."""
        self._cursors[name] = key
        self._changed(self)

    def open_cursor(self, name: str, cursor: object) -> None:
        """Note that a cursor is open.

        Raises:
            UsageError: another of this name is: they would move the same position.
        """
        if self._open_cursors.get(name) is not None:
            raise UsageError(
                f"a cursor {name!r} of this job is open already, and both would move the same"
                " position: give the second a name of its own, or end the loop of the first"
            )
        self._open_cursors[name] = cursor

    def close_cursor(self, name: str, cursor: object) -> None:
        """Note that a cursor has come to its end."""
        if self._open_cursors.get(name) is cursor:
            del self._open_cursors[name]

    def opened(self, source: AsyncGenerator[Any]) -> None:
        """Note that a cursor goes through a source, which is to be closed with the handler."""
        self._sources.append(source)

    async def close(self) -> None:
        """Close the sources that cursors have left, as where their loops were left by an error."""
        while self._sources:
            await self._sources.pop().aclose()
