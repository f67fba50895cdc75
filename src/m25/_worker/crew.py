"""Runs the jobs of a claim in as few tasks as it can: one, where no handler waits for anything.

To start a task costs Trio more than a handler that does not wait takes. So one task runs the jobs,
one after the other. Behind it, in Trio's order, stands a second one: it has its turn once the first
task waits, or has ended. Where jobs are left by then, it gives each of them a task of its own. So a
job that waits holds up no other, and a task ends once it finds no job: none is idle.

    task 1   job 1 ─ job 2 ─ job 3 waits … ─ ends
    task 2                         ╰─ is there: job 4 waits … ─ ends
    task 3, 4, …                          job 5, job 6, …
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context, copy_context
from typing import Final, Generic, TypeVar

import trio

Job = TypeVar("Job")

#: So many jobs begin, or run in one task without waiting, before others have a turn.
_RUN_IN_A_TURN: Final = 100


class Crew(Generic[Job]):
    """One for some jobs that begin at the same time.

    Args:
        jobs: so few that to start a task for each in one turn of Trio's loop takes less than a
            millisecond.
        run: runs a job, and returns another one that may begin now that it has ended, if there is
            one; all that it raises ends the nursery.
        nursery: of the tasks.
        name: of each of the tasks, for those who look at them.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        run: Callable[[Job], Awaitable[Job | None]],
        nursery: trio.Nursery,
        name: str,
    ) -> None:
        self._left = deque(jobs)
        self._run = run
        self._nursery = nursery
        self._name = name

    def start(self) -> None:
        """Run the jobs, from Trio's next turn on."""
        if self._left:
            self._start(self._begin)

    def _start(self, work: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(work, name=self._name)

    async def _begin(self) -> None:
        if len(self._left) > 1:  # rule: who waits holds up no other
            self._start(self._relieve)
        await self._work()

    async def _relieve(self) -> None:
        for _ in range(len(self._left) - 1):
            self._start(self._work)
        await self._work()

    async def _work(self) -> None:
        """Run jobs that are left, one after the other."""
        left, before = self._left, copy_context()
        try:
            ran = 0
            while left:
                following = await self._run(left.popleft())
                if following is not None:
                    left.append(following)
                # rule: what a handler sets is not there in the next job's context
                if left and not _is_same(copy_context(), before):
                    break
                ran += 1
                if left and ran % _RUN_IN_A_TURN == 0:
                    await trio.lowlevel.checkpoint()
        finally:
            # Cancelled as well, each of the jobs comes to its own end. Where all has gone well and
            # jobs are left, this task's context is used up.
            if left:  # rule: a cancelled job is not the end of others
                before.run(self._start, self._begin)


def start_crews(
    jobs: Sequence[Job],
    run: Callable[[Job], Awaitable[Job | None]],
    nursery: trio.Nursery,
    name: str,
) -> None:
    """Run any number of jobs in crews, which begin one after the other. For the rest see `Crew`."""
    if len(jobs) <= _RUN_IN_A_TURN:
        Crew(jobs, run, nursery, name).start()
    else:
        nursery.start_soon(_start_in_turns, jobs, run, nursery, name)


async def _start_in_turns(
    jobs: Sequence[Job],
    run: Callable[[Job], Awaitable[Job | None]],
    nursery: trio.Nursery,
    name: str,
) -> None:
    try:
        while jobs:
            begun, jobs = jobs[:_RUN_IN_A_TURN], jobs[_RUN_IN_A_TURN:]
            Crew(begun, run, nursery, name).start()
            await trio.lowlevel.checkpoint()
    finally:
        # Cancelled as well, each of them comes to its own end.
        Crew(jobs, run, nursery, name).start()


def _is_same(now: Context, before: Context) -> bool:
    """Whether all variables have the values that they had, and no other has one."""
    return len(now) == len(before) and all(
        variable in now and now[variable] is value for variable, value in before.items()
    )
