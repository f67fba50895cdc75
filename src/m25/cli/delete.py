"""`m25 delete`: jobs that have ended are deleted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from .._client import M25
from .._job_filter import JobFilter
from .._operations import ChangedJobs
from . import _change
from ._console import Console


async def _delete(m: M25, ids: Sequence[str], which: JobFilter) -> ChangedJobs:
    return await m.delete(*ids, **which)


_CHANGE: Final = _change.Change(
    "delete",
    "deleted",
    ("succeeded", "failed", "cancelled"),
    _delete,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = """\
Delete jobs that have ended: by their ids, or by what they are. Each goes with all its attempts
and all that it has started. What has not ended as a whole stays, and so does what another job has
started, which goes with that one."""
    _change.configure(
        parser,
        _CHANGE,
        "m25 delete 01a2218f-8fa5-7c90-8777-32a294f90a75",
        "m25 delete --queue mails --status failed --ended-before 30d --yes",
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Delete them, and return the exit code."""
    return _change.run(options, console, _CHANGE)
