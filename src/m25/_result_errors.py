"""What is raised in place of the result of a job that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._errors import M25Error

if TYPE_CHECKING:
    from ._job import JobRecord


class JobFailed(M25Error):
    """A job has failed for good, and not by an error that its queue declares.

    Its handler crashed, took too long, or was lost with its process. `record` is the last attempt's
    and says which, with the traceback of a crash.
    """

    def __init__(self, record: JobRecord[Any, Any, Any]) -> None:
        reason = "" if record.failure_reason is None else record.failure_reason.value
        if record.crash_type is not None:
            # Its message may hold a payload.
            reason += f", {record.crash_type}"
        attempts = "1 attempt" if record.attempt == 1 else f"{record.attempt} attempts"
        super().__init__(
            f"job {record.id} of queue {record.queue_name!r} failed after {attempts}: {reason};"
            " this error's `record` has the rest"
        )
        self.record = record


class JobCancelled(M25Error):
    """A job was cancelled, or had expired; `record` says by whom and why, if anybody said so.

    So does the message, in the words that `cancel_job` was given.
    """

    def __init__(self, record: JobRecord[Any, Any, Any]) -> None:
        by = "" if record.cancelled_by is None else f" by {record.cancelled_by!r}"
        why = "" if record.cancel_reason is None else f", because {record.cancel_reason!r}"
        super().__init__(
            f"job {record.id} of queue {record.queue_name!r} was cancelled{by}{why}; this error's"
            " `record` has the rest"
        )
        self.record = record
