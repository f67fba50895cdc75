"""From a row of the job table to a `JobRecord`: every field is read, or named as unreadable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Final, TypeAlias, cast

from ._base_queue import BaseQueue
from ._codec import Codec, Undecodable, value_codec
from ._errors import (
    JobRecordDecodeError,
    JobRecordFetchDecodeErrors,
    JobRecordFetchInvalidFailureReason,
    JobRecordFetchInvalidStatusError,
    JobRecordFetchJsonDecodeError,
    NoJobRecordFound,
)
from ._job import Error, FailureReason, Input, Job, JobId, JobRecord, JobStatus, Output
from ._result_errors import JobCancelled, JobFailed
from ._store.columns import COLUMNS
from ._store.protocol import Enqueued, JobRow, NewJob
from ._timestamps import duration_from_text, timestamp_from_text

#: The codec of `meta`, which is a JSON object whatever the queue.
META: Final[Codec[Mapping[str, Any]]] = value_codec(dict[str, Any], "meta")

#: Reads one field's text.
_Reader: TypeAlias = Callable[[JobId, BaseQueue[Any, Any, Any], str, str], Any]


def decode_record(
    row: JobRow, queue: BaseQueue[Input, Output, Error]
) -> JobRecord[Input, Output, Error]:
    """Read a row as a job of `queue`.

    Raises:
        JobRecordFetchDecodeErrors: one or more fields cannot be read; it names each.
    """
    return cast("JobRecord[Input, Output, Error]", JobRecord(**decode_fields(row, queue)))


def decode_fields(row: JobRow, queue: BaseQueue[Any, Any, Any]) -> dict[str, Any]:
    """Read the fields of a row's `JobRecord`, by name.

    Raises:
        JobRecordFetchDecodeErrors: one or more of them cannot be read; it names each.
    """
    job_id = JobId(row.id)
    fields = row._asdict()
    # rule: a record says for when a job was scheduled, though it is held up
    fields["scheduled_at"] = row.scheduled_for
    errors: list[JobRecordDecodeError] = []
    for name, reader in _READERS:
        if (text := fields[name]) is not None:
            try:
                fields[name] = reader(job_id, queue, name, text)
            except JobRecordDecodeError as error:
                errors.append(error)
    for name in _INTERNAL:
        del fields[name]
    if errors:
        raise JobRecordFetchDecodeErrors(errors) from errors[0]
    return fields


def new_record(
    new: NewJob, value: Input, options: Job[Any], enqueued: Enqueued
) -> JobRecord[Input, Any, Any]:
    """The record of a job that has just been inserted: all else is as `JobRecord` has it."""
    return JobRecord(
        id=JobId(new.id),
        queue_name=new.queue_name,
        created_at=timestamp_from_text(enqueued.created_at),
        scheduled_at=options.scheduled_at and options.scheduled_at.astimezone(UTC),
        input=value,
        timeout=new.timeout,
        max_attempts=new.max_attempts,
        retry_delay=new.retry_delay,
        unique_key=new.unique_key,
        priority=new.priority,
        meta=options.meta,
        expires_at=options.expires_at and options.expires_at.astimezone(UTC),
        parent_id=None if new.parent_id is None else JobId(new.parent_id),
        follows=None if enqueued.follows is None else JobId(enqueued.follows),
    )


def _read_number(read: Callable[[str], Any]) -> _Reader:
    def reader(job_id: JobId, _queue: BaseQueue[Any, Any, Any], field: str, text: str) -> Any:
        try:
            return read(text)
        except (ValueError, OverflowError) as error:
            reason = f"{text[:40]!r} is more than Python can hold"
            raise JobRecordDecodeError(job_id, field, reason) from error

    return reader


def _decode(codec_of: Callable[[BaseQueue[Any, Any, Any]], Codec[Any]]) -> _Reader:
    def reader(job_id: JobId, queue: BaseQueue[Any, Any, Any], field: str, text: str) -> Any:
        try:
            return codec_of(queue).decode(text)
        except Undecodable as error:
            raise JobRecordFetchJsonDecodeError(job_id, field, error.path, error.reason) from error

    return reader


def _read_status(job_id: JobId, _queue: object, _field: str, text: str) -> JobStatus:
    try:
        return JobStatus(text)
    except ValueError as error:
        raise JobRecordFetchInvalidStatusError(job_id, text) from error


def _read_failure_reason(job_id: JobId, _queue: object, _field: str, text: str) -> FailureReason:
    try:
        return FailureReason(text)
    except ValueError as error:
        raise JobRecordFetchInvalidFailureReason(job_id, text) from error


def _read_id(job_id: JobId, _queue: object, field: str, text: str) -> JobId:
    return job_id if field == "id" else JobId(text)


#: By what a column is read as, or else by its type; what is in neither is as it should be.
_HOW: Final[Mapping[str, _Reader]] = {
    "input": _decode(lambda queue: queue.input_codec),
    "output": _decode(lambda queue: queue.output_codec),
    "error": _decode(lambda queue: queue.error_codec),
    "object": _decode(lambda _queue: META),
    "status": _read_status,
    "failure reason": _read_failure_reason,
    "uuid": _read_id,
    "timestamptz": _read_number(timestamp_from_text),
    "interval": _read_number(duration_from_text),
}

#: What a row has and a record has not.
_INTERNAL: Final = tuple(name for name, column in COLUMNS.items() if column.internal)

_READERS: Final = tuple(
    (name, _HOW[how])
    for name, column in COLUMNS.items()
    if (how := column.read_as or column.type) in _HOW and not column.internal
)


def found_row(row: JobRow | None, queue: BaseQueue[Any, Any, Any], id: JobId) -> JobRow:
    """What the database has answered to the id of a job of this queue.

    Raises:
        NoJobRecordFound: the queue has no such job.
    """
    if row is None or row.queue_name != queue.name:
        raise NoJobRecordFound(id, queue.name)
    return row


def output_of(record: JobRecord[Any, Output, Any]) -> Output:
    """The output of a job that has ended.

    Raises:
        Exception: the declared error that it ended with.
        JobFailed, JobCancelled: as they say.
    """
    if record.status is JobStatus.CANCELLED:
        raise JobCancelled(record)
    if record.status is JobStatus.SUCCEEDED:
        # Of a queue that returns nothing it is `None`.
        return record.output  # type: ignore[return-value]  # pyright: ignore[reportReturnType]
    if record.error_data is not None:
        raise record.error_data
    raise JobFailed(record)


def read_output(row: JobRow, queue: BaseQueue[Any, Output, Any]) -> Output:
    """The same of a row. Of a job that has succeeded nothing else is read: whoever waits for a
    result has no use for the rest, and would wait longer for it.

    Raises:
        Exception: the declared error that it ended with.
        JobFailed, JobCancelled: as they say.
        JobRecordFetchDecodeErrors: what is to be returned or raised cannot be read.
    """
    if row.status != JobStatus.SUCCEEDED.value or row.output is None:
        return output_of(decode_record(row, queue))
    try:
        output = _HOW["output"](JobId(row.id), queue, "output", row.output)
    except JobRecordDecodeError as error:
        raise JobRecordFetchDecodeErrors([error]) from error
    return cast("Output", output)
