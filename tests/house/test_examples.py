"""What the README and the examples show is run, and prints what it should."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from support.scripts import command, run_script

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

#: What each example prints, in order; a line may hold more.
PRINTED = {
    "batches.py": [
        "mails in the largest batch: 100",
        "ada succeeded sent in attempt 1",
        "bob? failed NoMailbox('bob?')",
        "busy succeeded sent in attempt 2",
    ],
    "bulk_insert.py": [
        "written: (2499,)",
        "events in the largest batch: 1000",
        "failed: [BadEvent(-1)]",
    ],
    "cancel.py": [
        "exporting May",
        "not so: executing",
        "removed what was exported",
        "cancelled by ada since wrong month",
    ],
    "deploying.py": [
        "a worker that ignores the field: sent to eve",
        "older: sent to eve",
        "newer: sent to ada, and to bob",
        "in attempt 1",
    ],
    "effects.py": [
        "looked up a price",
        "paid 36",
        "receipt for 36",
        "invoices: (1,)",
        "payments: (1,)",
    ],
    "emails.py": ["succeeded sent 'Welcome' to ada@example.org", "failed MailboxFull"],
    "fairness.py": ["bob's photos are done while ada's wait: True", "photos done: 205"],
    "order.py": ["accounts: ['ada', 'bob']", "in order: True"],
    "handlers.py": [
        "opened once",
        "for ada: forecasts",
        "Oslo: rain",
        "for bob: hashes",
        "3fa09421",
        "job_timeout",
        "closed once",
        "pages, as the program is stopping",
    ],
    "limits.py": [
        "reports of one customer at once, at most: 2",
        "five letters take ",
        "ada's second print waits until both are paid for: True",
        "bob waits for ada: False",
        "five turns of the letters' rate take at least 0.2 s: True",
        "scanners in use at once, at most: 2",
        "while it is paused: pending",
        "once it is resumed: succeeded",
    ],
    "nursery.py": [
        "two pictures: 11",
        "not resized: large.png",
        "no picture: letter.txt",
        "broken: 0",
        "side by side: 7 9",
    ],
    "operations.py": [
        "failed: bob@example.org since LookupError: no mailbox bob@example.org",
        "failed: eve@example.org",
        "retried: 1",
        "sent to bob@example.org",
        "attempt 1 failed no mailbox bob@example.org",
        "attempt 2 succeeded None",
        "not retried: it has succeeded",
        "deleted: 3",
    ],
    "stack.py": ["upload has 3 tasks:", *["send waits in sleep_forever"] * 3],
    "results.py": [
        "the longest word: concurrency",
        "refused: no words",
        "page 3 of 3",
        "3 pages",
    ],
    "retrying.py": [
        "call 1 for sea.jpg is attempt 1",
        "call 2 for sea.jpg is attempt 2",
        "call 3 for sea.jpg is attempt 3",
        "call 4 for sea.jpg is attempt 3",
        "told: sea.jpg has failed after 3 attempts, ValueError: no such file",
    ],
    "schedules.py": [
        "read at a whole second: True",
        "each second: every 0:00:01",
        "weekly: 30 7 * * MON (paused)",
        "by hand: report of ",
    ],
    "dashboard.py": ["ready", "stopped"],
    "service.py": ["ready", "enqueued sea.jpg", "enqueued sky.jpg", "stopped"],
    "transaction.py": ["rolled back: no such order", "jobs: [(12,)]"],
    "uniqueness.py": [
        "asked for twice, returned: True",
        "June is debounced",
        "refused since True",
        "indexing version 1",
        "version 2: rerun",
        "version 3: replaced",
        "indexing version 3",
    ],
}

#: What an example may print, too: whoever follows a job sees pages on the way, or the last alone.
MAYBE_PRINTED = {"results.py": ["page 1 of 3", "page 2 of 3"]}

#: Those that are killed meanwhile, or of whose servers one is: test_killed_examples.py.
KILLED = {"growing.py", "trip.py"}

#: Those that run until they are asked to end, and the line after which they are.
SERVICES = {"dashboard.py": "ready", "service.py": "enqueued sky.jpg"}


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES} == set(PRINTED) | KILLED


@pytest.mark.parametrize("name", sorted(PRINTED.keys() - SERVICES.keys()))
def test_an_example_prints_what_it_should(
    name: str, dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ROOT / "examples" / name
    printed = run_script(path, dsn, capsys=capsys, monkeypatch=monkeypatch)
    check(name, printed.splitlines())


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_prints_what_it_should_until_it_is_asked_to_end(name: str, dsn: str) -> None:
    path = ROOT / "examples" / name
    lines: list[str] = []
    with subprocess.Popen(command(path, dsn), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if lines[-1] == SERVICES[name]:
                process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    check(name, lines)


def check(name: str, lines: list[str]) -> None:
    certain = [line for line in lines if line not in MAYBE_PRINTED.get(name, [])]
    for line, expected in zip(certain, PRINTED[name], strict=True):
        assert expected in line


def test_the_program_in_the_readme_runs_as_printed(dsn: str, tmp_path: Path) -> None:
    from psycopg.conninfo import conninfo_to_dict

    programs = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (program,) = [text for text in programs if "trio.run(main)" in text]
    path = tmp_path / "program.py"
    path.write_text(program)
    given = conninfo_to_dict(dsn)
    environment = {
        "PGHOST": str(given["host"]),
        "PGPORT": str(given["port"]),
        "PGUSER": str(given["user"]),
        "PGPASSWORD": str(given.get("password", "")),
        "PGDATABASE": str(given["dbname"]),
    }
    done = subprocess.run(
        command(path), env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "sent 'Welcome' to ada@example.org\n"
