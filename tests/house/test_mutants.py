"""The rules that `nox -s mutants` takes out are where it looks for them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOL: dict[str, Any] = runpy.run_path(str(ROOT / "tools" / "mutants.py"))
MUTANTS: tuple[Any, ...] = TOOL["MUTANTS"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[each.name for each in MUTANTS])
def test_a_rule_is_there_once_to_be_taken_out(mutant: Any) -> None:
    for change in mutant.changes:
        assert len(change.files(ROOT)) == 1, change
    assert all((ROOT / test).exists() for test in mutant.tests)


@pytest.mark.parametrize("mutant", MUTANTS, ids=[each.name for each in MUTANTS])
def test_what_is_left_without_a_rule_can_be_tried(mutant: Any) -> None:
    for path, text in TOOL["texts_without"](mutant, ROOT).items():
        assert text != path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            compile(text, path, "exec")


def test_every_rule_that_has_a_name_is_taken_out_by_a_mutant() -> None:
    changes = [change for each in MUTANTS for change in each.changes]
    taken_out = {change.name for change in changes if hasattr(change, "instead")}
    assert set(TOOL["named_rules"](ROOT)) == taken_out


SQL = """\
update job
-- rule: alone
set a = b(
    c
),
d = 1
where x
    and y = 2 -- rule: at the end
returning z
"""


@pytest.mark.parametrize(
    ("name", "instead", "expected"),
    [
        ("at the end", "", SQL.replace("    and y = 2 -- rule: at the end\n", "")),
        ("at the end", "and true", SQL.replace("y = 2 -- rule: at the end", "true")),
        ("alone", "", SQL.replace("-- rule: alone\nset a = b(\n    c\n),\n", "")),
        ("alone", "set", SQL.replace("-- rule: alone\nset a = b(\n    c\n),\n", "set\n")),
    ],
)
def test_a_rule_is_its_line_or_the_block_below_it(name: str, instead: str, expected: str) -> None:
    assert TOOL["replace_rule"](SQL, name, instead) == expected


def test_a_rule_in_python_is_named_likewise() -> None:
    code = "if x:  # rule: only x\n    y()\n"
    assert TOOL["replace_rule"](code, "only x", "if True:") == "if True:\n    y()\n"
