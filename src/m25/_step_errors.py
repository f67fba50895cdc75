"""What is raised in a handler of what its job keeps over attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._errors import M25Error, UsageError

if TYPE_CHECKING:
    from ._job import JobId


class ClaimLost(M25Error):
    """A handler wants to keep a step, and its job is another process's by now, or has ended.

    The handler is being cancelled; this is raised where it shields itself from that.
    """

    def __init__(self, job_id: JobId) -> None:
        super().__init__(f"job {job_id}: another process has it by now, or it has ended")
        self.job_id = job_id


class WaitsShielded(UsageError):
    """`job.sleep` or `job.receive` was called in a scope that shields it from cancellation.

    The job is set aside by cancelling its handler. Call it outside of the `CancelScope` with
    `shield=True`.
    """

    def __init__(self, call: str) -> None:
        super().__init__(
            f"{call} was called in a scope that shields it from cancellation, and the job is set"
            " aside by cancelling its handler; call it outside of that scope"
        )
        self.call = call


class StepChanged(UsageError):
    """A step is kept, and is given something else now than it was given then."""

    def __init__(self, job_id: JobId, name: str, key: str) -> None:
        super().__init__(
            f"job {job_id}: step {name!r} (key {key!r}) is kept, and when it was done, what it was"
            " given was other JSON than what it is given now. If it is to be done again, give it"
            " another name; if it is another step of the same name, give each a key=; if what it is"
            " given cannot stay the same, bind that by functools.partial"
        )
        self.job_id = job_id
        self.name = name
        self.key = key
