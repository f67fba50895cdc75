"""An attempt that follows a lost one is not said to be one too many."""

from __future__ import annotations

import pytest

import m25
from support.waiting import chain, ended, eventually, rows


@m25.queue("crashes")
async def crashes(_: int) -> None:
    raise RuntimeError("crash")


async def test_an_attempt_after_a_lost_one_is_told_as_such(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with m25.open(dsn) as m:
        first = await m.enqueue(crashes, 1)
        assert first.counted_attempt == 1
        # As the next attempt is after one whose worker was killed.
        await rows(dsn, "update m25.job set losses = 1, attempt = 2 where id = %(id)s", id=first.id)
        m.add_queue(crashes)
        await m.start()
        record = await ended(m, crashes, first.id)
    assert (record.attempt, record.losses, record.counted_attempt) == (2, 1, 1)
    (event,) = (each for each in caplog.records if each.m25_event == "JobCrashed")
    assert f"job {first.id} of queue 'crashes', attempt 2 (1 lost), 1 allowed; " in (
        event.getMessage()
    )
    assert event.m25_losses == 1
    assert len(await chain(dsn, first.id)) == 1


@m25.queue("ruled", retry=m25.Retry(max_attempts=1))
async def ruled(_: int) -> None:
    raise RuntimeError("crash")


async def test_an_attempt_that_an_operator_has_asked_for_is_not_said_to_follow_a_lost_one(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with m25.open(dsn) as m:
        first = await m.enqueue(ruled, 1)
        m.add_queue(ruled)
        await m.start()
        await ended(m, ruled, first.id)
        await m.retry(first.id)

        async def has_failed_again() -> bool:
            last = await m.current(ruled, first.id)
            return (last.attempt, last.status) == (2, m25.JobStatus.FAILED)

        await eventually(has_failed_again)
    (_, again) = (each.getMessage() for each in caplog.records if each.m25_event == "JobCrashed")
    assert "of queue 'ruled', attempt 2, 1 allowed; " in again
