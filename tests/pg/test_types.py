"""Type checkers infer rows of ours as they do of psycopg's: what `typing` asserts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TYPING = Path(__file__).parent / "typing"
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("checker", "arguments", "names"),
    [
        ("mypy", ["--no-incremental"], ["rows.py", "rows_by_factory.py"]),
        ("pyright", ["--pythonpath", sys.executable], ["rows.py"]),
    ],
    ids=["mypy", "pyright"],
)
def test_rows_are_inferred_as_psycopgs(
    checker: str, arguments: list[str], names: list[str]
) -> None:
    pytest.importorskip(checker)
    found = subprocess.run(
        [sys.executable, "-m", checker, *arguments, *(str(TYPING / name) for name in names)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
