"""`m25 retry`: jobs that have failed, or were cancelled, are tried once more."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from .._client import M25
from .._job_filter import JobFilter
from .._operations import ChangedJobs
from . import _change
from ._console import Console


async def _retry(m: M25, ids: Sequence[str], which: JobFilter) -> ChangedJobs:
    return await m.retry(*ids, **which)


_CHANGE: Final = _change.Change("retry", "retried", ("failed",), _retry)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = """\
Have jobs tried once more that have failed, or were cancelled: by their ids, or by what they are,
and then those that have failed, if --status does not say otherwise. What their steps have done is
not done again. A job whose key another has by now is refused."""
    _change.configure(
        parser,
        _CHANGE,
        "m25 retry 01a2218f-8fa5-7c90-8777-32a294f90a75",
        "m25 retry --queue mails --since 1h --dry-run",
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Retry them, and return the exit code."""
    return _change.run(options, console, _CHANGE)
