"""From the attempts of a job to the `TaskResult` of Django's tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from .._crash import describe_crash
from .._job import FailureReason, JobRecord, JobStatus
from .._result_errors import JobCancelled, JobFailed
from ._calls import TaskCall
from ._names import base, settings, timezone

_STATUSES: Final[Mapping[JobStatus, Any]] = {
    JobStatus.PENDING: base.TaskResultStatus.READY,
    JobStatus.RESERVED: base.TaskResultStatus.READY,
    JobStatus.EXECUTING: base.TaskResultStatus.RUNNING,
    JobStatus.SUCCEEDED: base.TaskResultStatus.SUCCESSFUL,
    JobStatus.FAILED: base.TaskResultStatus.FAILED,
    JobStatus.CANCELLED: base.TaskResultStatus.FAILED,
}


def result_of(task: Any, attempts: Sequence[JobRecord[TaskCall, Any, Any]], alias: str) -> Any:
    """What has become of a task, by all attempts of its job so far, of which there is one or more.

    Django counts attempts by `worker_ids`, one for each. There the ids of the attempts are.
    """
    first, latest = attempts[0], attempts[-1]
    begun = [each for each in attempts if each.started_at is not None]
    result = base.TaskResult(
        task=task,
        id=str(first.original_attempt_id or first.id),
        status=_STATUSES[latest.status],
        enqueued_at=django_time(first.created_at),
        started_at=django_time(begun[0].started_at) if begun else None,
        finished_at=django_time(latest.finished_at or latest.cancelled_at),
        last_attempted_at=django_time(begun[-1].started_at) if begun else None,
        args=first.input.args,
        kwargs=first.input.kwargs,
        backend=alias,
        errors=[error for each in attempts if (error := _error_of(each)) is not None],
        worker_ids=[str(each.id) for each in begun],
    )
    if latest.status is JobStatus.SUCCEEDED:
        succeed(result, latest.output)
    return result


def succeed(result: Any, output: Any) -> None:
    """Have a result say that its task was successful, and returned this."""
    _write(result, status=base.TaskResultStatus.SUCCESSFUL, _return_value=output)


def end_now(result: Any, output: Any = None, error: BaseException | None = None) -> None:
    """Have the result of a task that has just ended here say how: for those who listen to signals.

    What the database has of it is written later, and has the database's time.
    """
    _write(result, finished_at=timezone.now())
    if error is None:
        succeed(result, output)
        return
    crash = describe_crash(error)
    result.errors.append(_task_error(crash.type, crash.traceback or ""))
    _write(result, status=base.TaskResultStatus.FAILED)


def _write(result: Any, **fields: Any) -> None:
    # It is a frozen dataclass, which Django's own backends write likewise.
    for name, value in fields.items():
        object.__setattr__(result, name, value)


def _task_error(type_name: str, traceback: str) -> Any:
    """A `TaskError`. Django imports its class by the path; m25 names builtins without a module."""
    path = type_name if "." in type_name else f"builtins.{type_name}"
    return base.TaskError(exception_class_path=path, traceback=traceback)


def django_time(time: datetime | None) -> datetime | None:
    """An aware time as Django has times, which are naive without `USE_TZ`."""
    if time is None or settings.USE_TZ:
        return time
    naive: datetime = timezone.make_naive(time)
    return naive


def _error_of(record: JobRecord[Any, Any, Any]) -> Any | None:
    if record.status is JobStatus.CANCELLED:
        return _task_error("m25.errors.JobCancelled", str(JobCancelled(record)))
    if record.status is not JobStatus.FAILED:
        return None
    if record.failure_reason is FailureReason.CRASH and record.crash_type is not None:
        return _task_error(record.crash_type, record.crash_traceback or "")
    if record.failure_reason is FailureReason.JOB_TIMEOUT:
        return _task_error("m25.errors.JobTimeout", str(JobFailed(record)))
    return _task_error("m25.errors.JobFailed", str(JobFailed(record)))
