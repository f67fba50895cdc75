"""What the log says of a database that goes away."""

from __future__ import annotations

import logging

import psycopg
import pytest
import trio
import trio.testing

from m25._database_health import DatabaseHealth


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "m25.database"]


async def test_an_outage_is_told_in_a_few_lines(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    outage = DatabaseHealth()
    for _ in range(3_000):
        outage.failed(psycopg.OperationalError("gone"))
        await trio.sleep(0.1)
    outage.worked()
    lines = said(caplog)
    assert lines[0] == "database call failed; will be repeated"
    assert lines[-1] == "database answers again"
    assert set(lines[1:-1]) == {"database calls still fail"}
    assert len(lines) < 10


async def test_calls_that_fail_while_others_work_are_told_in_a_few_lines_too(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    outage = DatabaseHealth()
    for _ in range(3_000):
        outage.failed(psycopg.OperationalError("disk full"))
        await trio.sleep(0.05)
        outage.worked()
        await trio.sleep(0.05)
    assert len(said(caplog)) < 20


async def test_another_outage_is_told_anew(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    outage = DatabaseHealth()
    for _ in range(2):
        outage.failed(psycopg.OperationalError("gone"))
        outage.worked()
        await trio.sleep(60)
    assert (
        said(caplog)
        == [
            "database call failed; will be repeated",
            "database answers again",
        ]
        * 2
    )
