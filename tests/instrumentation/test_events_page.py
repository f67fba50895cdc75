"""That `docs/events.md` says what the classes say; and that they say it of all their fields."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES: dict[str, Any] = runpy.run_path(str(ROOT / "tools" / "pages.py"))


@pytest.mark.parametrize("name", PAGES["PAGES"])
def test_a_page_is_what_the_code_makes_of_it(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == PAGES["PAGES"][name](), "run `nox -s pages`"
