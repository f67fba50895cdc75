"""The tutorial, gone through as a stranger would: its files written, its commands run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.waiting import wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"^```(?P<kind>python|console|text)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE
)
FILE = re.compile(r"# (?P<name>\w+\.py)\n")
#: In seconds: each command starts Python, on a machine that may be busy.
PATIENCE = 60.0


def as_shown(shown: str, printed: str) -> bool:
    """Whether something printed is what is shown, where `…` is anything in a line."""
    pattern = re.escape(shown.strip()).replace("…", ".+")
    return re.fullmatch(pattern, printed.strip()) is not None


@contextmanager
def in_background(command: str, folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    """Run a command until the block is left, and ask it to end; yields the file of its log."""
    log = folder / "log"
    with log.open("w") as written:
        # `exec`: the signal is the command's, and not a shell's.
        process = subprocess.Popen(
            f"exec {command}", shell=True, cwd=folder, env=environment, stderr=written
        )
        try:
            yield log
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(PATIENCE)
    assert code == 0, log.read_text()


@pytest.mark.slow
def test_a_stranger_goes_through_the_tutorial(empty_dsn: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "DATABASE_URL": empty_dsn,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    blocks = list(BLOCK.finditer(PAGE))
    (log_shown,) = (block["text"] for block in blocks if block["kind"] == "text")
    for block in blocks:
        if file := FILE.match(block["text"]):
            (tmp_path / file["name"]).write_text(block["text"])
    commands = [
        (command, shown)
        for block in blocks
        if block["kind"] == "console"
        for command, shown in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block["text"], re.MULTILINE)
    ]
    (worker,) = (command for command, _ in commands if command.endswith(" &"))
    ran = [(command, shown) for command, shown in commands if command != worker]
    # Before there is a table no worker starts.
    migrate, check, *others = ran
    for command, shown in (migrate, check):
        run(command, shown, tmp_path, environment)
    with in_background(worker.removesuffix(" &"), tmp_path, environment) as log:
        # It is listed by a statement of its own: jobs may have ended before that.
        wait_until(empty_dsn, "select exists (select from m25.worker)")
        for command, shown in others:
            run(command, shown, tmp_path, environment)
    assert any(as_shown(log_shown, line) for line in log.read_text().splitlines())


def run(command: str, shown: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a command that ends by itself: it prints what is shown."""
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert as_shown(shown, done.stdout), f"{command} printed {done.stdout!r}"
