"""What a shell completes when Tab is pressed, asked by bash itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.commands import Run

#: What bash does when Tab is pressed behind a line that begins with m25.
PRESS_TAB = """
eval "$(m25 completion bash)"
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
_python_argcomplete m25
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash is here")
@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("m25 sch", ["schedules "]),
        ("m25 jobs --wh", ["--where "]),
        ("m25 completion z", ["zsh "]),
    ],
)
def test_bash_completes_subcommands_options_and_choices(line: str, completions: list[str]) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", PRESS_TAB, "bash", line],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PATH": path},
    )
    assert sorted(done.stdout.splitlines()) == completions


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_their_own_code(run: Run, shell: str) -> None:
    code, printed, said = run("completion", shell)
    assert (code, said) == (0, "")
    assert "_ARGCOMPLETE" in printed
