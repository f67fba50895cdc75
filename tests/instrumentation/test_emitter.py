"""The emitter: every listener hears what it wants, and none can do harm."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
import trio

from m25._emitter import Emitter
from m25._events import DatabaseAnswers, Event, JobStarted
from m25.instrumentation.logging import LoggingListener

EVENT = DatabaseAnswers(failures=3, seconds=1.5)


class Hearing:
    """A listener that keeps what it hears."""

    def __init__(self, *classes: type[Event]) -> None:
        self.classes = classes
        self.heard: list[Event] = []

    def wants(self, event_class: type[Event], /) -> bool:
        return event_class in self.classes

    def __call__(self, event: Event, /) -> None:
        self.heard.append(event)


class Failing(Hearing):
    """A listener that raises when it hears."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(DatabaseAnswers)
        self.error = error

    def __call__(self, event: Event, /) -> None:
        raise self.error


class Refusing(Failing):
    """A listener that raises when it is asked."""

    def wants(self, event_class: type[Event], /) -> bool:
        raise self.error


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    return told


def test_a_listener_hears_what_it_wants() -> None:
    wanting, other = Hearing(DatabaseAnswers), Hearing(JobStarted)
    Emitter([wanting, other]).emit(EVENT)
    assert wanting.heard == [EVENT]
    assert other.heard == []


def test_an_event_is_wanted_where_any_listener_wants_it() -> None:
    emitter = Emitter([Hearing(), Hearing(DatabaseAnswers)])
    assert emitter.wants(DatabaseAnswers)
    assert not emitter.wants(JobStarted)
    assert not Emitter([]).wants(JobStarted)


@pytest.mark.parametrize("kind", [Failing, Refusing])
@pytest.mark.parametrize(
    "error",
    [ValueError("wrong"), SystemExit(2), GeneratorExit(), BaseExceptionGroup("", [SystemExit()])],
    ids=repr,
)
def test_what_a_listener_raises_stays_with_the_emitter_and_others_hear(
    kind: type[Failing], error: BaseException, unraisable: list[Any]
) -> None:
    failing, before, after = kind(error), Hearing(DatabaseAnswers), Hearing(DatabaseAnswers)
    Emitter([before, failing, after]).emit(EVENT)
    assert before.heard == after.heard == [EVENT]
    (told,) = unraisable
    assert told.exc_value is error


def test_who_cannot_say_what_it_wants_does_not_keep_others_from_it(unraisable: list[Any]) -> None:
    emitter = Emitter([Refusing(SystemExit()), Hearing(DatabaseAnswers)])
    assert emitter.wants(DatabaseAnswers)
    assert not emitter.wants(JobStarted)
    assert len(unraisable) == 2


@pytest.mark.parametrize("kind", [Failing, Refusing])
def test_ctrl_c_passes(kind: type[Failing]) -> None:
    with pytest.raises(KeyboardInterrupt):
        Emitter([kind(KeyboardInterrupt())]).emit(EVENT)


def test_ctrl_c_passes_whoever_asks() -> None:
    with pytest.raises(KeyboardInterrupt):
        Emitter([Refusing(KeyboardInterrupt())]).wants(DatabaseAnswers)


def test_pythons_own_hook_says_where_a_listener_failed(capsys: pytest.CaptureFixture[str]) -> None:
    hook, sys.unraisablehook = sys.unraisablehook, sys.__unraisablehook__
    try:
        Emitter([Failing(ValueError("wrong"))]).emit(EVENT)
    finally:
        sys.unraisablehook = hook
    said = capsys.readouterr().err
    assert "_ListenerFailure" in said
    assert "raise self.error" in said
    assert said.endswith("ValueError: wrong\n")


def test_a_hook_that_fails_does_no_harm_either(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise SystemExit("the hook, too")

    monkeypatch.setattr(sys, "unraisablehook", fail)
    after = Hearing(DatabaseAnswers)
    Emitter([Failing(ValueError("wrong")), after]).emit(EVENT)
    assert after.heard == [EVENT]
    assert "SystemExit: the hook, too" in capsys.readouterr().err


class RaisingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise SystemExit("no disk")


@pytest.mark.usefixtures("caplog")
def test_a_logging_handler_that_raises_ends_nothing(unraisable: list[Any]) -> None:
    handler, logger = RaisingHandler(), logging.getLogger(DatabaseAnswers.logger)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    after = Hearing(DatabaseAnswers)
    try:
        Emitter([LoggingListener(), after]).emit(EVENT)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert [type(told.exc_value) for told in unraisable] == [SystemExit]
    assert after.heard == [EVENT]


def test_a_record_factory_that_raises_ends_nothing(unraisable: list[Any]) -> None:
    def fail(*_: Any, **__: Any) -> logging.LogRecord:
        raise KeyError("request_id")

    factory = logging.getLogRecordFactory()
    logging.getLogger(DatabaseAnswers.logger).setLevel(logging.INFO)
    logging.setLogRecordFactory(fail)
    try:
        Emitter([LoggingListener()]).emit(EVENT)
    finally:
        logging.setLogRecordFactory(factory)
        logging.getLogger(DatabaseAnswers.logger).setLevel(logging.NOTSET)
    assert [type(told.exc_value) for told in unraisable] == [KeyError]


async def test_within_trio_a_task_that_emits_goes_on(unraisable: list[Any]) -> None:
    emitter, done = Emitter([Failing(SystemExit())]), trio.Event()

    async def task() -> None:
        emitter.emit(EVENT)
        await trio.lowlevel.checkpoint()
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(task)
    assert done.is_set()
    assert len(unraisable) == 1
