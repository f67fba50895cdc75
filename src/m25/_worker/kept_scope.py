"""A cancel scope for the jobs that a task runs, one after the other.

To enter a scope and to leave it takes Trio longer than a short handler takes. So a task keeps its
scope from one job to the next, and each job gives it a deadline of its own. What is left of one
job's cancellation must not reach the next job: a scope that was cancelled, or whose deadline has
passed, ends with its job, and the next job has a new scope.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import Final

import trio

#: Of a task, what tells its scopes apart: another object in each scope that the task enters. Trio
#: has no public name for it. Where a Trio has not this one either, no scope is kept.
_PLACE: Final = "_cancel_status"


class KeptScope:
    """One for each task that runs jobs; to be closed by the task before it does anything else.

    with kept.until(deadline) as scope: ...
    """

    __slots__ = ("_deadline", "_place", "_task", "scope")

    def __init__(self) -> None:
        self._task = trio.lowlevel.current_task()
        #: That of the job that runs; or that of the latest job, if it is kept for the next one.
        self.scope: trio.CancelScope | None = None
        #: Where the task is while it is in this scope, and in no scope within it.
        self._place: object = None
        self._deadline = math.inf

    def until(self, deadline: float) -> KeptScope:
        """What is to be entered for a job that must end by then, by Trio's clock."""
        self._deadline = deadline
        return self

    def __enter__(self) -> trio.CancelScope:
        scope = self.scope
        if scope is None:
            scope = trio.CancelScope(deadline=self._deadline)
            scope.__enter__()
            self.scope, self._place = scope, getattr(self._task, _PLACE, None)
        elif scope.deadline != self._deadline:
            scope.deadline = self._deadline
        return scope

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        scope = self.scope
        assert scope is not None
        if (
            error is None
            # rule: what is left of a job's cancellation does not reach the next job
            and not scope.cancel_called
            # rule: a scope that a handler has left open does not reach the next job
            and (self._place is not None and getattr(self._task, _PLACE, None) is self._place)
        ):
            return False
        self.scope = None
        return scope.__exit__(kind, error, traceback)

    def close(self) -> None:
        """Leave the scope, if one is kept: between two jobs its deadline may be over."""
        scope, self.scope = self.scope, None
        if scope is not None:
            scope.__exit__(None, None, None)
