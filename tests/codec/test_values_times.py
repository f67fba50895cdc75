"""Durations and points in time as PostgreSQL hands them over: seconds, as decimal text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m25._timestamps import (
    duration_from_text,
    duration_to_text,
    timestamp_from_text,
    timestamp_to_text,
)
from support.thorough import thorough, tries

pytestmark = thorough

steady = settings(derandomize=True, database=None, deadline=None, max_examples=tries(100, 20))


@steady
@given(st.timedeltas())
def test_a_duration_comes_back_to_the_microsecond(duration):
    assert duration_from_text(duration_to_text(duration)) == duration


@steady
@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_comes_back_to_the_microsecond(moment):
    again = timestamp_from_text(timestamp_to_text(moment))
    assert again == moment
    assert again.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0", timedelta(0)),
        ("300", timedelta(minutes=5)),
        ("-0.5", timedelta(seconds=-0.5)),
        ("0.000001", timedelta(microseconds=1)),
        ("1.50", timedelta(seconds=1.5)),
    ],
)
def test_seconds_are_read(text, duration):
    assert duration_from_text(text) == duration


def test_a_moment_before_the_epoch_and_in_another_zone_is_written_in_seconds():
    assert timestamp_to_text(datetime(1969, 12, 31, 23, 59, 59, 500000, tzinfo=UTC)) == "-0.500000"
    east = timezone(timedelta(hours=1))
    assert timestamp_to_text(datetime(1970, 1, 1, 1, tzinfo=east)) == "0.000000"


@pytest.mark.parametrize(
    "text", ["", "-", ".5", "1.", "1e3", "inf", "-Infinity", "NaN", " 1", "1\n", "1.1234567", "٣"]
)
def test_what_is_no_number_of_seconds_is_an_error(text):
    with pytest.raises(ValueError, match="not a number of seconds"):
        duration_from_text(text)


@pytest.mark.parametrize("text", ["9" * 20, "9" * 5_000, "-" + "9" * 20])
def test_more_than_python_can_hold_is_an_error(text):
    with pytest.raises((OverflowError, ValueError)):
        duration_from_text(text)
    with pytest.raises((OverflowError, ValueError)):
        timestamp_from_text(text)


def test_a_year_beyond_9999_is_an_error():
    with pytest.raises(OverflowError):
        timestamp_from_text("253402300800")
