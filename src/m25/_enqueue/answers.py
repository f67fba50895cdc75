"""What `enqueue_many` answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload
from uuid import UUID

import attrs

from .._errors import UniqueKeyConflict
from .._job import JobId
from .._unique import UniqueOutcome


class JobIds(Sequence[JobId]):
    """A sequence of job ids that takes sixteen bytes for each."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = bytearray()

    def _add(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._bytes += UUID(id).bytes

    def __len__(self) -> int:
        return len(self._bytes) // 16

    @overload
    def __getitem__(self, index: int) -> JobId: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[JobId]: ...

    def __getitem__(self, index: int | slice) -> JobId | Sequence[JobId]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        start = range(len(self))[index] * 16
        return JobId(UUID(bytes=bytes(self._bytes[start : start + 16])))

    def __iter__(self) -> Iterator[JobId]:
        return (self[position] for position in range(len(self)))

    def __repr__(self) -> str:
        return f"<{len(self)} job ids>"


@attrs.frozen
class EnqueuedMany:
    """What became of the jobs that were given to `enqueue_many`."""

    #: An id for each job, in the order of the jobs; for a job that was skipped, the id of the job
    #: that holds its unique key.
    ids: JobIds = attrs.field(factory=JobIds)
    #: Why each skipped job was skipped, by its position among all jobs, counted from 0.
    conflicts: dict[int, UniqueKeyConflict] = attrs.field(factory=dict[int, UniqueKeyConflict])
    #: What became of each job that has a `Unique`, by its position. Where that is "returned",
    #: "replaced" or "debounced", the id is that of the job that has its key.
    unique_outcomes: dict[int, UniqueOutcome] = attrs.field(factory=dict[int, UniqueOutcome])
