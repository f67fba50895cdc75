"""A job that was started in a nursery of jobs, as its handler sees it."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import trio

from ._base_queue import BaseQueue
from ._errors import NoJobRecordFound, UsageError
from ._in_transaction import refuse_in_transaction
from ._job import JobId, JobRecord
from ._record import decode_record, output_of
from ._store.protocol import JobRow
from ._without_slot import without_slot

Result_co = TypeVar("Result_co", covariant=True)


class ChildJob(Generic[Result_co]):
    """A job that was started in a nursery.

    Attributes:
        id: of its first attempt, which names the job: by it any client can cancel it, or ask for
            the result of one that is detached.
        queue: where it was put.
    """

    def __init__(
        self, queue: BaseQueue[Any, Any, Any], id: str, *, is_detached: bool = False
    ) -> None:
        self.queue = queue
        self.id: Final = JobId(id)
        self._is_detached = is_detached
        self._ended = trio.Event()
        self._record: JobRecord[Any, Any, Any] | None = None
        #: Why there is no record, once it has ended.
        self._error: Exception | None = None
        #: Whether its insert has failed, and nobody knows whether it is there.
        self.is_doubtful = False

    async def result(self) -> Result_co:
        """Wait until the job has ended, and return what its handler returned.

        Raises:
            Exception, JobFailed, JobCancelled, JobRecordFetchDecodeErrors, NoJobRecordFound,
                ClientClosed: as `M25.result` does. Within the nursery's block it is `Cancelled` for
                the most part, since a job that fails cancels the block.
        """
        refuse_in_transaction("ChildJob.result()")
        if not self._ended.is_set() and not self._is_detached:
            async with without_slot():
                await self._ended.wait()
        else:
            await trio.lowlevel.checkpoint()
        return self.output

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, as far as is known here."""
        return self._ended.is_set()

    @property
    def output(self) -> Result_co:
        """What its handler returned; to be read once it has ended, as after the nursery's block.

        Raises:
            UsageError: it has not ended, or was started with `detached=True`.
            Exception, JobFailed, JobCancelled, JobRecordFetchDecodeErrors, NoJobRecordFound,
                ClientClosed: as `M25.result` does.
        """
        output: Result_co = output_of(self.record)
        return output

    @property
    def record(self) -> JobRecord[Any, Result_co, Any]:
        """The record in which it ended.

        Raises:
            UsageError, JobRecordFetchDecodeErrors, NoJobRecordFound, ClientClosed: as for `output`.
        """
        if self._record is not None:
            return self._record
        if self._error is not None:
            raise self._error
        if self._is_detached:
            raise UsageError(
                f"job {self.id} of queue {self.queue.name!r} was started with detached=True, and"
                " its nursery does not wait for it; m.result does, from outside of the block"
            )
        raise UsageError(
            f"job {self.id} of queue {self.queue.name!r} has not ended; await its result(), or"
            " leave the nursery's block first"
        )

    def __repr__(self) -> str:
        return f"<ChildJob {self.id} of queue {self.queue.name!r}>"

    def end(self, row: JobRow | None, lost: Exception | None) -> Exception | None:
        """Note how it has ended; return what that is to its nursery, if it is an error."""
        self._ended.set()
        try:
            if lost is not None:
                raise lost
            if row is None or row.queue_name != self.queue.name:
                raise NoJobRecordFound(self.id, self.queue.name)
            self._record = decode_record(row, self.queue)
        except Exception as unreadable:  # noqa: BLE001 - it is raised to whoever asks
            self._error = unreadable
            return unreadable
        try:
            output_of(self._record)
        except Exception as raised:  # noqa: BLE001 - likewise
            return raised
        return None
