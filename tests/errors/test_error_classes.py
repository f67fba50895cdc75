"""Every error of m25 can be copied and pickled, and is under the bases that people catch."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

import m25
from m25 import (
    JobId,
    JobStatus,
    _errors,
    _handler_errors,
    _limit_errors,
    _nursery_errors,
    _result_errors,
    _schedule_errors,
    _stack_errors,
    _step_errors,
    _unique_errors,
    errors,
)

CLASSES: list[type[m25.M25Error]] = [getattr(errors, name) for name in errors.__all__]

#: Something for each parameter that an error is made with.
VALUES: dict[str, Any] = {
    "delay": 30,
    "differs": ["input"],
    "error": errors.NoJobRecordFound(JobId(UUID(int=1)), "emails"),
    "errors": [errors.JobRecordDecodeError(JobId(UUID(int=2)), "input", "is no number")],
    "failure_reason": "boredom",
    "field": "input",
    "job_id": JobId(UUID(int=3)),
    "key": "0",
    "limit": "mail",
    "message": "it broke",
    "traceback": "Traceback (most recent call last): …",
    "type_name": "ValueError",
    "job_ids": [JobId(UUID(int=4)), JobId(UUID(int=5))],
    "returned": object(),
    "name": "emails",
    "path": ".lines[3].price",
    "queue_name": "letters",
    "reason": "is no number",
    "record": m25.JobRecord(
        id=JobId(UUID(int=6)),
        queue_name="emails",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        input="ada",
        timeout=timedelta(seconds=1),
    ),
    "seconds": 5.0,
    "status": JobStatus.SUCCEEDED,
    "unique_key": "ada",
    "what": "output",
}


def sample(cls: type[m25.M25Error]) -> m25.M25Error:
    """An error of this class, with a note."""
    parameters = [name for name in inspect.signature(cls.__init__).parameters if name in VALUES]
    error = cls(*(VALUES[name] for name in parameters) if parameters else ["what happened"])
    error.add_note("a note")
    return error


def fields(error: BaseException) -> dict[str, Any]:
    """What an error holds; of an error in it, the same."""

    def plain(value: Any) -> Any:
        if isinstance(value, BaseException):
            return fields(value)
        return [plain(each) for each in value] if isinstance(value, tuple | list) else value

    held = {name: plain(value) for name, value in vars(error).items()}
    return {"class": type(error), "text": str(error), "args": error.args, "held": held}


def through_pickle(protocol: int) -> Callable[[m25.M25Error], m25.M25Error]:
    return lambda error: pickle.loads(pickle.dumps(error, protocol))


def raise_it(error: Exception) -> None:
    raise error


def describe(error: Exception) -> dict[str, Any]:
    return fields(error)


class Mine(m25.UsageError):
    def __init__(self, who: str, *, attempts: int) -> None:
        super().__init__(f"{who} failed")
        self.who = who
        self.attempts = attempts


WAYS = [
    copy.copy,
    copy.deepcopy,
    *(through_pickle(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
]


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_comes_back_as_it_went(cls: type[m25.M25Error]) -> None:
    error = sample(cls)
    for way in WAYS:
        back = way(error)
        assert back is not error
        assert fields(back) == fields(error)
        # And again: what came back is as good as what was raised.
        assert fields(way(back)) == fields(error)
        assert traceback.format_exception_only(back) == traceback.format_exception_only(error)


@pytest.mark.parametrize("method", ["spawn", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_errors_come_out_of_another_process(method: str) -> None:
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, context) as processes:
        for cls in CLASSES:
            error = sample(cls)
            assert processes.submit(describe, error).result() == fields(error)
            raised = processes.submit(raise_it, error).exception()
            assert raised is not None
            assert fields(raised) == fields(error)


def test_a_class_of_ones_own_under_them_comes_back_too() -> None:
    error = Mine("ada", attempts=3)
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.who, back.attempts) == (Mine, "ada failed", "ada", 3)


def test_every_error_is_in_the_public_module() -> None:
    defined = {
        name
        for name, value in {
            **vars(_errors),
            **vars(_handler_errors),
            **vars(_limit_errors),
            **vars(_nursery_errors),
            **vars(_result_errors),
            **vars(_schedule_errors),
            **vars(_stack_errors),
            **vars(_step_errors),
            **vars(_unique_errors),
        }.items()
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_is_named_by_where_it_is_imported_from(cls: type[m25.M25Error]) -> None:
    (line,) = traceback.format_exception_only(cls.__new__(cls, "what happened"))
    assert line == f"m25.errors.{cls.__name__}: what happened\n"


def test_what_people_catch_is_at_the_top() -> None:
    at_the_top = {
        name
        for name in m25.__all__
        if isinstance(value := getattr(m25, name), type) and issubclass(value, BaseException)
    }
    assert at_the_top == {
        "DatabaseError",
        "EnqueueError",
        "GiveUp",
        "InvalidState",
        "JobCancelError",
        "JobCancelled",
        "JobFailed",
        "JobRecordFetchError",
        "JobTimeout",
        "M25Error",
        "NoJobRecordFound",
        "RetryAfter",
        "Snooze",
        "UniqueKeyConflict",
        "UsageError",
        "ValueRefused",
    }
    assert all(getattr(m25, name) is getattr(errors, name) for name in at_the_top)


@pytest.mark.parametrize(
    ("base", "names"),
    {
        m25.UsageError: """
            AlreadyStarted ClientClosed DuplicateQueue DuplicateSchedule InvalidJob InvalidQueue
            InvalidSchedule JobIdConflict NotInJob StepChanged WaitsShielded""",
        m25.DatabaseError: """
            DatabaseUnavailable EnqueueQueryError JobCancelQueryError JobRecordFetchQueryError
            OutcomeUnknown QueueStartError""",
        m25.EnqueueError: """
            EnqueueQueryError JobIdConflict OutcomeUnknown UniqueJobConflict UniqueKeyConflict""",
        m25.JobRecordFetchError: """
            EnqueueQueryError JobCancelNotFound JobRecordFetchDecodeErrors JobRecordFetchQueryError
            NoJobRecordFound OutcomeUnknown""",
        m25.JobCancelError: """
            InvalidState JobCancelFetchError JobCancelNotFound JobCancelQueryError""",
        errors.MigrationError: "DatabaseNotMigrated DatabaseTooNew",
        ValueError: "InvalidJob InvalidQueue InvalidSchedule JobIdConflict ValueRefused",
    }.items(),
)
def test_who_catches_a_base_catches_these(base: type[Exception], names: str) -> None:
    caught = {cls.__name__ for cls in CLASSES if issubclass(cls, base) and cls is not base}
    assert caught == set(names.split())


def test_who_catches_the_base_of_all_catches_all() -> None:
    assert all(issubclass(cls, m25.M25Error) for cls in CLASSES)
