"""`m25 skip`: on queues with an order, those go on that are behind jobs which have failed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from .._client import M25
from .._job_filter import JobFilter
from .._operations import ChangedJobs
from . import _change
from ._console import Console


async def _skip(m: M25, ids: Sequence[str], which: JobFilter) -> ChangedJobs:
    return await m.skip(*ids, **which)


_CHANGE: Final = _change.Change("skip", "skipped", ("failed",), _skip)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = """\
Let the jobs go on that are behind those which have failed for good, on queues with ordered_by: by
the ids of the failed ones, or by what these are. What is skipped stays as it is: failed, and with
its history. Of jobs that are found by what they are, those are skipped for which a key stands
still."""
    _change.configure(
        parser,
        _CHANGE,
        "m25 skip 01a2218f-8fa5-7c90-8777-32a294f90a75",
        "m25 skip --queue changes --dry-run",
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Skip them, and return the exit code."""
    return _change.run(options, console, _CHANGE)
