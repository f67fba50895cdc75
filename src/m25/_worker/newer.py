"""Jobs that are left to newer workers: how they are released, told of, and looked at again.

They stand in a line, of which a few are looked at every five seconds. A worker that knows what is
in the input of one is a newer worker. It does not wait for the others' turns: for each job that it
knows, it recalls some more from the line. So it soon has all that it knows. Where it knows few of
them, what it recalls in vain is in proportion to what it runs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import trio

from .._events import InputNewer
from .._runtime import Runtime
from .._store.protocol import JobRow, Release
from . import plan
from .endings import LeftToNewer, Result, Unfinished

if TYPE_CHECKING:
    from .executor import Executor

#: For how long no further job is told of, in seconds.
_SILENCE: Final = 60.0
#: For each job that others did not know and this worker does, it recalls so many.
_RECALLED: Final = 10
#: How many jobs one statement recalls at most.
_LARGEST_RECALL: Final = 500


class NewerInputs:
    """One for each manager; it counts what it does not tell of."""

    def __init__(self, queue_name: str, runtime: Runtime) -> None:
        self._queue_name = queue_name
        self._runtime = runtime
        self._releases = 0
        self._tell_at = -math.inf
        #: How many jobs are to be recalled.
        self._to_recall = 0

    @property
    def owes_recall(self) -> bool:
        """Whether jobs are to be recalled."""
        return self._to_recall > 0

    def ran(self, row: JobRow, result: Result | None) -> None:
        """Note what became of a job that had been left to newer workers."""
        is_known = result is Unfinished.COMMITTED or not (
            result is None or isinstance(result, Unfinished | LeftToNewer)
        )
        if not is_known or plan.has_waited_for_newer(row):
            return
        self._to_recall += _RECALLED  # rule: a newer worker asks for more of what it knows

    async def recall(self) -> None:
        """Recall some of the jobs that are to be recalled.

        Raises:
            StatementFailed: the database did not answer; they are still to be recalled.
        """
        size = min(self._to_recall, _LARGEST_RECALL)
        recalled = await self._runtime.store.recall_newer(self._queue_name, size)
        self._to_recall = self._to_recall - size if recalled == size else 0

    def release(self, executor: Executor, left: LeftToNewer) -> Release:
        """The release of a job; it is told, unless another one was told of just now."""
        self._releases += 1
        now = trio.current_time()
        if now >= self._tell_at:  # rule: newer inputs are told once a minute
            self._tell_at = now + _SILENCE
            self._runtime.events.emit(
                InputNewer(
                    queue=self._queue_name,
                    job_id=executor.row.id,
                    path=left.path,
                    reason=left.reason,
                    releases=self._releases,
                )
            )
            self._releases = 0
        return Release(*executor.job, is_newer=True, children_of=executor.children_of)
