"""Jobs that are left to newer workers: how they are released, and told of in one line a minute."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import trio

from .._emitter import Emitter
from .._events import InputNewer
from .._store.protocol import Release
from .endings import LeftToNewer

if TYPE_CHECKING:
    from .executor import Executor

#: For how long no further job is told of, in seconds.
_SILENCE: Final = 60.0


class NewerInputs:
    """One for each manager; it counts what it does not tell of."""

    def __init__(self, queue_name: str, events: Emitter) -> None:
        self._queue_name = queue_name
        self._events = events
        self._releases = 0
        self._tell_at = -math.inf

    def release(self, executor: Executor, left: LeftToNewer) -> Release:
        """The release of a job; it is told, unless another one was told of just now."""
        self._releases += 1
        now = trio.current_time()
        if now >= self._tell_at:  # rule: newer inputs are told once a minute
            self._tell_at = now + _SILENCE
            self._events.emit(
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
