"""The commands of an operator: what they refuse, what they ask, and what they never print."""

from __future__ import annotations

import io
import json
import sys

import psycopg
import pytest
import trio

import m25
from m25.cli._tables import printable, table
from m25.cli._words import parse_duration, span
from support.commands import Run

UNKNOWN = "019a0000-0000-7000-8000-000000000009"

#: Failed jobs, one of which has what no terminal should be sent, one that waits, and a tree.
JOBS = r"""
insert into m25.job (id, queue_name, input, timeout, attempt, reserved_at, started_at, finished_at,
    failure_reason, crash_type, crash_message, has_children)
select ('019a0000-0000-7000-8000-00000000000' || number)::uuid, 'mails',
    jsonb_build_object('to', 'ada', 'number', number), '1 minute', 1, now(), now(), now(),
    'crash', 'ValueError', E'no\x1b[31m red', number = 1
from generate_series(1, 3) as number;
insert into m25.job (id, queue_name, input, timeout, attempt, parent_id, cancelled_at, has_children)
values
    ('019a0000-0000-7000-8000-000000000011', 'parts', '1', '1 minute', 1,
        '019a0000-0000-7000-8000-000000000001', now(), true),
    ('019a0000-0000-7000-8000-000000000012', 'parts', '2', '1 minute', 1,
        '019a0000-0000-7000-8000-000000000001', now(), null),
    ('019a0000-0000-7000-8000-000000000013', 'parts', '3', '1 minute', 1,
        '019a0000-0000-7000-8000-000000000011', now(), null);
insert into m25.job (queue_name, input, timeout, attempt)
values ('reports', '{"year": 2026}', '1 day', 1)
"""


