"""The examples of these pages are programs that print what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.scripts import run_script

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    name: (DOCS / name).read_text(encoding="utf-8")
    for name in (
        "batches.md",
        "deploying.md",
        "fairness.md",
        "growing.md",
        "handlers.md",
        "limits.md",
        "order.md",
        "retention.md",
        "retrying.md",
        "schedules.md",
        "telemetry.md",
        "testing.md",
        "uniqueness.md",
        "waiting.md",
    )
}
EXAMPLE = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n(?P<printed>.*?)```", re.DOTALL)
EXAMPLES = {
    f"{name}-at-{example.start()}": example
    for name, page in PAGES.items()
    for example in EXAMPLE.finditer(page)
}


def test_no_example_is_left_out() -> None:
    # The program of waiting.md is run, and killed, by test_killed_examples.py.
    assert len(EXAMPLES) + 1 == sum(page.count("```python") for page in PAGES.values())


#: A program with handlers in processes is one itself. Of these, an example is always run.
MARKS = {
    name: [pytest.mark.slow] * ('runs="process"' in example["code"])
    for name, example in EXAMPLES.items()
}


@pytest.mark.parametrize(
    "example",
    [pytest.param(example, id=name, marks=MARKS[name]) for name, example in EXAMPLES.items()],
)
def test_an_example_prints_what_the_page_says(
    example: re.Match[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = tmp_path / "program.py"
    program.write_text(example["code"])
    assert run_script(program, capsys=capsys, monkeypatch=monkeypatch) == example["printed"]
