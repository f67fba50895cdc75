"""What is raised where nobody says where a handler waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._errors import M25Error

if TYPE_CHECKING:
    from ._job import JobId


class NotRunning(M25Error):
    """The job has no stack: it waits, has ended or is gone, or a worker of the original m25, which
    cannot be asked, runs it.
    """

    def __init__(self, job_id: JobId, status: str) -> None:
        if status in ("reserved", "executing"):
            why = "a worker of the original m25 runs it, which cannot be asked for a stack"
        else:
            why = "only a job that runs has a stack"
        super().__init__(f"job {job_id} is {status}: {why}")
        self.job_id = job_id
        #: That of its latest attempt; "deleted" where that is gone.
        self.status = status


class StackUnanswered(M25Error):
    """The worker that runs the job has not answered in time."""

    def __init__(self, job_id: JobId, queue_name: str, seconds: float) -> None:
        super().__init__(
            f"the worker of job {job_id} of queue {queue_name!r} has not answered within"
            f" {seconds:g} s: its process stands still or is gone, or it is an older m25; look for"
            " LoopStalled in its log, and see `m25 doctor`"
        )
        self.job_id = job_id
        self.queue_name = queue_name
        self.seconds = seconds
