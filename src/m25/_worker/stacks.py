"""Answers where handlers wait, to those who ask: a picture of a job's tasks, as Trio has them.

Like a cancel, a request is a hint until the database was asked: the answer is written only where
somebody with the right to update the job's row has asked for it. A picture costs nothing before it
is taken, since Trio keeps all that is in it anyway.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs
import trio

from .._hints import QueueHint
from .._running_job import current_attempt
from .._runtime import Runtime
from .._stack import StackFrame, TaskStack, stack_to_json
from .._store.failures import StatementFailed
from .executor import Executor
from .ledger import Ledger

#: How many tasks, and how many lines of each, a picture shows at most: to take one takes the loop
#: no time to speak of, and to keep it takes some hundred kilobytes at most.
_MOST_TASKS: Final = 100
_MOST_FRAMES: Final = 40

#: Where m25's own code is; and Trio's file whose lines every wait ends with.
_OURS: Final = f"{Path(__file__).parent.parent}/"
_TRAPS: Final = trio.lowlevel.wait_task_rescheduled.__code__.co_filename


class Stacks:
    """One for each manager."""

    def __init__(self, runtime: Runtime, hint: QueueHint, ledger: Ledger) -> None:
        self._runtime = runtime
        self._hint = hint
        self._ledger = ledger

    async def run(self, executors: trio.Nursery) -> None:
        """Answer for the jobs that run in this nursery, until cancelled."""
        tries = self._runtime.tries()
        while True:
            await self._hint.stacks.wait()
            while self._hint.stacks_asked:
                id = self._hint.stacks_asked.pop()
                try:
                    await self._answer(id, executors)
                except StatementFailed as failure:
                    # A heartbeat says again that somebody waits.
                    await trio.sleep(tries.failed(failure))
                else:
                    tries.worked()

    async def _answer(self, id: str, executors: trio.Nursery) -> None:
        await trio.lowlevel.checkpoint()
        for job, executor in list(self._ledger.running.items()):
            if job.id == id and (task := _task_of(executor, executors)) is not None:
                await self._runtime.store.answer_stack(job, stack_to_json(*picture(task)))


def _task_of(executor: Executor, executors: trio.Nursery) -> trio.lowlevel.Task | None:
    """The task in which a job runs, alone or in a batch. Other tasks may have the job in their
    context, as its handler has started them; but not in this nursery.
    """
    return next(
        (
            task
            for task in executors.child_tasks
            if task.context.get(current_attempt) is executor.runs_in
        ),
        None,
    )


def picture(task: trio.lowlevel.Task) -> tuple[TaskStack, int]:
    """Where a job's task and all below it stand; and how many tasks were left out."""
    left = _MOST_TASKS
    left_out = 0

    def look(task: trio.lowlevel.Task, frames: list[StackFrame]) -> TaskStack:
        nonlocal left, left_out
        children: list[TaskStack] = []
        for nursery in task.child_nurseries:
            # Trio keeps them in a set: the order of their beginnings is no more to be had.
            for child in nursery.child_tasks:
                if left == 0:
                    left_out += 1
                else:
                    left -= 1
                    children.append(look(child, _frames(child)))
        children.sort(key=str)
        return TaskStack(task.coro.__qualname__, tuple(frames[-_MOST_FRAMES:]), tuple(children))

    left -= 1
    frames = _frames(task)
    # What m25 does before it calls the handler is of no interest.
    users = next((at for at, frame in enumerate(frames) if not frame.file.startswith(_OURS)), 0)
    top = look(task, frames[users:])
    return attrs.evolve(top, function=frames[users].function) if frames else top, left_out


def _frames(task: trio.lowlevel.Task) -> list[StackFrame]:
    return [
        StackFrame(frame.f_code.co_filename, line, frame.f_code.co_qualname)
        for frame, line in task.iter_await_frames()
        if frame.f_code.co_filename != _TRAPS
    ]
