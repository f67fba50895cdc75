"""The lines of the log: words for people, fields for programs, payloads for nobody."""

from __future__ import annotations

import copy
import logging
import runpy
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from m25 import _events
from m25._emitter import Emitter
from m25._events import (
    AttemptFailed,
    DatabaseFailing,
    Event,
    JobCrashed,
    JobErrored,
    JobStarted,
    LoopStalled,
    OutcomesUnwritten,
)
from m25.instrumentation.logging import LoggingListener

ROOT = Path(__file__).parents[2]
EVENTS: list[type[Event]] = runpy.run_path(str(ROOT / "tools" / "pages.py"))["events"]()
#: A value for a field of each type. What an exception says may be payload.
VALUES: dict[Any, Any] = {
    "str": "a word",
    "str | None": "a word",
    "int": 7,
    "float": 1.25,
    "float | None": 1.5,
    "bool": True,
    "tuple[str, ...]": ("01a2", "03b4"),
    "BaseException": ValueError("payload"),
    "BaseException | None": ValueError("payload"),
}
CRASH: dict[str, Any] = {
    "queue": "emails",
    "job_id": "01a2",
    "attempt": 2,
    "max_attempts": 5,
    "error": ValueError("payload"),
}


def sample(event_class: type[Event]) -> Event:
    return event_class(
        **{each.name: VALUES[each.type] for each in attrs.fields(event_class) if each.init}
    )


