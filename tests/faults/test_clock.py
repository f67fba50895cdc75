"""A worker whose clock is an hour off: the database's clock is the one that counts."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import m25
from support.processes import worker
from support.waiting import chain, eventually, rows


@m25.queue("sleeps")
async def sleeps(seconds: float) -> int:
    raise AssertionError("run by the worker")


def shifted(hours: int) -> dict[str, str]:
    """The environment of a program that takes it to be so many hours later."""
    found = sorted(Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime is not installed")
    return {
        **os.environ,
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": f"{hours:+}h",
        # Which is what is set when a clock is set.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_worker_whose_clock_is_wrong_is_on_time(dsn: str, hours: int) -> None:
    async with m25.open(dsn) as m, worker(dsn, environment=shifted(hours)):
        (row,) = await rows(dsn, "select now()")
        soon = row["now"] + timedelta(seconds=1)
        scheduled = await m.enqueue(sleeps, m25.Job(0.0, scheduled_at=soon))
        overdue = m25.Job(30.0, timeout=0.4, max_attempts=2, retry_delay=0.5)
        retried = await m.enqueue(sleeps, overdue)
        # Longer than a lease: heartbeats renew it.
        long = await m.enqueue(sleeps, 1.5)

        async def all_ended() -> bool:
            statement = "select count(*) from m25.job where finished_at is not null"
            return bool((await rows(dsn, statement))[0]["count"] == 4)

        await eventually(all_ended)
    (on_time,) = await chain(dsn, scheduled.id)
    assert timedelta(0) <= on_time["started_at"] - soon < timedelta(seconds=30)
    first, second = await chain(dsn, retried.id)
    for attempt in (first, second):
        assert attempt["failure_reason"] == "job_timeout"
        took = attempt["finished_at"] - attempt["started_at"]
        assert timedelta(seconds=0.4) <= took < timedelta(seconds=30)
    assert second["started_at"] - first["finished_at"] >= timedelta(seconds=0.5)
    # The id of the second attempt was made by the worker, and says what its clock was.
    made_at = datetime.fromtimestamp((second["id"].int >> 80) / 1000, UTC)
    assert abs(made_at - second["created_at"] - timedelta(hours=hours)) < timedelta(minutes=1)
    (kept,) = await chain(dsn, long.id)
    assert (kept["status"], kept["losses"]) == ("succeeded", 0)
    assert timedelta(seconds=1.5) <= kept["finished_at"] - kept["started_at"]
