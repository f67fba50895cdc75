"""What is no question of a test here takes as long as the machine likes."""

from __future__ import annotations

import pytest

from m25 import pg
from support.waiting import PATIENCE


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server, or a loop, that stands still for some seconds costs no connection, and no echo."""
    for module in ("_wire", "_connection", "_pipeline", "_pool"):
        monkeypatch.setattr(f"m25.pg.{module}.CLEAN_UP", PATIENCE)
    for made, names in (
        (pg.Pool.__init__, ("timeout", "close_timeout")),
        (pg.Listener.__init__, ("ping_timeout",)),
        (pg.Listener.from_pool.__func__, ("ping_timeout",)),  # type: ignore[attr-defined]
    ):
        for name in names:
            monkeypatch.setitem(made.__kwdefaults__, name, PATIENCE)
