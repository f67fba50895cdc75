"""Whether a job's handler is cancelled from outside of its attempt, as by a stop of its queue.

A `Cancelled` does not say whose it is. What a stop cuts short runs again, and finds the jobs that
it has started; what ends by its own deadline, or by a scope of its own, takes them along. So a task
beside the attempt's own, in the same scopes but for the attempt's, tells whether it is cancelled.
"""

from __future__ import annotations

import trio

from ._running_job import Attempt, current_attempt


class OuterCancel:
    """What is known of the scopes around an attempt."""

    def __init__(self) -> None:
        self._is_cancelled = False
        self._scope = trio.CancelScope()

    async def is_cancelled(self) -> bool:
        """Whether one of them is cancelled, asked by a handler that is.

        Both tasks were cancelled at once, and the other one has its turn now.
        """
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
        return self._is_cancelled

    def begin(self, attempt: Attempt) -> None:
        """Watch from now on. To be called by the handler, or a task of it."""
        nursery = _nursery_around(attempt)
        if nursery is not None:
            nursery.start_soon(self._watch)

    async def _watch(self) -> None:
        """Wait beside the attempt, until that needs to know no more."""
        with self._scope:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                self._is_cancelled = not self._scope.cancel_called
                raise

    def end(self) -> None:
        """Nobody asks any more."""
        self._scope.cancel()


def _nursery_around(attempt: Attempt) -> trio.Nursery | None:
    """The nursery in which the attempt's own task is."""
    task = trio.lowlevel.current_task()
    nursery = task.parent_nursery
    while nursery is not None and nursery.parent_task.context.get(current_attempt) is attempt:
        task = nursery.parent_task
        nursery = task.parent_nursery
    return nursery
