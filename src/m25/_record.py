"""From a row of the job table to a `JobRecord`: every field is read, or named as unreadable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

from ._codec import Codec, Undecodable, value_codec
from ._errors import (
    JobRecordDecodeError,
    JobRecordFetchDecodeErrors,
    JobRecordFetchInvalidFailureReason,
    JobRecordFetchInvalidStatusError,
    JobRecordFetchJsonDecodeError,
)
from ._job import Error, FailureReason, Input, JobId, JobRecord, JobStatus, Output
from ._queue import Queue
from ._store.protocol import JobRow
from ._timestamps import duration_from_text, timestamp_from_text

T = TypeVar("T")

#: The codec of `meta`, which is a JSON object whatever the queue.
META: Final[Codec[Mapping[str, Any]]] = value_codec(dict[str, Any], "meta")


def decode_record(
    row: JobRow, queue: Queue[Input, Output, Error]
) -> JobRecord[Input, Output, Error]:
    """Read a row as a job of `queue`.

    Raises:
        JobRecordFetchDecodeErrors: one or more fields cannot be read; it names each.
    """
    job_id = JobId(row.id)
    errors: list[JobRecordDecodeError] = []

    def read(field: str, text: str | None, reader: Callable[[str], T]) -> T | None:
        if text is None:
            return None
        try:
            return reader(text)
        except (ValueError, OverflowError) as error:
            reason = f"{text[:40]!r} is more than Python can hold"
            errors.append(_caused(JobRecordDecodeError(job_id, field, reason), error))
            return None

    def decode(field: str, text: str | None, codec: Codec[T]) -> T | None:
        if text is None:
            return None
        try:
            return codec.decode(text)
        except Undecodable as error:
            problem = JobRecordFetchJsonDecodeError(job_id, field, error.path, error.reason)
            errors.append(_caused(problem, error))
            return None

    def status(text: str) -> JobStatus | None:
        try:
            return JobStatus(text)
        except ValueError as error:
            errors.append(_caused(JobRecordFetchInvalidStatusError(job_id, text), error))
            return None

    def failure_reason(text: str | None) -> FailureReason | None:
        if text is None:
            return None
        try:
            return FailureReason(text)
        except ValueError as error:
            errors.append(_caused(JobRecordFetchInvalidFailureReason(job_id, text), error))
            return None

    fields: dict[str, Any] = {
        "id": job_id,
        "queue_name": row.queue_name,
        "created_at": read("created_at", row.created_at, timestamp_from_text),
        "scheduled_at": read("scheduled_at", row.scheduled_at, timestamp_from_text),
        "input": decode("input", row.input, queue.input_codec),
        "reserved_at": read("reserved_at", row.reserved_at, timestamp_from_text),
        "started_at": read("started_at", row.started_at, timestamp_from_text),
        "cancelled_at": read("cancelled_at", row.cancelled_at, timestamp_from_text),
        "finished_at": read("finished_at", row.finished_at, timestamp_from_text),
        "timeout": read("timeout", row.timeout, duration_from_text),
        "status": status(row.status),
        "output": decode("output", row.output, queue.output_codec),
        "deadline": read("deadline", row.deadline, timestamp_from_text),
        "latest_heartbeat_at": read(
            "latest_heartbeat_at", row.latest_heartbeat_at, timestamp_from_text
        ),
        "failure_reason": failure_reason(row.failure_reason),
        "error_data": decode("error_data", row.error_data, queue.error_codec),
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "original_attempt_id": row.original_attempt_id and JobId(row.original_attempt_id),
        "previous_attempt_id": row.previous_attempt_id and JobId(row.previous_attempt_id),
        "retry_delay": read("retry_delay", row.retry_delay, duration_from_text),
        "unique_key": row.unique_key,
        "priority": row.priority,
        "losses": row.losses,
        "crash_type": row.crash_type,
        "crash_message": row.crash_message,
        "crash_traceback": row.crash_traceback,
        "meta": decode("meta", row.meta, META),
    }
    if errors:
        raise JobRecordFetchDecodeErrors(errors) from errors[0]
    return cast("JobRecord[Input, Output, Error]", JobRecord(**fields))


def _caused(error: JobRecordDecodeError, cause: BaseException) -> JobRecordDecodeError:
    error.__cause__ = cause
    return error
