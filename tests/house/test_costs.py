"""What a job costs the database, by figures that a busy machine does not change."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from m25 import embedded

ROOT = Path(__file__).parents[2]

#: Of the figures that were kept: what the server writes by itself meanwhile is less.
TOLERANCE = 0.01


@pytest.mark.slow
def test_a_job_costs_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    cost = importlib.import_module("benchmarks.cost")
    # A server of its own: what other tests write would count.
    with embedded.postgres_sync(settings=cost.SETTINGS) as dsn:
        cost.databases.migrate(dsn)
        figures = cost.measure(dsn)
    for phase, kept in cost.kept().items():
        found = {name: figures[phase][name] for name in cost.COMPARED}
        assert found == pytest.approx(
            {name: kept[name] for name in cost.COMPARED}, rel=TOLERANCE
        ), f"{phase}: if that is how it should be, `python -m benchmarks.cost` keeps these figures"
