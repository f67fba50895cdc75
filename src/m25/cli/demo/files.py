"""The files of the demo: which files are read, and what the jobs must find in them."""

from __future__ import annotations

import os
import stat
import sysconfig
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from .account import Entry
from .jobs import Facts, NotPython, NotText, examine

#: The most files that are read.
MOST: Final = 600
#: A longer file is left out, in bytes.
LONGEST: Final = 200_000
#: The most files that are looked at to find some.
_MOST_LOOKED_AT: Final = 50_000

#: Folders that hold other people's code, or none.
_LEFT_OUT: Final = {"__pycache__", "site-packages", "dist-packages", "node_modules", "venv"}

#: Two files of the demo's own, so that there is an error of each kind wherever it is run.
BROKEN: Final[Mapping[str, bytes]] = {
    "not_text.py": b"NAME = '\xff\xfe'\n",
    "not_python.py": b"def unfinished(:\n    pass\n",
}


def standard_library() -> Path:
    """The folder of Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def find(folder: Path) -> Sequence[str]:
    """The Python files in a folder and those below it, in order, up to the bounds above."""
    return list(islice(_readable_sources(folder), MOST))


def put_broken(folder: Path) -> Sequence[str]:
    """Write the files of `BROKEN` into a folder."""
    paths = [folder / name for name in BROKEN]
    for path in paths:
        path.write_bytes(BROKEN[path.name])
    return [str(path) for path in paths]


def foresee(files: Sequence[str]) -> tuple[Mapping[Entry, int], Mapping[str, NotText | NotPython]]:
    """Read the files here, without any queue, to know what the jobs must find.

    Returns:
        the counts that the account must have; and the error of each file that has one.
    """
    read: list[Facts] = []
    errors: dict[str, NotText | NotPython] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in files:
            try:
                read.append(examine(file))
            except (NotText, NotPython) as error:
                errors[file] = error
    expected = {
        ("files", "succeeded"): len(read),
        ("files", "failed (error)"): len(errors),
        ("files", "errors read back equal"): len(errors),
        ("files", "lines counted"): sum(facts.lines for facts in read),
        ("files", "functions counted"): sum(facts.functions for facts in read),
        ("files", "classes counted"): sum(facts.classes for facts in read),
    }
    return expected, errors


def _readable_sources(folder: Path) -> Iterator[str]:
    for path in islice(_walk(folder), _MOST_LOOKED_AT):
        if path.suffix in (".py", ".pyi") and _is_readable(path):
            yield str(path)


def _walk(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - _LEFT_OUT - {f for f in folders if f.startswith(".")})
        for file in sorted(files):
            yield Path(here, file)


def _is_readable(path: Path) -> bool:
    try:
        status = path.lstat()
        str(path).encode()
    except (OSError, UnicodeEncodeError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size <= LONGEST and os.access(path, os.R_OK)
