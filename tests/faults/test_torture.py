"""A short torture, the same each time; `nox -s torture` is the long one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .torture import torture

SECONDS = float(os.environ.get("M25_TORTURE_SECONDS", "10"))


@pytest.mark.slow
async def test_under_torture_every_promise_is_kept(tmp_path: Path) -> None:
    findings = await torture(SECONDS, 25, tmp_path)
    print(findings.text())
    assert findings.problems == []
    assert findings.injected.total() >= SECONDS / 5
    assert len(findings.rows) > 100
