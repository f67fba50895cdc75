"""A mock clock that jumps when nothing is left to do stands while somebody waits for a thread.

Such a clock (pytest-trio's `autojump_clock`) cannot see what goes on outside of Trio: while a
handler waits for a thread, a process or a socket, all tasks wait, and so the clock would jump to
the handler's deadline.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import trio
from trio.testing import MockClock

from ._processes import WAITS
from ._running_job import Attempt, current_attempt

#: The code by which a task waits for something outside of Trio. For threads, and processes of m25,
#: that is whoever waits; else it is handlers alone, as a test may have a server that waits on.
_FOR_ALL: Final = frozenset(
    inspect.unwrap(wait).__code__ for wait in (trio.to_thread.run_sync, *WAITS)
)
_FOR_HANDLERS: Final = _FOR_ALL | {
    inspect.unwrap(wait).__code__
    for wait in (trio.lowlevel.wait_readable, trio.lowlevel.wait_writable)
}


@contextmanager
def standing_mock_clock() -> Generator[None]:
    """In this block, a mock clock does not jump while a thread, or the like, is waited for."""
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, MockClock):
        yield
        return
    try:
        holder = _holder.get()
    except LookupError:
        holder = _Holder(clock)
        _holder.set(holder)
    with holder.watching():
        yield


class _Holder(trio.abc.Instrument):
    """One for each run of Trio that has a mock clock."""

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock
        self._threshold = math.inf
        self._waiting: set[trio.lowlevel.Task] = set()
        #: Of live tasks that a handler has started, or what it has started: of which attempt.
        self._started: dict[trio.lowlevel.Task, Attempt] = {}
        self._blocks = 0

    @contextmanager
    def watching(self) -> Generator[None]:
        if not self._blocks:
            trio.lowlevel.add_instrument(self)
        self._blocks += 1
        try:
            yield
        finally:
            self._blocks -= 1
            if not self._blocks:
                trio.lowlevel.remove_instrument(self)
                for task in tuple(self._waiting):
                    self.task_scheduled(task)
                self._started.clear()

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """A task was started, with the context of whoever started it."""
        if (attempt := task.context.get(current_attempt)) is not None:
            self._started[task] = attempt

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """A task has ended."""
        self._started.pop(task, None)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task has run until it waits, or has ended."""
        if not self._waits_outside(task):
            # Where it only gave others a turn, it was scheduled before its step was over.
            self.task_scheduled(task)
            return
        if not self._waiting:
            self._threshold = self._clock.autojump_threshold
            self._clock.autojump_threshold = math.inf
        self._waiting.add(task)

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """A task waits no longer."""
        if task in self._waiting:
            self._waiting.remove(task)
            if not self._waiting:
                self._clock.autojump_threshold = self._threshold

    def _waits_outside(self, task: trio.lowlevel.Task) -> bool:
        coro: Any = task.coro
        if getattr(coro, "cr_frame", None) is None:
            return False
        codes = _FOR_HANDLERS if self._is_handlers(task) else _FOR_ALL
        return any(frame.f_code in codes for frame, _ in task.iter_await_frames())

    def _is_handlers(self, task: trio.lowlevel.Task) -> bool:
        """Whether it is a handler, or a task below it: its attempt ends no sooner.

        What a handler starts in a nursery from elsewhere, as a client's pool does, has the context
        of the attempt, too, and may wait for a socket for ever.
        """
        attempt = task.context.get(current_attempt)
        if attempt is None:
            return False
        while self._started.get(task) is attempt:
            if task.parent_nursery is None:
                return False
            task = task.parent_nursery.parent_task
            if task.context.get(current_attempt) is not attempt:
                return False
        return True


_holder: Final = trio.lowlevel.RunVar[_Holder]("m25_mock_clock")
