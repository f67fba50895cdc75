"""What the processes of a test did and saw, as they wrote it down while they could.

Each has a file of its own to which it appends a line of JSON for each thing, in one write: what was
written before the process was killed is there, whole.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import attrs


@attrs.frozen
class Entry:
    """One thing that a process did or saw."""

    process: str
    #: Seconds since the epoch, by the machine's clock, which is the server's, too.
    at: float
    event: str
    facts: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.facts[name]


class Journal:
    """The file of one process."""

    def __init__(self, directory: Path, process: str) -> None:
        self._file = os.open(
            directory / f"{process}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )
        self._process = process

    def write(self, event: str, **facts: Any) -> None:
        line = {"process": self._process, "at": time.time(), "event": event, "facts": facts}
        os.write(self._file, json.dumps(line).encode() + b"\n")


def read(directory: Path) -> list[Entry]:
    """What all processes have written, in order."""
    entries = [
        Entry(**json.loads(line))
        for path in directory.glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    return sorted(entries, key=lambda entry: entry.at)
