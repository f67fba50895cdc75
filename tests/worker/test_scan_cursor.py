"""Where the next claim of a queue begins, how often from the start, and what comes before that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25._store.protocol import JobRow, Position
from m25._worker.scan_cursor import ScanCursor

#: What a cursor reads of a job.
ROW = cast(
    "JobRow", SimpleNamespace(id="1", priority=3, created_at="1700000000.25", scheduled_at=None)
)
BEHIND = [Position(3, "1700000000.25", "1")]


def test_the_first_claim_begins_from_the_start() -> None:
    assert ScanCursor(5.0).next(0.0) == ()


def test_while_there_is_enough_to_claim_claims_go_on_for_a_second() -> None:
    cursor = ScanCursor(5.0)
    cursor.claimed([ROW], (), began=10.0, now=10.001, is_filled=True)
    assert cursor.next(10.9) == BEHIND
    cursor.claimed([ROW], BEHIND, began=10.9, now=10.901, is_filled=True)
    assert cursor.next(11.1) == ()


def test_where_little_is_to_be_claimed_the_next_claim_begins_from_the_start() -> None:
    cursor = ScanCursor(5.0)
    cursor.claimed([ROW], (), began=10.0, now=10.001, is_filled=False)
    assert cursor.next(10.01) == BEHIND
    assert cursor.next(10.03) == ()


def test_where_claims_from_the_start_take_long_they_are_a_twentieth_of_the_time() -> None:
    cursor = ScanCursor(5.0)
    for is_filled in (False, True):
        cursor.claimed([ROW], (), began=10.0, now=10.2, is_filled=is_filled)
        assert cursor.next(14.1) == BEHIND
        assert cursor.next(14.3) == ()


def test_no_claim_is_further_from_one_from_the_start_than_the_queue_polls() -> None:
    cursor = ScanCursor(5.0)
    cursor.claimed([ROW], (), began=10.0, now=13.0, is_filled=False)
    assert cursor.next(17.9) == BEHIND
    assert cursor.next(18.0) == ()


def test_after_a_hint_that_something_lies_before_it_the_next_claim_begins_from_the_start() -> None:
    cursor = ScanCursor(5.0)
    cursor.claimed([ROW], (), began=10.0, now=10.001, is_filled=True)
    cursor.rewind()
    assert cursor.next(10.01) == ()


async def test_a_job_that_comes_alone_begins_before_its_claim_is_looked_after(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    claimed = ScanCursor.claimed

    def noted(self: ScanCursor, rows: Any, *args: Any, **options: Any) -> None:
        if rows:
            order.append("cursor")
        claimed(self, rows, *args, **options)

    monkeypatch.setattr(ScanCursor, "claimed", noted)

    @m25.queue("alone")
    async def alone(_: None) -> None:
        order.append("handler")

    async with m25.testing.open() as m:
        m.add_queue(alone)
        await m.start()
        # In Trio's turns either may come first by chance.
        for _ in range(20):
            await m.call(alone, None)
            await trio.testing.wait_all_tasks_blocked()
    assert order == ["handler", "cursor"] * 20
