"""What `enqueue_many` answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload
from uuid import UUID

import attrs

from .._errors import UniqueKeyConflict
from .._job import JobId


class JobIds(Sequence[JobId]):
    """Ids of jobs, sixteen bytes each, however many."""

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

    #: The id of each, in the order in which they came; where a job was skipped, the id of the one
    #: that holds its unique key.
    ids: JobIds = attrs.field(factory=JobIds)
    #: The jobs that were skipped, by their position among all.
    conflicts: dict[int, UniqueKeyConflict] = attrs.field(factory=dict[int, UniqueKeyConflict])
