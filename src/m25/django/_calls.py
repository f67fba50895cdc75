"""The input of a queue of tasks: which function is called, and with what."""

from __future__ import annotations

from typing import Any

import attrs

from ._names import InvalidTask, apps, base, import_string


@attrs.frozen
class TaskCall:
    """A call of a task."""

    #: Where the task is, as in "shop.tasks.send".
    task: str
    args: list[Any]
    kwargs: dict[str, Any]


def call_of(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskCall:
    """A call of a task of Django's.

    Raises:
        InvalidTask: it is not a task of an installed app, so that no worker would find it.
        TypeError: an argument cannot be written as JSON.
    """
    _check_place(task.module_path)
    return TaskCall(task.module_path, base.normalize_json(args), base.normalize_json(kwargs))


def find_task(path: str) -> Any:
    """The task of Django's at this path.

    The path comes from a row of the job table. Whoever can write there is to have tasks run, and
    nothing else imported or called: so it is looked for in installed apps alone.

    Raises:
        InvalidTask: there is none.
    """
    _check_place(path)
    try:
        task = import_string(path)
    except ImportError as error:
        raise InvalidTask(f"there is no task {path!r:.200}: {error}") from error
    if not isinstance(task, base.Task):
        raise InvalidTask(f"{path!r:.200} is no task; one is made by the decorator @task")
    return task


def _check_place(path: str) -> None:
    if apps.get_containing_app_config(path) is None:
        raise InvalidTask(
            f"the task {path!r:.200} is not in an app of INSTALLED_APPS, and m25 looks for tasks"
            " there alone: put it into a module of one, or install the app that has it"
        )
