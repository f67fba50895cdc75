"""`current_job()`: the job whose handler is calling, and what it can reach."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
import trio

from ._errors import NotInJob
from ._job import Error, Input, JobId, JobRecord, Output

if TYPE_CHECKING:
    from ._client import M25


@attrs.frozen(kw_only=True)
class RunningJob(JobRecord[Input, Output, Error]):
    """The job whose handler is calling: its record, as it was when the handler started, and more.

    `id` is the attempt's: each retry has its own.
    """

    #: Set once the queues of this client begin to stop. A handler that can end early, and be run
    #: again later, looks at it or waits for it: after `shutdown_grace` it is cancelled.
    stopping: trio.Event = attrs.field(repr=False, eq=False)
    #: The client that runs the job.
    m: M25 = attrs.field(repr=False, eq=False)

    @property
    def job_id(self) -> JobId:
        """The id of the chain's first attempt, the same for all attempts: an idempotency key."""
        return self.id if self.original_attempt_id is None else self.original_attempt_id


class Attempt(Protocol):
    """What runs a job, as its handler's task knows it."""

    def running_job(self) -> RunningJob[Any, Any, Any]:
        """The job: made when it is first asked for, since most handlers do not ask."""
        ...


#: Set in an executor's task, and so in all tasks that its handler starts.
current_attempt: Final[ContextVar[Attempt]] = ContextVar("m25_current_job")


def current_job() -> RunningJob[Any, Any, Any]:
    """The job whose handler is calling, as its record was when the handler started.

    It works in the handler's own task, in the tasks that the handler starts, in threads that these
    wait for by `trio.to_thread`, and in `setup` and `around`. A handler that runs in a process of
    its own has none.

    Raises:
        NotInJob: called outside a handler.
        JobRecordFetchDecodeErrors: the row holds a value that Python's types cannot hold.
    """
    attempt = current_attempt.get(None)
    if attempt is None:
        raise NotInJob("current_job() can only be called from within a handler")
    return attempt.running_job()
