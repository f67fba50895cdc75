"""The programs of docs/anywhere.md print what the page says, and its statements run."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from support.databases import url_of
from support.scripts import run_script

PAGE = (Path(__file__).parents[2] / "docs" / "anywhere.md").read_text(encoding="utf-8")
PROGRAMS = list(
    re.finditer(r"```python\n(?P<code>[^`]*)```\n\n```text\n(?P<printed>[^`]*)```", PAGE)
)


@pytest.mark.parametrize("program", PROGRAMS, ids=["sync", "asyncpg", "schema"])
def test_a_program_prints_what_the_page_says(
    dsn: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    program: re.Match[str],
) -> None:
    if "import asyncpg" in program["code"]:
        pytest.importorskip("asyncpg")
    script = tmp_path / "program.py"
    script.write_text(program["code"])
    url = url_of(dsn)
    assert run_script(script, url, capsys=capsys, monkeypatch=monkeypatch) == program["printed"]


def test_the_statements_of_the_page_make_the_jobs_that_it_says(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("create table customer (name text, has_paid boolean)")
        connection.execute("insert into customer values ('ada', false), ('eve', true)")
        for statements in re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL):
            connection.execute(statements)
        made = connection.execute(
            "select input ->> 'to', input ->> 'subject', unique_key from m25.job order by id"
        ).fetchall()
    assert made == [
        ("ada", "Welcome", None),
        ("bob", "Hello", "hello bob"),
        ("ada", "Your invoice", "reminder ada"),
    ]
