"""The examples of `docs/pg.md` run, and print what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

PAGE = Path(__file__).parents[2] / "docs" / "pg.md"
EXAMPLE = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n(?P<printed>.*?)```", re.DOTALL)
EXAMPLES = list(EXAMPLE.finditer(PAGE.read_text(encoding="utf-8")))


def test_no_example_is_left_out() -> None:
    assert len(EXAMPLES) == PAGE.read_text(encoding="utf-8").count("```python")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: f"at-{each.start()}")
def test_an_example_prints_what_the_page_says(
    example: re.Match[str],
    empty_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    variables = {
        each.keyword.decode(): each.envvar.decode()
        for each in psycopg.pq.Conninfo.get_defaults()
        if each.envvar
    }
    for keyword, value in conninfo_to_dict(empty_dsn).items():
        monkeypatch.setenv(variables[keyword], str(value))
    exec(compile(example["code"], str(PAGE), "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == example["printed"]
