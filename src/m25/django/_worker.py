"""Queues whose workers run Django's tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Never

from ._backend import TaskBackend
from ._calls import TaskCall, find_task
from ._names import ImproperlyConfigured, base, db, signals, tasks
from ._results import end_now, result_of

if TYPE_CHECKING:
    from typing import Unpack

    from .._decorator import QueueOptions
    from .._queue import Queue


def task_queue(
    name: str = "default", *, backend: str = "default", **options: Unpack[QueueOptions]
) -> Queue[TaskCall, Any, Never]:
    """A queue that runs the tasks of one `queue_name`, each in a thread.

    It is a queue as all are: `m.add_queue` takes it, and `m25 worker` finds it in its module. The
    function of a task is called as in a request: what it writes by Django's ORM is committed by
    itself, if it opens no transaction. `m25.current_job()` works in it. Nothing can interrupt it,
    so that a task which overruns its deadline runs to its end, and has failed then.

    Args:
        name: the tasks' `queue_name`.
        backend: by which name the backend stands in the setting `TASKS`.
        options: those of `m25.queue`, but for those that are in the backend's `OPTIONS`.

    Raises:
        ImproperlyConfigured: the backend of this name is not `m25.django.TaskBackend`.
        InvalidTask: the backend has no such queue.
        m25.errors.InvalidQueue: an option is out of range.
    """
    # It brings Trio, for which a site has no use.
    from .._decorator import queue

    found = tasks.task_backends[backend]
    if not isinstance(found, TaskBackend):
        raise ImproperlyConfigured(
            f"TASKS[{backend!r}] is not a m25.django.TaskBackend, but a {type(found).__qualname__}"
        )

    def run_task(call: TaskCall) -> Any:
        # The thread has connections of its own. Those that have failed, or are older than
        # CONN_MAX_AGE, are closed, as Django does before and after each request.
        db.close_old_connections()
        try:
            return _run(found, call)
        finally:
            db.close_old_connections()

    options.setdefault("runs", "thread")
    return queue(found.declared(name), **options)(run_task)


def _run(backend: TaskBackend, call: TaskCall) -> Any:
    from .._running_job import current_job

    job = current_job()
    task = find_task(call.task)
    if job.attempt == 1:
        result = result_of(task, [job], backend.alias)
    else:
        # It is to have the attempts before this one, too.
        result = backend.get_result(str(job.job_id))
    sender = type(backend)
    signals.task_started.send(sender, task_result=result)
    context = (base.TaskContext(task_result=result),) if task.takes_context else ()
    try:
        output = base.normalize_json(task.call(*context, *call.args, **call.kwargs))
    except BaseException as error:
        end_now(result, error=error)
        raise
    else:
        end_now(result, output)
        return output
    finally:
        signals.task_finished.send(sender, task_result=result)
