"""The programs of these pages are run, killed and run again, and print what the page says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from support.waiting import PATIENCE

DOCS = Path(__file__).parents[2] / "docs"
#: A whole program, and further down what a shell shows of it.
PROGRAM = re.compile(r"```python\n(import .*?)```.*?```text\n(.*?)```", re.DOTALL)


#: By page, what has to be in the database before the program is killed: what it has printed may be
#: said before the result of the job before it is written.
PAGES = {
    "effects.md": "select true",
    "steps.md": "select true",
    "nurseries.md": "select exists (select from m25.job where finished_at is not null)",
}


#: Each starts two programs: where not all is asked for, one page has to do.
FIRST, *OTHERS = PAGES


@pytest.mark.parametrize(
    "page", [FIRST, *(pytest.param(page, marks=pytest.mark.slow) for page in OTHERS)]
)
def test_the_program_is_killed_and_goes_on_as_the_page_says(
    page: str, dsn: str, tmp_path: Path
) -> None:
    found = PROGRAM.search((DOCS / page).read_text(encoding="utf-8"))
    assert found
    program = tmp_path / "program.py"
    program.write_text(found[1])
    _, *runs = re.split(r"^\$ python .*\n", found[2], flags=re.MULTILINE)
    assert len(runs) == 2
    for run in runs:
        *lines, last = run.splitlines()
        with subprocess.Popen(
            [sys.executable, "-u", str(program)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "DATABASE_URL": dsn},
        ) as process:
            assert process.stdout is not None
            assert [process.stdout.readline().rstrip("\n") for _ in lines] == lines
            if last == "Killed":
                wait_until(dsn, PAGES[page])
                process.kill()
            else:
                assert process.stdout.read() == f"{last}\n"
        assert process.returncode == (-signal.SIGKILL if last == "Killed" else 0)


def wait_until(dsn: str, query: str) -> None:
    """Wait until the database says that it is so."""
    patient_until = time.monotonic() + PATIENCE
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute(query.encode()).fetchone() != (True,):
            assert time.monotonic() < patient_until, query
