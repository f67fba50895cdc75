"""What is raised about jobs that have a `Unique`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._errors import M25Error, UniqueKeyConflict

if TYPE_CHECKING:
    from ._job import JobId


class UniqueJobConflict(UniqueKeyConflict):
    """A job of the queue holds the key of a `Unique`; nothing was written.

    `unique_key` is the key, `job_id` the id of the job that holds it, and `status` how that job
    stands; `None` where its row was deleted, and the key is held for ever.
    """

    def __init__(self, key: str, queue_name: str, job_id: JobId, status: str | None) -> None:
        stands = "was deleted" if status is None else f"is {status}"
        M25Error.__init__(
            self,
            f"the key {key!r} of queue {queue_name!r} is held by job {job_id}, which {stands}; a"
            " Unique says by its `then` what becomes of a job whose key is held",
        )
        self.unique_key = key
        self.queue_name = queue_name
        self.job_id = job_id
        self.status = status
