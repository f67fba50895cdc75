"""Short tortures, the same each time; `nox -s torture` and the modules are the long ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .at_most_once import torment
from .lock_storm import storm
from .torture import torture

SECONDS = float(os.environ.get("M25_TORTURE_SECONDS", "10"))


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_under_torture_every_promise_is_kept(tmp_path: Path) -> None:
    findings = await torture(SECONDS, 25, tmp_path)
    print(findings.text())
    assert findings.problems == []
    assert findings.injected.total() >= SECONDS / 5
    assert len(findings.rows) > 100


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_however_workers_end_a_job_that_may_begin_once_does(tmp_path: Path) -> None:
    findings = await torment(12, 25, tmp_path)
    print(findings.text())
    assert findings.problems == []
    assert len(findings.begun) > 100
    assert findings.statuses["failed"] > 10


# It measures how late jobs are, which CI must not; worker/test_locked_rows.py goes by no clock.
@pytest.mark.long
@pytest.mark.timeout(400)
async def test_in_a_storm_of_locks_only_what_is_locked_is_lost_or_late() -> None:
    findings = await storm(SECONDS, 25)
    print(findings.text())
    assert findings.problems == []
    assert findings.lost_of_locked > 0
