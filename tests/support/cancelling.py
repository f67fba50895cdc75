"""Cancels a call at its first, second, … n-th checkpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


class _CancelAfter(trio.abc.Instrument):
    """Cancels a scope when a task has given up control so many times."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, steps: int) -> None:
        self._task = task
        self._scope = scope
        self._left = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self._scope.cancel()


async def cancelled_at(checkpoint: int, call: Callable[[], Awaitable[object]]) -> bool:
    """Run a call, and cancel it where it gives up control for the n-th time; 0 is before it begins.

    Return whether it was too quick for that.
    """
    with trio.CancelScope() as scope:
        if checkpoint == 0:
            scope.cancel()
            await call()
            return False
        instrument = _CancelAfter(trio.lowlevel.current_task(), scope, checkpoint)
        trio.lowlevel.add_instrument(instrument)
        try:
            await call()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return not scope.cancel_called


async def cancelled_within(seconds: float, call: Callable[[], Awaitable[object]]) -> bool:
    """Run a call, and cancel it after so long. Return whether it was too quick for that."""
    with trio.move_on_after(seconds) as scope:
        await call()
    return not scope.cancel_called
