"""`m25 cancel`: jobs are cancelled, also while they run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .._client import M25
from .._job_filter import JobFilter
from .._operations import ChangedJobs
from . import _change
from ._console import Console


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = """\
Cancel jobs, with all that they have started: by their ids, or by what they are, and then whatever
has not ended. What is pending is cancelled at once. What runs is asked to end, and its worker
cancels it."""
    _change.configure(
        parser,
        _change_by(None, None),
        "m25 cancel 01a2218f-8fa5-7c90-8777-32a294f90a75 --by ada --reason 'sent by hand'",
        "m25 cancel --queue mails --status pending --yes",
    )
    parser.add_argument("--by", metavar="NAME", help="who asks for it, for log and record")
    parser.add_argument("--reason", metavar="TEXT", help="why, likewise")


def run(options: argparse.Namespace, console: Console) -> int:
    """Cancel them, and return the exit code."""
    return _change.run(options, console, _change_by(options.by, options.reason))


def _change_by(by: str | None, reason: str | None) -> _change.Change:
    async def cancel(m: M25, ids: Sequence[str], which: JobFilter) -> ChangedJobs:
        return await m.cancel(*ids, by=by, reason=reason, **which)

    return _change.Change("cancel", "cancelled", ("pending", "reserved", "executing"), cancel)
