"""The rules that `nox -s mutants` takes out are where it looks for them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MUTANTS: tuple[Any, ...] = runpy.run_path(str(ROOT / "tools" / "mutants.py"))["MUTANTS"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[each.name for each in MUTANTS])
def test_a_rule_is_there_to_be_taken_out(mutant: Any) -> None:
    assert mutant.before in (ROOT / mutant.file).read_text()
    assert all((ROOT / test).exists() for test in mutant.tests)
