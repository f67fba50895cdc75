"""The programs of these pages are run, killed and run again, and print what the page says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from support.scripts import command
from support.waiting import wait_until

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

#: By page, where the program waits, and how it does in a run that is killed: until then, however
#: late we are.
WAITS = {
    "effects.md": ("trio.sleep(1)", "trio.sleep_forever()"),
    "steps.md": ("trio.sleep(1)", "trio.sleep_forever()"),
    "nurseries.md": ("trio.sleep(0.5)", "trio.sleep(600 if number else 0)"),
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
    assert found[1].count(WAITS[page][0]) == 1
    _, *runs = re.split(r"^\$ python .*\n", found[2], flags=re.MULTILINE)
    assert len(runs) == 2
    for run in runs:
        *lines, last = run.splitlines()
        code = found[1].replace(*WAITS[page]) if last == "Killed" else found[1]
        program.write_text(code)
        with subprocess.Popen(
            command(program),
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
