"""Ids come in the order in which they were made."""

from __future__ import annotations

import pytest

from m25._ids import IdSource


def test_ids_of_one_source_are_in_order_also_where_the_clock_stands_still_or_is_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([5_000_000, 5_000_000, 4_000_000, 5_000_100, 5_000_400, 9_000_000])
    monkeypatch.setattr("m25._ids.time.time_ns", lambda: next(times))
    make_id = IdSource()
    ids = [make_id() for _ in range(6)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 6


def test_calls_that_have_a_source_each_keep_their_order_within_a_millisecond() -> None:
    ids = [IdSource()() for _ in range(1_000)]
    assert ids == sorted(ids)
