"""Calls handlers in threads.

Nothing can end a thread from outside. So the deadline of a job, and whatever else cancels its
executor, is kept back while its handler runs in a thread: the row stays executing until the thread
has ended. Only where the queue itself is cancelled, as at the end of a stop's grace, is the thread
left to itself, and its attempt failed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import trio

from .._running_job import current_attempt

if TYPE_CHECKING:
    from .executor import Executor


class Threads:
    """One for each queue whose handler runs in threads."""

    def __init__(self, function: Callable[..., Any], max_concurrency: int) -> None:
        self._function = function
        # A thread that was left to itself keeps its place until it ends. Trio's own limiter is for
        # what others do in threads.
        self._limiter = trio.CapacityLimiter(max_concurrency)

    async def call(self, *args: Any, **kwargs: Any) -> Any:
        """Call the handler in a thread, for the job whose task this is."""
        executor = cast("Executor", current_attempt.get())
        # Whoever takes it first decides: the thread, that the handler is called; or this task, once
        # it is cancelled, that the handler is not.
        call_taken = threading.Lock()

        def run() -> Any:
            if call_taken.acquire(blocking=False):
                return self._function(*args, **kwargs)
            return None

        executor.enter_thread()
        try:
            return await trio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._limiter)
        except trio.Cancelled:
            if not call_taken.acquire(blocking=False):
                executor.abandon_thread()
            raise
        finally:
            executor.leave_thread()
