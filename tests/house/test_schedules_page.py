"""The table of the two nights in docs/schedules.md has the ticks that there are."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import m25

PAGE = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([^`]*)` \| ?(.*?) \| (.*?) \|$", re.MULTILINE)
BERLIN = ZoneInfo("Europe/Berlin")
SECOND = timedelta(seconds=1)


def ticks_of(expression: str, year: int, month: int, day: int) -> str:
    """The ticks of a night from 1:00 to 4:00, as the page shows them."""
    begin = datetime(year, month, day, 1, tzinfo=BERLIN).astimezone(UTC) - SECOND
    end = datetime(year, month, day, 4, tzinfo=BERLIN).astimezone(UTC)
    found: list[str] = []
    for tick in m25.next_ticks(expression, timezone="Europe/Berlin", after=begin):
        if tick >= end:
            break
        found.append(f"{tick.astimezone(BERLIN):%H:%M %Z}")
    return ", ".join(found)


def test_the_ticks_of_the_two_nights_are_those_of_the_table() -> None:
    rows = [row for row in ROW.findall(PAGE) if "*" in row[0]]
    assert len(rows) == 8
    for expression, spring, autumn in rows:
        assert spring == ticks_of(expression, 2026, 3, 29), expression
        assert autumn == ticks_of(expression, 2026, 10, 25), expression
