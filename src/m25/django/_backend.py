"""The backend of Django's tasks that puts them on queues of m25."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Never, cast

import attrs

from .._declare import DeclaredQueue, declare
from .._duration import Duration
from .._errors import InvalidJob, JobRecordFetchDecodeErrors
from .._job import Job, JobRecord
from .._record import decode_record
from .._retry import Retry, RetryFunction
from .._sync.calls import attempt_rows, enqueue
from ._calls import TaskCall, call_of, find_task
from ._names import (
    BaseTaskBackend,
    ImproperlyConfigured,
    InvalidTask,
    db,
    exceptions,
    signals,
    timezone,
)
from ._results import django_time, result_of


@attrs.frozen
class _Options:
    """What may stand in `OPTIONS`, there in capital letters."""

    database: str = "default"
    schema: str = "m25"
    timeout: Duration = timedelta(minutes=5)
    retry: Retry | RetryFunction | None = None


class TaskBackend(BaseTaskBackend):
    """Puts tasks on queues of m25, in the transaction of Django's connection, and reads results.

    Its `OPTIONS` are `DATABASE`, the name of Django's database that has m25's tables (`"default"`);
    `SCHEMA`, that of their schema (`"m25"`); `TIMEOUT`, how long a task may run, in seconds or as a
    `timedelta` (5 minutes); and `RETRY`, a `m25.Retry` (without one there is one attempt).

    A task of a higher priority runs first. Tasks are in apps of `INSTALLED_APPS`.

    Raises:
        ImproperlyConfigured: there is no such option.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        given = {name.lower(): value for name, value in self.options.items()}
        known = attrs.fields_dict(_Options)
        if unknown := [name.upper() for name in given if name not in known]:
            raise ImproperlyConfigured(
                f"TASKS[{alias!r}]: m25.django.TaskBackend has no option {', '.join(unknown)}; it"
                f" has {', '.join(name.upper() for name in known)}"
            )
        self._options = _Options(**given)
        self._declared: dict[str, DeclaredQueue[TaskCall, Any, Never]] = {}

    def declared(self, queue_name: str) -> DeclaredQueue[TaskCall, Any, Never]:
        """The queue of m25's that has the tasks of this `queue_name`.

        Raises:
            InvalidTask: it is not one of the backend's `QUEUES`.
            InvalidQueue: its name, or what the options say, is nothing that m25 takes.
        """
        if self.queues and queue_name not in self.queues:
            raise InvalidTask(f"TASKS[{self.alias!r}] has no queue {queue_name!r} in its QUEUES")
        if queue_name not in self._declared:
            self._declared[queue_name] = declare(
                queue_name,
                input=TaskCall,
                output=cast("Any", Any),
                default_job_timeout=self._options.timeout,
                retry=self._options.retry,
            )
        return self._declared[queue_name]

    def enqueue(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Put a task on its queue, and return its `TaskResult`.

        Raises:
            InvalidTask: it is not in an installed app, or its options are none that Django takes.
            TypeError: an argument cannot be written as JSON.
            m25.M25Error: as `m25.sync.enqueue` does.
        """
        self.validate_task(task)
        run_after = task.run_after
        if run_after is not None and timezone.is_naive(run_after):
            run_after = timezone.make_aware(run_after)
        job = Job(call_of(task, args, kwargs), scheduled_at=run_after, priority=-task.priority)
        queue = self.declared(task.queue_name)
        record = enqueue(self._connection, queue, job, schema=self._options.schema)
        result = result_of(task, [record], self.alias)
        signals.task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> Any:
        """Read what has become of a task.

        Raises:
            TaskResultDoesNotExist: this backend has no such task.
            m25.M25Error: the database failed.
        """
        try:
            attempts = self._attempts(result_id)
            first = attempts[0]
            task = find_task(first.input.task).using(
                priority=-first.priority,
                queue_name=first.queue_name,
                run_after=django_time(first.scheduled_at),
                backend=self.alias,
            )
        except (InvalidJob, IndexError, JobRecordFetchDecodeErrors, InvalidTask) as error:
            raise exceptions.TaskResultDoesNotExist(result_id) from error
        return result_of(task, attempts, self.alias)

    def _attempts(self, result_id: str) -> list[JobRecord[TaskCall, Any, Any]]:
        rows = attempt_rows(self._connection, result_id, self._options.schema)
        return [decode_record(row, self.declared(row.queue_name)) for row in rows]

    @property
    def _connection(self) -> Any:
        return db.connections[self._options.database]
