"""The program of docs/anywhere.md prints what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.scripts import run_script

PAGE = (Path(__file__).parents[2] / "docs" / "anywhere.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.finditer(
    r"```python\n(?P<code>.*?)```\n\n```text\n(?P<printed>.*?)```", PAGE, re.DOTALL
)


def test_the_program_prints_what_the_page_says(
    dsn: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = tmp_path / "program.py"
    program.write_text(EXAMPLE["code"])
    assert run_script(program, dsn, capsys=capsys, monkeypatch=monkeypatch) == EXAMPLE["printed"]