class Lines(logging.Handler):
    """Keeps records, as whatever is set up in production sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def lines() -> Generator[list[logging.LogRecord]]:
    handler, logger = Lines(), logging.getLogger("m25")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler.records
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


@contextmanager
def record_factory(**attributes: Any) -> Generator[None]:
    former = logging.getLogRecordFactory()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = former(*args, **kwargs)
        record.__dict__.update(attributes)
        return record

    logging.setLogRecordFactory(make)
    try:
        yield
    finally:
        logging.setLogRecordFactory(former)


def emit(event: Event) -> None:
    Emitter([LoggingListener()]).emit(event)


def test_a_crash_is_said_in_words(lines: list[logging.LogRecord]) -> None:
    emit(JobCrashed(**CRASH, next_attempt=True))
    emit(JobCrashed(**CRASH, next_attempt=False))
    words = "handler crashed: ValueError in job 01a2 of queue 'emails', attempt 2 of 5; "
    assert [line.getMessage() for line in lines] == [
        f"{words}another attempt follows",
        f"{words}no attempt is left",
    ]
    text = logging.Formatter().format(lines[0])
    assert "\nValueError: payload" in text


@pytest.mark.parametrize("event_class", EVENTS)
def test_every_event_has_a_line_with_its_fields(
    event_class: type[Event], lines: list[logging.LogRecord]
) -> None:
    event = sample(event_class)
    emit(event)
    (line,) = lines
    assert line.name == event_class.logger
    assert line.levelno == event.severity <= event_class.level
    assert line.msg == event_class.message
    assert line.m25_event == event_class.__name__
    error = getattr(event, "error", None)
    if getattr(event, "is_told", False):
        # The line of another job has it.
        error = None
    assert (line.exc_info and line.exc_info[1]) is error
    fields = {each.name: getattr(event, each.name) for each in attrs.fields(event_class)}
    fields.pop("error", None)
    assert {
        name.removeprefix("m25_"): value
        for name, value in vars(line).items()
        if name.startswith("m25_") and name != "m25_event"
    } == fields


@pytest.mark.parametrize("event_class", EVENTS)
def test_no_event_says_what_an_exception_says(
    event_class: type[Event], lines: list[logging.LogRecord]
) -> None:
    event = sample(event_class)
    emit(event)
    (line,) = lines
    assert "payload" not in line.getMessage()
    assert "payload" not in repr(event)
    assert "payload" not in repr(line.args)


@pytest.mark.parametrize("event_class", [e for e in EVENTS if issubclass(e, _events.JobEvent)])
def test_every_line_of_a_job_names_it_its_queue_and_the_attempt(
    event_class: type[Event], lines: list[logging.LogRecord]
) -> None:
    emit(attrs.evolve(sample(event_class), queue="emails\n", job_id="01a2", attempt=3, losses=0))
    (line,) = lines
    assert r"job 01a2 of queue 'emails\n', attempt 3 of 7" in line.getMessage()


@pytest.mark.parametrize("event_class", [e for e in EVENTS if issubclass(e, AttemptFailed)])
def test_every_line_of_a_failed_attempt_says_what_follows(
    event_class: type[Event], lines: list[logging.LogRecord]
) -> None:
    whole = attrs.evolve(sample(event_class), next_attempt=True, given_up=False)
    for event in (
        whole,
        attrs.evolve(whole, next_in=0.0),
        attrs.evolve(whole, next_in=None),
        attrs.evolve(whole, next_attempt=False),
        attrs.evolve(whole, next_attempt=False, given_up=True),
    ):
        emit(event)
    assert [line.getMessage().rpartition("; ")[2] for line in lines] == [
        "another attempt follows in 1.5 s",
        "another attempt follows at once",
        "another attempt follows",
        "no attempt is left",
        "given up",
    ]


def test_a_declared_error_is_a_warning_once_no_attempt_is_left(
    lines: list[logging.LogRecord],
) -> None:
    event = sample(JobErrored)
    emit(attrs.evolve(event, next_attempt=True))
    emit(attrs.evolve(event, next_attempt=False))
    assert [line.levelno for line in lines] == [logging.INFO, logging.WARNING]


def test_where_warnings_are_wanted_so_is_the_last_declared_error(
    lines: list[logging.LogRecord],
) -> None:
    logging.getLogger("m25").setLevel(logging.WARNING)
    event = sample(JobErrored)
    emit(attrs.evolve(event, next_attempt=True))
    emit(attrs.evolve(event, next_attempt=False))
    assert [line.levelno for line in lines] == [logging.WARNING]


@pytest.mark.parametrize(
    ("job_ids", "words"),
    [
        ((), "jobs that are not known"),
        (("a",), "job a"),
        (("a", "b"), "jobs a, b"),
        (tuple("abcdefgh"), "jobs a, b, c, d, e and 3 more"),
    ],
)
def test_a_line_names_a_few_jobs_and_its_record_all(
    job_ids: tuple[str, ...], words: str, lines: list[logging.LogRecord]
) -> None:
    emit(LoopStalled(queues=("emails",), seconds=2.5, job_ids=job_ids))
    emit(OutcomesUnwritten(queue="emails", job_ids=job_ids))
    for line in lines:
        assert line.getMessage().endswith(f" {words}")
        assert line.m25_job_ids == job_ids


def test_a_stop_says_no_result_is_lost_where_there_was_none(
    lines: list[logging.LogRecord],
) -> None:
    emit(OutcomesUnwritten(queue="emails", job_ids=()))
    emit(OutcomesUnwritten(queue="emails", job_ids=("a",)))
    claim, outcome = (line.getMessage() for line in lines)
    assert "whether the last claim of queue 'emails' took jobs" in claim
    assert "what queue 'emails' had left to write" in outcome


def test_a_level_that_is_not_enabled_is_not_wanted(lines: list[logging.LogRecord]) -> None:
    emitter = Emitter([LoggingListener()])
    assert emitter.wants(JobStarted)
    logging.getLogger("m25").setLevel(logging.INFO)
    assert not emitter.wants(JobStarted)
    emitter.emit(sample(JobStarted))
    assert lines == []


def test_a_disabled_logger_writes_nothing(lines: list[logging.LogRecord]) -> None:
    logger = logging.getLogger(JobCrashed.logger)
    logger.disabled = True
    try:
        emit(JobCrashed(**CRASH, next_attempt=True))
    finally:
        logger.disabled = False
    assert lines == []


def test_a_loggers_filter_decides(lines: list[logging.LogRecord]) -> None:
    def is_of_others(record: logging.LogRecord) -> bool:
        return record.m25_queue != "emails"

    logger = logging.getLogger(JobCrashed.logger)
    logger.addFilter(is_of_others)
    try:
        emit(JobCrashed(**CRASH, next_attempt=True))
        emit(JobCrashed(**{**CRASH, "queue": "letters"}, next_attempt=True))
    finally:
        logger.removeFilter(is_of_others)
    assert [line.m25_queue for line in lines] == ["letters"]


def test_a_record_factory_may_have_the_same_names(lines: list[logging.LogRecord]) -> None:
    with record_factory(job_id="theirs", queue="theirs", m25_job_id="theirs", m25_event="theirs"):
        emit(JobCrashed(**CRASH, next_attempt=True))
    (line,) = lines
    assert (line.job_id, line.m25_job_id, line.m25_event) == ("theirs", "01a2", "JobCrashed")
    assert "job 01a2 of queue 'emails'" in line.getMessage()


def test_no_field_has_a_name_that_can_be_anybody_elses(lines: list[logging.LogRecord]) -> None:
    # A formatter adds the message.
    own = {*vars(logging.makeLogRecord({})), "message", "asctime"}
    for event_class in EVENTS:
        emit(sample(event_class))
    for line in lines:
        assert all(name.startswith("m25_") for name in set(vars(line)) - own)


def test_a_line_says_where_it_was_emitted(lines: list[logging.LogRecord]) -> None:
    Emitter([LoggingListener()]).emit(sample(DatabaseFailing))
    (line,) = lines
    assert (line.funcName, line.pathname) == ("test_a_line_says_where_it_was_emitted", __file__)


def test_a_record_can_be_copied(lines: list[logging.LogRecord]) -> None:
    # As `QueueHandler` does.
    emit(JobCrashed(**CRASH, next_attempt=True))
    assert copy.copy(lines[0]).getMessage() == lines[0].getMessage()
