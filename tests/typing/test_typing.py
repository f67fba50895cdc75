"""That type checkers know what users mean: enqueueing the wrong type is an error to both.

Each sample is checked as a user's own program would be. The lines that a checker complains of must
be those that end with `# error`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import m25

SAMPLES = sorted(Path(__file__).with_name("samples").glob("*.py"))
#: Pages whose examples are whole programs.
PAGES = [Path(__file__).parents[2] / "docs" / name for name in ("handlers.md", "retrying.md")]
#: Where m25 is, in case that is no place where a checker looks for packages.
SOURCE = Path(m25.__file__).parents[1]


def marked() -> set[tuple[str, int]]:
    return {
        (sample.name, number)
        for sample in SAMPLES
        for number, line in enumerate(sample.read_text().splitlines(), start=1)
        if line.endswith("# error")
    }


def needed(checker: str) -> None:
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed; `nox -s types` brings it")


def run(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def agree(complaints: dict[tuple[str, int], str]) -> None:
    unexpected = {place: complaints[place] for place in complaints.keys() - marked()}
    assert not unexpected, unexpected
    missing = marked() - complaints.keys()
    assert not missing, f"no complaint of {sorted(missing)}"


def test_there_are_samples():
    assert len(marked()) > 20


def complaints_of_mypy(tmp_path: Path, files: list[Path]) -> dict[tuple[str, int], str]:
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = True\n")
    said = run(
        "mypy",
        f"--config-file={tmp_path / 'mypy.ini'}",
        f"--cache-dir={tmp_path / 'cache'}",
        "--follow-imports=silent",
        "--output=json",
        *files,
        **({} if SOURCE.name == "site-packages" else {"MYPYPATH": str(SOURCE)}),
    )
    messages = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return {
        (Path(each["file"]).name, each["line"]): each["message"]
        for each in messages
        if each["severity"] == "error"
    }


def test_mypy_agrees_with_the_samples(tmp_path: Path):
    needed("mypy")
    agree(complaints_of_mypy(tmp_path, SAMPLES))


def test_mypy_has_nothing_to_say_of_the_programs_in_the_pages(tmp_path: Path):
    needed("mypy")
    programs: list[Path] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL)):
            programs.append(tmp_path / f"{page.stem}_{number}.py")
            programs[-1].write_text(code)
    assert programs
    assert complaints_of_mypy(tmp_path, programs) == {}


def test_pyright_agrees_with_the_samples(tmp_path: Path):
    needed("pyright")
    settings = {
        "include": [sample.name for sample in SAMPLES],
        "extraPaths": [] if SOURCE.name == "site-packages" else [str(SOURCE)],
        "typeCheckingMode": "strict",
        # What is wrong is not used.
        "reportUnusedFunction": False,
        "reportUnusedExpression": False,
    }
    # It reads what is below its configuration.
    for sample in SAMPLES:
        shutil.copy(sample, tmp_path)
    config = tmp_path / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    said = run("pyright", "--outputjson", f"--pythonpath={sys.executable}", "--project", config)
    result = json.loads(said)
    assert result["summary"]["filesAnalyzed"] == len(SAMPLES)
    complaints = result["generalDiagnostics"]
    agree(
        {
            (Path(each["file"]).name, each["range"]["start"]["line"] + 1): each["message"]
            for each in complaints
            if each["severity"] == "error"
        }
    )
