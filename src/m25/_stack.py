"""`JobStack`: where the tasks of a running handler wait, as somebody who has asked for it gets it.

It has files, lines and functions, and no value of the program's: not even the names of tasks, which
a program may make of what it works on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from ._job import JobId


@attrs.frozen
class StackFrame:
    """A line at which a function stands."""

    file: str
    line: int
    function: str


@attrs.frozen
class TaskStack:
    """A task: where it stands, and the tasks in the nurseries that it has opened."""

    #: The name of its function.
    function: str
    #: From the function that was called first to the one that waits.
    frames: tuple[StackFrame, ...]
    tasks: tuple[TaskStack, ...]


@attrs.frozen(kw_only=True)
class JobStack:
    """The tasks of a handler that is running. As text it is a tree, to be read by a person."""

    #: The attempt's.
    id: JobId
    queue_name: str
    #: The task in which the handler was called.
    task: TaskStack
    #: How many tasks there are beyond those that are shown.
    left_out: int

    def __str__(self) -> str:
        lines = [f"job {self.id} of queue {self.queue_name!r}", *_lines(self.task, "")]
        if self.left_out:
            lines.append(f"… and {self.left_out} more tasks")
        return "\n".join(lines)


def stack_to_json(task: TaskStack, left_out: int) -> str:
    """Write what a worker has seen."""
    return json.dumps([_plain(task), left_out])


def stack_from_json(text: str, id: JobId, queue_name: str) -> JobStack:
    """Read it again."""
    task, left_out = json.loads(text)
    return JobStack(id=id, queue_name=queue_name, task=_task(task), left_out=left_out)


def _plain(task: TaskStack) -> list[Any]:
    frames = [[frame.file, frame.line, frame.function] for frame in task.frames]
    return [task.function, frames, [_plain(each) for each in task.tasks]]


def _task(plain: Sequence[Any]) -> TaskStack:
    function, frames, tasks = plain
    return TaskStack(
        function, tuple(StackFrame(*each) for each in frames), tuple(_task(each) for each in tasks)
    )


def _lines(task: TaskStack, margin: str) -> Iterator[str]:
    yield f"{margin}task {task.function}"
    for frame in task.frames:
        yield f"{margin}  {frame.file}:{frame.line} in {frame.function}"
    for each in task.tasks:
        yield from _lines(each, f"{margin}    ")
