"""Runs the jobs of a claim in as few tasks as it can: one, where no handler waits for anything.

To start a task costs Trio more than a handler that does not wait takes. So one task runs the jobs,
one after the other, and keeps its cancel scope for them. Behind it, in Trio's order, stands a
second one: it has its turn once the first task waits, or has ended. Where jobs are left by then, it
gives each of them a task of its own. So a job that waits holds up no other. A task that finds no
job left asks for those that may begin by now, and ends where there are none: no task is idle.

    task 1   job 1 ─ job 2 ─ job 3 waits … ─ asks for more ─ job 7 … ─ ends
    task 2                         ╰─ is there: job 4 waits … ─ ends
    task 3, 4, …                          job 5, job 6, …
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context, copy_context
from operator import is_
from typing import Final, Generic, TypeVar

import trio

from .kept_scope import KeptScope

Job = TypeVar("Job")

#: So many jobs begin, or run in one task without waiting, before others have a turn.
_RUN_IN_A_TURN: Final = 100


class Crew(Generic[Job]):
    """One for some jobs that begin at the same time.

    Args:
        jobs: so few that to start a task for each in one turn of Trio's loop takes less than a
            millisecond.
        run: runs a job, in the scope of its task; all that it raises ends the nursery.
        more: says which jobs may begin now that others have ended, up to so many.
        nursery: of the tasks.
        name: of each of the tasks, for those who look at them.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        run: Callable[[Job, KeptScope], Awaitable[None]],
        more: Callable[[int], Iterable[Job]],
        nursery: trio.Nursery,
        name: str,
    ) -> None:
        self._left = deque(jobs)
        self._run = run
        self._more = more
        self._nursery = nursery
        self._name = name
        #: Whether the second task is there, and has not had its turn.
        self._relief_is_due = False

    def start(self) -> None:
        """Run the jobs, from Trio's next turn on."""
        if self._left:
            self._start(self._begin)

    def _start(self, work: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(work, name=self._name)

    async def _begin(self) -> None:
        self._call_relief()
        await self._work()

    def _call_relief(self) -> None:
        """Have a second task stand behind this one, which begins the next job of several."""
        # rule: who waits holds up no other
        if len(self._left) > 1 and not self._relief_is_due:
            self._relief_is_due = True
            self._start(self._relieve)

    async def _relieve(self) -> None:
        self._relief_is_due = False
        for _ in range(len(self._left) - 1):
            self._start(self._work)
        await self._work()

    async def _work(self) -> None:
        """Run jobs that are left, one after the other, and those that may begin after them."""
        left, before, scope = self._left, copy_context(), KeptScope()
        try:
            ran = 0
            while left:
                await self._run(left.popleft(), scope)
                ran += 1
                if not left:
                    if ran >= _RUN_IN_A_TURN:
                        scope.close()
                        await trio.lowlevel.checkpoint()
                        ran = 0
                    if more := self._more(_RUN_IN_A_TURN - ran):
                        left.extend(more)
                        self._call_relief()
                # rule: what a handler sets is not there in the next job's context
                if left and not _is_same(copy_context(), before):
                    break
        finally:
            scope.close()
            # Cancelled as well, each of the jobs comes to its own end. Where all has gone well and
            # jobs are left, this task's context is used up.
            if left:  # rule: a cancelled job is not the end of others
                before.run(self._start, self._begin)


def start_crews(
    jobs: Sequence[Job],
    run: Callable[[Job, KeptScope], Awaitable[None]],
    more: Callable[[int], Iterable[Job]],
    nursery: trio.Nursery,
    name: str,
) -> None:
    """Run any number of jobs in crews, which begin one after the other. For the rest see `Crew`."""
    if len(jobs) <= _RUN_IN_A_TURN:
        Crew(jobs, run, more, nursery, name).start()
    else:
        nursery.start_soon(_start_in_turns, jobs, run, more, nursery, name)


async def _start_in_turns(
    jobs: Sequence[Job],
    run: Callable[[Job, KeptScope], Awaitable[None]],
    more: Callable[[int], Iterable[Job]],
    nursery: trio.Nursery,
    name: str,
) -> None:
    try:
        while jobs:
            begun, jobs = jobs[:_RUN_IN_A_TURN], jobs[_RUN_IN_A_TURN:]
            Crew(begun, run, more, nursery, name).start()
            await trio.lowlevel.checkpoint()
    finally:
        # Cancelled as well, each of them comes to its own end.
        Crew(jobs, run, more, nursery, name).start()


def _is_same(now: Context, before: Context) -> bool:
    """Whether all variables have the values that they had, and no other has one."""
    return (
        len(now) == len(before)
        # Contexts of the same variables have these in the same order.
        and all(map(is_, now.keys(), before.keys()))
        and all(map(is_, now.values(), before.values()))
    )
