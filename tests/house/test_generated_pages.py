"""What is generated for readers is what it is generated from."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("tool", ["statements", "lifecycle"])
def test_a_page_is_what_its_tool_would_write(tool: str) -> None:
    names = runpy.run_path(str(ROOT / "tools" / f"{tool}.py"))
    path: Path = names["PATH"]
    assert path.read_text(encoding="utf-8") == names["generate"](), f"run `python tools/{tool}.py`"


@pytest.mark.parametrize("seed", ["1", "2"])
def test_a_page_is_the_same_whatever_order_sets_have(seed: str) -> None:
    code = "import runpy; print(runpy.run_path('tools/lifecycle.py')['generate'](), end='')"
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == (ROOT / "docs" / "lifecycle.md").read_text(encoding="utf-8")
