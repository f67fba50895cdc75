"""`m25 doctor`, as whoever is called at night meets it."""

from __future__ import annotations

import json
from functools import partial

import psycopg
import pytest

from m25._doctor.checks import CHECKS
from support.commands import Run

PAUSED = (
    "insert into m25.queue (name, default_job_timeout, paused_at, pause_reason)"
    " values ('emails', '1 min', now() - interval '3 hours', 'bounces');"
    "insert into m25.job (queue_name, input, timeout, attempt, scheduled_at)"
    " values ('emails', '1', '1 min', 1, now() - interval '2 hours')"
)


@pytest.fixture
def run(run: Run) -> Run:
    """Run the doctor."""
    return partial(run, "doctor")


@pytest.fixture
def paused(dsn: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(PAUSED.encode())
    return dsn


def test_it_says_what_is_wrong_and_what_to_do(run: Run, paused: str) -> None:
    code, out, err = run(paused, "--check", "paused", "--check", "stuck")
    assert (code, err) == (1, "")
    assert out == (
        "paused: queue 'emails' has been paused for 3 h (bounces), and its oldest job has been due"
        " for 2 h\n  → `m25 resume emails`, if it is to go on\n"
    )


def test_where_nothing_is_wrong_it_says_nothing(
    run: Run, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn)
    # The tests' own server may be one that keeps nothing.
    everything = [f"--check={check.name}" for check in CHECKS if check.name != "fsync"]
    assert run(*everything) == (0, "", "")


def test_programs_read_the_same_as_json(run: Run, paused: str) -> None:
    code, out, err = run("--addr", paused, "--json")
    assert (code, err) == (1, "")
    told = json.loads(out)
    assert told["checks"] == [check.name for check in CHECKS]
    (finding,) = [each for each in told["findings"] if each["check"] == "paused"]
    assert finding["what"].startswith("queue 'emails' has been paused for 3 h")
    assert "resume" in finding["advice"]
    assert finding["facts"]["reason"] == "bounces"


def test_a_database_that_cannot_be_reached_is_named_without_its_password(run: Run) -> None:
    code, out, err = run("postgresql://ada:sesame@127.0.0.1:1/shop")
    assert (code, out) == (1, "")
    assert "ada@127.0.0.1:1/shop" in err
    assert "sesame" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--check", "nonsense"],
        ["--tolerance", "-1"],
        ["--tolerance", "much"],
        ["--schema", "x" * 64],
        ["host=a", "--addr", "host=b"],
        ["postgresql://ada:sesame@@127.0.0.1/shop"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "sesame" not in err