@pytest.fixture
def jobs(dsn: str, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """A database with jobs, whose address the environment has."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(JOBS.encode())
    monkeypatch.setenv("DATABASE_URL", dsn)


@pytest.mark.usefixtures("jobs")
def test_what_is_about_many_asks_and_is_done_once_it_is_meant(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run("retry", "--queue", "mails")
    assert code == 2
    assert "retry 3 jobs (queue mails, status failed)?" in err
    assert "--yes" in err
    for answer, expected in (("n\n", 1), ("y\n", 0)):
        terminal = io.StringIO(answer)
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", terminal)
        code, out, err = run("retry", "--queue", "mails", "--where", "input.number=2")
        assert (code, out) == (expected, "retried 1 job\n" if expected == 0 else "")
        assert "retry 1 job (queue mails" in err
    code, out, _ = run("cancel", "--status", "pending", "--yes", "--json")
    assert (code, json.loads(out)["done"]) == (0, 2)
    unsuccessful = ("--status", "failed", "--status", "cancelled")
    code, out, _ = run("delete", *unsuccessful, "--dry-run", "--json")
    assert json.loads(out) == {"jobs": 7}
    # Those that another has started go with it.
    code, out, err = run("delete", *unsuccessful, "--yes")
    assert (code, out) == (1, "deleted 4 jobs\n")
    assert "with which it goes" in err
    assert run("jobs", "--json")[1] == run("jobs", "--queue", "unheard of", "--json")[1]


@pytest.mark.usefixtures("jobs")
def test_a_job_is_shown_with_what_it_has_started_and_without_what_a_terminal_obeys(
    run: Run,
) -> None:
    code, out, _ = run("show", "019a0000-0000-7000-8000-000000000001")
    assert code == 0
    assert "ValueError: no\\x1b[31m red" in out
    assert out.splitlines()[-4:] == [
        "has started",
        "├─ 019a0000-0000-7000-8000-000000000011 parts cancelled",
        "│  └─ 019a0000-0000-7000-8000-000000000013 parts cancelled",
        "└─ 019a0000-0000-7000-8000-000000000012 parts cancelled",
    ]
    code, out, _ = run("show", "019a0000-0000-7000-8000-000000000001", "--json")
    told = json.loads(out)
    assert told["input"] == {"to": "ada", "number": 1}
    assert len(told["children"]) == 3
    code, out, err = run("jobs", "--status", "failed", "--limit", "2")
    assert "\x1b" not in out
    assert out.splitlines()[-1].endswith("ValueError: no\\x1b[31m red")
    assert "--after 019a0000-0000-7000-8000-000000000002" in err
    code, out, err = run("jobs", "--queue", "reports", "--after", UNKNOWN)
    assert (code, out, err) == (0, "", "there are no such jobs\n")


@pytest.mark.usefixtures("jobs")
def test_jobs_are_counted_by_what_they_are(run: Run) -> None:
    code, out, _ = run("jobs", "--count")
    assert (code, out.split()) == (
        0,
        ["status", "jobs", "pending", "1", "failed", "3", "cancelled", "3"],
    )
    code, out, _ = run("jobs", "--count", "--queue", "mails", "--since", "1w", "--json")
    assert json.loads(out) == {
        "by_status": {"failed": 3},
        "is_out_of_time": False,
        "looked_back_to": None,
    }
    assert run("jobs", "--count", "--queue", "unheard of") == (0, "", "there are no such jobs\n")
    code, _, err = run("jobs", "--count", "--after", UNKNOWN)
    assert (code, "--after" in err) == (2, True)


@pytest.mark.usefixtures("jobs")
def test_a_pending_job_is_shown_with_what_it_waits_for(run: Run, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "insert into m25.job (id, queue_name, input, timeout, attempt, scheduled_at, awaits)"
            " values (%s, 'reports', '1', '1 day', 1, '9000-01-01Z', 'answer')",
            [UNKNOWN],
        )
    code, out, _ = run("show", UNKNOWN)
    assert code == 0
    assert "waits for  a message 'answer'; a worker: none serves queue 'reports'\n" in out
    # It has no time that would say anything.
    assert "due" not in out
    code, out, _ = run("show", UNKNOWN, "--json")
    assert json.loads(out)["waits_for"] == [
        "a message 'answer'",
        "a worker: none serves queue 'reports'",
    ]


@pytest.mark.usefixtures("jobs")
def test_what_is_not_there_is_said_and_is_no_success(run: Run) -> None:
    assert run("show", UNKNOWN) == (1, "", f"m25: there is no job {UNKNOWN}\n")
    code, out, err = run("cancel", UNKNOWN)
    assert (code, out) == (1, "cancelled 0 jobs\n")
    assert "there is no such job" in err
    code, _, err = run("schedules", "--pause", "nightly")
    assert code == 1
    assert "nightly" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["retry"], "by their ids, or say what they are"),
        (["retry", UNKNOWN, "--queue", "mails"], "one of the two"),
        (["jobs", "--where", "customer=7"], "write input.customer=7"),
        (["jobs", "--since", "soon"], "not a duration"),
        (["jobs", "--status", "odd"], "invalid choice"),
        (["jobs", "--addr", "postgres://u:secret@/x y"], "--addr"),
        (["limits", "gpu"], "with --set N"),
        (["prune", "mails"], "--succeeded"),
    ],
)
def test_a_wrong_command_line_asks_no_database(run: Run, arguments: list[str], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "secret" not in err


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "nonsense"], "UUID"),
        (["pause", ""], "empty"),
        (["delete", "--status", "pending", "--yes"], "pending cannot be deleted"),
        (["limits", "gpu", "--set", "3"], "no worker has run a queue with the limit"),
        (["jobs", "--where", "input.a=1", "--where", "input.a=2"], "different things"),
    ],
)
def test_what_cannot_be_meant_is_refused(run: Run, arguments: list[str], said: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert said in err


def test_a_database_that_is_not_there_is_named_without_its_password(run: Run) -> None:
    code, _, err = run("queues", "--addr", "postgresql://ada:secret@127.0.0.1:1/shop")
    assert code == 1
    assert "127.0.0.1" in err
    assert "secret" not in err


def test_tables_and_words() -> None:
    assert table(["name", "n"], [["日本", 7], ["a", 100]]) == "name    n\n日本    7\na     100\n"
    assert printable("a\tb\u202ec") == "a\\tb\\u202ec"
    assert [parse_duration(text).total_seconds() for text in ("90", "2h", "1.5 min", "1w")] == [
        90,
        7_200,
        90,
        604_800,
    ]
    assert [span(parse_duration(text)) for text in ("0.25", "90", "2min", "47h", "9d")] == [
        "0.25 s",
        "90 s",
        "2 min",
        "47 h",
        "9 d",
    ]


async def test_jobs_behind_one_that_has_failed_say_so_and_go_on_once_it_is_skipped(
    dsn: str, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn)

    @m25.queue("changes", ordered_by="account")
    async def changes(change: dict[str, str]) -> None:
        if change["what"] == "first":
            raise OSError("no")

    async with m25.open(dsn) as m:
        m.add_queue(changes)
        await m.start()
        first = await m.enqueue(changes, {"account": "ada", "what": "first"})
        await m.wait(changes, first.id)
        second = await m.enqueue(changes, {"account": "ada", "what": "second"})
        _, out, _ = await trio.to_thread.run_sync(run, "show", str(second.id))
        waits = (
            f"job {first.id} of key 'ada', which has failed for good, to be retried, skipped or"
            " deleted"
        )
        assert f"  waits for  {waits}" in out.splitlines()
        _, out, _ = await trio.to_thread.run_sync(run, "show", str(first.id))
        assert "  holds      those of its key behind it" in out.splitlines()
        code, out, err = await trio.to_thread.run_sync(run, "skip", str(second.id))
        assert (code, out) == (1, "skipped 0 jobs\n")
        assert "no key stands still for it" in err
        # Of those that hold nothing it is not said.
        other = await m.enqueue(changes, {"account": "bob", "what": "first"})
        await m.wait(changes, other.id)
        assert (await m.skip(other.id)).done == 1
        code, out, err = await trio.to_thread.run_sync(run, "skip", "--queue", "changes", "--yes")
        assert (code, out) == (0, "skipped 1 job\n")
        assert (await m.wait(changes, second.id)).status is m25.JobStatus.SUCCEEDED
