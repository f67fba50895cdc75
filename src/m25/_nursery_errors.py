"""What is raised in a handler of the jobs that it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._errors import M25Error

if TYPE_CHECKING:
    from ._job import JobId


class StartRefused(M25Error):
    """A handler that was cancelled, or whose claim is lost, goes on all the same, and starts jobs.

    It starts no more: nobody would wait for them. It is raised where the handler shields itself
    from its cancellation.
    """

    def __init__(self, job_id: JobId) -> None:
        super().__init__(
            f"job {job_id} starts no more jobs: its cancel was asked for, or another process has it"
        )
        self.job_id = job_id
