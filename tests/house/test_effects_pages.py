"""The programs of these pages are run, killed and run again, and print what the page says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
#: A whole program, and further down what a shell shows of it.
PROGRAM = re.compile(r"```python\n(import .*?)```.*?```text\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", ["effects.md", "steps.md", "nurseries.md"])
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
                process.kill()
            else:
                assert process.stdout.read() == f"{last}\n"
        assert process.returncode == (-signal.SIGKILL if last == "Killed" else 0)
