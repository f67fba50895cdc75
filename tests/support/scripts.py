"""Programs that are scripts, run as `python script.py arguments` would run them."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

#: Runs a program whose queues may take long to start.
PATIENT = Path(__file__).parent / "programs" / "patient.py"


def command(path: Path, *arguments: str) -> list[str]:
    """The command of a process of its own that runs a script, but one with handlers in processes;
    what is printed is there at once.
    """
    return [sys.executable, "-u", str(PATIENT), str(path), *arguments]


def run_script(
    path: Path,
    *arguments: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Run a script that ends by itself, and return what it has printed.

    To start Python and import m25 takes longer than most scripts do. So a script is run in this
    process, as its main module; but not one with handlers in processes: these import the main
    module by its name.
    """
    if 'runs="process"' in path.read_text(encoding="utf-8"):
        done = subprocess.run(
            [sys.executable, str(path), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out
