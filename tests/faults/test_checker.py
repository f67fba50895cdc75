"""The checker finds what is wrong in a history that keeps every promise but for one thing."""

from __future__ import annotations

from typing import Any

import pytest

from m25._store.protocol import JobRow

from .checker import violations
from .journal import Entry

FIRST, SECOND = "00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002"


def row(id: str, **changes: Any) -> JobRow:
    values: dict[str, Any] = dict.fromkeys(JobRow._fields)
    values.update(
        id=id,
        queue_name="q",
        created_at="1000.0",
        input="1",
        reserved_at="1001.0",
        started_at="1001.0",
        finished_at="1003.0",
        timeout="5",
        status="succeeded",
        output='"run 1"',
        deadline="1006.0",
        attempt=1,
        max_attempts=3,
        retry_delay="0",
        priority=0,
        losses=0,
    )
    return JobRow(**{**values, **changes})


def entry(event: str, at: float, **facts: Any) -> Entry:
    return Entry("worker-0.1", at, event, facts)


def history() -> tuple[list[JobRow], list[Entry]]:
    """Two attempts of one job, and all that was written down of them."""
    rows = [
        row(FIRST, status="failed", failure_reason="error", output=None, error_data='["x"]'),
        row(
            SECOND,
            attempt=2,
            original_attempt_id=FIRST,
            previous_attempt_id=FIRST,
            created_at="1003.0",
            scheduled_at="1003.0",
            reserved_at="1004.0",
            started_at="1004.0",
            finished_at="1006.0",
            output='"run 2"',
        ),
    ]
    journal = [
        entry("asked", 999, jobs=[FIRST]),
        entry("acknowledged", 1000.5, jobs=[FIRST]),
        entry("began", 1001.5, job=FIRST, run="run 1", attempt=1, token="first", running=1),
        entry("ended", 1002, run="run 1", how="error"),
        entry("began", 1004.5, job=SECOND, run="run 2", attempt=2, token="second", running=1),
        entry("ended", 1005, run="run 2", how="succeeded"),
    ]
    return rows, journal


def found(
    rows: list[JobRow],
    journal: list[Entry],
    witnessed: tuple[object, ...] = (),
    tokens: tuple[str, str] = ("first", "second"),
) -> list[str]:
    by_row = dict(zip((FIRST, SECOND), tokens, strict=True))
    return violations(rows, journal, witnessed, by_row, max_concurrency=2, allowed_losses=3)


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert found(*history()) == []


@pytest.mark.parametrize(
    ("at", "changes", "number"),
    [
        (1, {"status": "executing", "finished_at": None, "output": None}, 2),
        (1, {"status": "cancelled", "cancelled_at": "1004.2"}, 2),
        (1, {"output": None}, 2),
        (1, {"output": '"run 1"'}, 3),
        (0, {"failure_reason": "crash"}, 3),
        (1, {"attempt": 3}, 4),
        (1, {"original_attempt_id": SECOND}, 4),
        (1, {"previous_attempt_id": None}, 4),
        (1, {"input": "2"}, 4),
        (0, {"status": "succeeded", "failure_reason": None, "output": '"run 1"'}, 4),
        (1, {"scheduled_at": "1004.9"}, 7),
        (0, {"retry_delay": "60"}, 7),
    ],
)
def test_a_row_that_is_wrong_is_found(at: int, changes: dict[str, Any], number: int) -> None:
    rows, journal = history()
    rows[at] = rows[at]._replace(**changes)
    assert any(problem.startswith(f"{number}: ") for problem in found(rows, journal))


def test_a_row_that_is_missing_is_found() -> None:
    rows, journal = history()
    assert any(problem.startswith("1: ") for problem in found(rows[1:], journal))
    assert any(problem.startswith("4: ") for problem in found(rows[:1], journal))


def test_a_row_too_many_is_found() -> None:
    rows, journal = history()
    fork = row("00000000-0000-7000-8000-000000000003")._replace(
        **{name: getattr(rows[1], name) for name in JobRow._fields if name != "id"}
    )
    assert any(problem.startswith("4: ") for problem in found([*rows, fork], journal))
    assert any(problem.startswith("1: ") for problem in found(rows, journal[1:]))


@pytest.mark.parametrize(
    ("event", "facts", "number"),
    [
        ("began", {"job": FIRST, "run": "run 3", "attempt": 1, "token": "1", "running": 3}, 6),
        ("shared key", {"key": "k"}, 5),
        ("cancelled", {"job": SECOND}, 2),
        ("not stopped", {"worker": "worker-0.1", "why": "it is still there"}, 9),
        ("ended unasked", {"worker": "worker-0.1", "status": 1}, 12),
        ("damaged", {"job": FIRST, "run": "run 1"}, 13),
    ],
)
def test_an_entry_that_is_wrong_is_found(event: str, facts: dict[str, Any], number: int) -> None:
    rows, journal = history()
    wrong = entry(event, 1002.5, **facts)
    assert any(problem.startswith(f"{number}: ") for problem in found(rows, [*journal, wrong]))


def test_a_run_that_began_too_early_is_found() -> None:
    rows, journal = history()
    journal[4] = entry(
        "began", 1002.9, job=SECOND, run="run 2", attempt=2, token="second", running=1
    )
    assert any(problem.startswith("7: ") for problem in found(rows, journal))


@pytest.mark.parametrize("tokens", [("another's", "second"), ("first", "another's")])
def test_what_a_run_wrote_that_had_lost_its_claim_is_found(tokens: tuple[str, str]) -> None:
    rows, journal = history()
    (problem,) = found(rows, journal, tokens=tokens)
    assert problem.startswith("3: ")


def test_a_write_after_the_end_is_found() -> None:
    rows, journal = history()
    assert found(rows, journal, ((FIRST, "failed", "succeeded"),))[0].startswith("2: ")
