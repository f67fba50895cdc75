"""The command, run in the process of a test that knows nothing of the machine's databases."""

from __future__ import annotations

import pytest

from m25.cli import main
from support.commands import Run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; returns the exit code, and what it wrote on each stream."""
    for variable in ("DATABASE_URL", "PGSERVICE", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD"):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as end:
            code = int(str(end.code))
        return code, *capsys.readouterr()

    return run
