"""The database's clock is set back while jobs wait: they seem to be created in the future."""

from __future__ import annotations

from datetime import datetime

import pytest
import trio

import m25
from support.told import said, told
from support.waiting import ended, eventually, rows

#: To make the rows younger is as good as to set the clock of a server back.
SET_BACK = (
    "update m25.job set created_at = created_at + interval '1 hour',"
    " scheduled_at = scheduled_at + interval '1 hour'"
)


@m25.queue("waiting", poll_interval=0.2)
async def waiting(number: int) -> int:
    return number


async def test_jobs_that_nobody_scheduled_do_not_wait_for_the_clock(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with m25.open(dsn) as m:
        jobs = [await m.enqueue(waiting, number) for number in range(5)]
        urgent = await m.enqueue(waiting, m25.Job(5, priority=-3))
        await rows(dsn, SET_BACK)
        soon = await m.enqueue(waiting, m25.Job(6).schedule(at=await later(dsn)))
        m.add_queue(waiting)
        await m.start()
        with trio.fail_after(60):
            for job in (*jobs, urgent):
                assert (await ended(m, waiting, job.id)).status is m25.JobStatus.SUCCEEDED
        # A process that runs already sees it as well.
        await rows(
            dsn,
            "insert into m25.job (queue_name, input, timeout, attempt, created_at)"
            " values ('waiting', '7', '1 minute', 1, now() + interval '40 seconds')",
        )
        await eventually(lambda: succeeded(dsn, 7))
        assert (await m.get_job(waiting, soon.id)).status is m25.JobStatus.PENDING
    assert told(caplog) == ["JobsRedated", "JobsRedated"]
    assert said(caplog)[0].getMessage() == (
        "database's clock was set back: pending jobs of queue 'waiting' dated now, 6"
    )


async def later(dsn: str) -> datetime:
    (row,) = await rows(dsn, "select now() + interval '30 minutes' as later")
    return row["later"]


async def succeeded(dsn: str, number: int) -> bool:
    (row,) = await rows(dsn, "select count(*) from m25.job where status = 'succeeded'")
    return bool(row["count"] == number)
