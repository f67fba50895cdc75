"""The examples of `docs/handlers.md` are programs that print what the page says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import trio

PAGE = (Path(__file__).parents[2] / "docs" / "handlers.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n(?P<printed>.*?)```", re.DOTALL)
EXAMPLES = list(EXAMPLE.finditer(PAGE))


def test_no_example_is_left_out() -> None:
    assert len(EXAMPLES) == PAGE.count("```python")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: f"at-{each.start()}")
async def test_an_example_prints_what_the_page_says(example: re.Match[str], tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(example["code"])
    done = await trio.run_process([sys.executable, str(program)], capture_stdout=True)
    assert done.stdout.decode() == example["printed"]
