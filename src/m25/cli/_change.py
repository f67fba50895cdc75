"""What `retry`, `cancel` and `delete` share: jobs by their ids or by what they are, and answers."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from .._client import M25
from .._job_filter import JobFilter
from .._operations import ChangedJobs
from . import _asking, _which
from ._confirm import add_options, confirm
from ._console import Console
from ._exits import DONE, FAILED, WrongUsage
from ._tables import as_json

#: How many of the refused are named to a person.
_NAMED: Final = 10
#: How long the count before a change may take, in seconds.
_SECONDS: Final = 30.0

#: What changes jobs: given by their ids, or by what they are.
_Call: TypeAlias = Callable[[M25, Sequence[str], JobFilter], Awaitable[ChangedJobs]]


class Change(NamedTuple):
    """What a command does to jobs."""

    verb: str
    #: What has been done.
    done: str
    #: How jobs are to which it is done, where nothing else is said.
    statuses: Sequence[str]
    call: _Call


def configure(parser: argparse.ArgumentParser, change: Change, *examples: str) -> None:
    """Declare the options."""
    parser.epilog = f"{_which.HELP}\n\n" + _asking.epilog(*examples)
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help=f"jobs to {change.verb}; else those that are so:"
    )
    _which.add_options(parser)
    add_options(parser)
    _asking.add_options(parser)


def run(options: argparse.Namespace, console: Console, change: Change) -> int:
    """Change jobs, and return the exit code."""
    which = _which.read(options)
    if bool(options.ids) == bool(which):
        raise WrongUsage(
            f"name the jobs to {change.verb} by their ids, or say what they are: by --queue,"
            " --status, --since, --ended-before or --where; one of the two"
        )
    return _asking.run(options, console, partial(_run, options, console, change, which))


async def _run(
    options: argparse.Namespace, console: Console, change: Change, which: JobFilter, m: M25
) -> int:
    if which or len(options.ids) > 1 or options.dry_run:
        number = await _count(options, change, which, m)
        jobs = f"{jobs_in_words(number)}{_which.in_words(which)}"
        if options.dry_run:
            _say(options, console, {"jobs": number}, f"would {change.verb} {jobs}")
            return DONE
        if not confirm(f"{change.verb} {jobs}?", options, console):
            return FAILED
    changed = await change.call(m, options.ids, which)
    _tell(options, console, change, changed)
    return FAILED if changed.refusals else DONE


async def _count(
    options: argparse.Namespace, change: Change, which: JobFilter, m: M25
) -> int | str:
    """How many jobs are meant, as far as that can be said in time."""
    if not which:
        return len(options.ids)
    which.setdefault("status", list(change.statuses))
    counts = await m.counts(seconds=_SECONDS, **which)
    return f"more than {counts.total}" if counts.is_out_of_time else counts.total


def _tell(
    options: argparse.Namespace, console: Console, change: Change, changed: ChangedJobs
) -> None:
    asked = f", of which {changed.asked} run still, and were asked to end" if changed.asked else ""
    _say(options, console, changed, f"{change.done} {jobs_in_words(changed.done)}{asked}")
    for refused in changed.refused[:_NAMED]:
        console.error(f"{refused.id}: {refused.reason}")
    if changed.refusals > _NAMED:
        console.error(f"{changed.refusals - _NAMED} more were not {change.done}")


def jobs_in_words(number: int | str) -> str:
    """So many jobs."""
    return "1 job" if number == 1 else f"{number} jobs"


def _say(options: argparse.Namespace, console: Console, value: Any, words: str) -> None:
    console.data(as_json(value) if options.json else f"{words}\n")
