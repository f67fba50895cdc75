"""A job, as it is asked for: what can be asked, and that all else is refused at once."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from types import MappingProxyType
from uuid import UUID

import attrs
import pytest

from m25 import FailureReason, Job, JobId, JobStatus
from m25._lifecycle import MOVES, has_next_attempt
from m25.errors import InvalidJob

AT = datetime(2030, 1, 1, tzinfo=UTC)
ID = "0190d3a0-0000-7000-8000-000000000001"


def test_a_job_of_an_input_alone_runs_at_once_and_once():
    job = Job("input")
    assert job == Job(
        "input",
        scheduled_at=None,
        timeout=None,
        max_attempts=None,
        retry_delay=None,
        unique_key=None,
        priority=0,
        meta=None,
        id=None,
    )
    assert not job.has_own_retry


def test_a_retry_delay_of_nothing_is_the_jobs_own() -> None:
    assert Job(1, retry_delay=0).retry_delay == timedelta(0)
    assert Job(1, retry_delay=0).has_own_retry


@pytest.mark.parametrize("id", [ID, UUID(ID), JobId(ID)], ids=["text", "uuid", "job id"])
def test_an_id_of_the_callers_is_taken_in_any_form(id: object) -> None:
    made = Job(1, id=id).id
    assert isinstance(made, JobId)
    assert made == JobId(ID)


def test_a_job_that_would_expire_before_it_is_due_is_refused() -> None:
    Job(1, scheduled_at=AT, expires_at=AT)
    with pytest.raises(InvalidJob, match=r"expires_at .* is before scheduled_at"):
        Job(1, scheduled_at=AT, expires_at=AT - timedelta(seconds=1))
    with pytest.raises(InvalidJob, match="is before scheduled_at"):
        Job(1, expires_at=AT).schedule(AT + timedelta(seconds=1))


def test_a_job_is_no_input_of_another() -> None:
    with pytest.raises(InvalidJob, match="input of a Job is a Job"):
        Job(Job(1))


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        (lambda job: job.schedule(at=AT), {"scheduled_at": AT}),
        (lambda job: job.with_timeout(1.5), {"timeout": timedelta(seconds=1.5)}),
        (lambda job: job.with_timeout(timedelta(days=1)), {"timeout": timedelta(days=1)}),
        (lambda job: job.retry(max_attempts=3), {"max_attempts": 3, "retry_delay": timedelta(0)}),
        (lambda job: job.retry(3, 2), {"max_attempts": 3, "retry_delay": timedelta(seconds=2)}),
        (lambda job: job.with_unique_key("k"), {"unique_key": "k"}),
        (lambda job: job.with_priority(-1), {"priority": -1}),
    ],
    ids=range(7),
)  # fmt: skip
def test_each_method_returns_a_changed_copy(changed, fields):
    job = Job("input", priority=7, meta={"by": "ada"}, id=JobId(ID))
    before = attrs.evolve(job)
    copy = changed(job)
    assert job == before
    assert copy is not job
    assert copy == attrs.evolve(job, **fields)


def test_the_methods_can_be_chained_and_none_undoes_another():
    job = Job(1).schedule(AT).with_timeout(2).retry(3, 4).with_unique_key("k").with_priority(5)
    assert job == Job(
        1,
        scheduled_at=AT,
        timeout=2,
        max_attempts=3,
        retry_delay=4,
        unique_key="k",
        priority=5,
    )


def test_a_job_cannot_be_changed():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Job(1).priority = 3


NO_DURATIONS = [-1, math.nan, math.inf, -math.inf, 1e300, 10**5000, True, "1", timedelta.max]
NO_WHOLE_NUMBERS = [1.0, "1", True, None, math.nan, 10**5000]

BAD = [
    *[("timeout", value) for value in [*NO_DURATIONS, 0, timedelta(0), 1e-9]],
    *[("retry_delay", value) for value in [*NO_DURATIONS, timedelta(-1), 1e-9]],
    *[("max_attempts", value) for value in [*NO_WHOLE_NUMBERS, 0, -1, 2**31] if value is not None],
    *[("priority", value) for value in [*NO_WHOLE_NUMBERS, 2**15, -(2**15) - 1]],
    *[("unique_key", value) for value in ["", "a\0", "\ud800", "é" * 1001, 3, b"k"]],
    ("scheduled_at", datetime(2030, 1, 1)),  # noqa: DTZ001
    ("scheduled_at", date(2030, 1, 1)),
    ("scheduled_at", "2030-01-01T00:00:00Z"),
    ("scheduled_at", 1893456000),
    ("scheduled_at", datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))),
    ("scheduled_at", datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))),
    ("id", "01a2"),
    ("id", 7),
    ("meta", []),
    ("meta", "notes"),
    ("meta", {1: 2}),
]


@pytest.mark.parametrize(("field", "value"), BAD, ids=range(len(BAD)))
def test_a_bad_value_is_refused_when_the_job_is_made(field, value):
    with pytest.raises(InvalidJob) as caught:
        Job("input", **{field: value})
    assert str(caught.value).startswith(field)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job.schedule(datetime(2030, 1, 1)),  # noqa: DTZ001
        lambda job: job.with_timeout(0),
        lambda job: job.retry(0),
        lambda job: job.retry(2, delay=-1),
        lambda job: job.with_unique_key(""),
        lambda job: job.with_priority(2**15),
    ],
    ids=range(6),
)
def test_a_bad_value_is_refused_by_the_methods_too(change):
    with pytest.raises(InvalidJob):
        change(Job("input"))


def test_the_limits_themselves_can_be_asked_for():
    job = Job(
        "input",
        scheduled_at=datetime.max.replace(tzinfo=UTC),
        timeout=0.000001,
        retry_delay=timedelta(days=36525),
        max_attempts=2**31 - 1,
        priority=-(2**15),
        unique_key="é" * 1000,
        meta=MappingProxyType({"by": "ada"}),
    )
    assert job.timeout == timedelta(microseconds=1)


def test_a_job_id_is_made_of_a_uuid_or_its_text():
    assert JobId(ID) == JobId(UUID(ID)) == JobId(ID.upper())
    assert str(JobId(ID)) == ID
    assert len({JobId(ID), JobId(UUID(ID))}) == 1
    for value in ("", "x", 3, None, b"x", ID[:-1]):
        with pytest.raises(InvalidJob, match="a job id is a UUID or its text"):
            JobId(value)


def test_the_words_of_the_database_are_those_of_the_original():
    assert [each.value for each in JobStatus] == [
        "pending",
        "reserved",
        "executing",
        "succeeded",
        "failed",
        "cancelled",
    ]
    assert {each.value for each in FailureReason} == {
        "error",
        "heartbeat_timeout",
        "job_timeout",
        "crash",
    }


def test_nothing_moves_on_from_an_end_and_all_else_can_be_cancelled():
    ends = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}
    assert not ends & {before for before, _ in MOVES}
    assert {before for before, after in MOVES if after is JobStatus.CANCELLED} == (
        set(JobStatus) - ends
    )


@pytest.mark.parametrize(
    ("reason", "attempt", "max_attempts", "losses", "allowed", "expected"),
    [
        (FailureReason.ERRORED, 1, 1, 0, 3, False),
        (FailureReason.ERRORED, 1, 2, 0, 3, True),
        (FailureReason.CRASH, 2, 2, 0, 3, False),
        (FailureReason.CRASH, 3, 2, 2, 3, True),
        (FailureReason.JOB_TIMEOUT, 3, 2, 1, 3, False),
        (FailureReason.HEARTBEAT_TIMEOUT, 1, 1, 1, 3, True),
        (FailureReason.HEARTBEAT_TIMEOUT, 3, 1, 3, 3, True),
        (FailureReason.HEARTBEAT_TIMEOUT, 4, 9, 4, 3, False),
        (FailureReason.HEARTBEAT_TIMEOUT, 1, 9, 1, 0, False),
    ],
)
def test_a_failed_attempt_is_followed_while_attempts_or_allowed_losses_are_left(
    reason, attempt, max_attempts, losses, allowed, expected
):
    assert expected is has_next_attempt(
        reason, attempt=attempt, max_attempts=max_attempts, losses=losses, allowed_losses=allowed
    )
