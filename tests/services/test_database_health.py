"""What the log says of a database that goes away."""

from __future__ import annotations

import logging

import psycopg
import pytest
import trio
import trio.testing

from m25._database_health import DatabaseHealth
from m25._emitter import Emitter
from m25._store.failures import sort_error
from m25.instrumentation.logging import LoggingListener
from support.failing import connection_lost
from support.told import told


def database_health() -> DatabaseHealth:
    return DatabaseHealth(Emitter([LoggingListener()]))


async def test_an_outage_is_told_in_a_few_lines(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    health = database_health()
    for _ in range(3_000):
        health.failed(connection_lost())
        await trio.sleep(0.1)
    health.answered()
    events = told(caplog)
    assert events[0] == "DatabaseFailing"
    assert events[-1] == "DatabaseAnswers"
    assert set(events[1:-1]) == {"DatabaseStillFailing"}
    assert len(events) < 10


async def test_calls_that_fail_while_others_work_are_told_in_a_few_lines_too(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    health = database_health()
    for _ in range(3_000):
        health.failed(connection_lost())
        await trio.sleep(0.05)
        health.answered()
        await trio.sleep(0.05)
    assert len(told(caplog)) < 20


async def test_another_outage_is_told_anew(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    health = database_health()
    for _ in range(2):
        health.failed(connection_lost())
        health.answered()
        await trio.sleep(60)
    assert told(caplog) == ["DatabaseFailing", "DatabaseAnswers"] * 2


async def test_a_mistake_of_ours_is_told_in_full_and_not_each_time(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    health = database_health()
    mistake = sort_error("claim", psycopg.errors.UndefinedColumn("no such column"))
    for _ in range(100):
        health.failed(mistake)
        await trio.sleep(1)
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert "statement 'claim'" in line.getMessage()
    assert "UndefinedColumn" in line.getMessage()
    assert line.exc_info is not None
