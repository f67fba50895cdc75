"""`m25 prune`: the jobs of a queue that ended long ago are deleted."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Final

from .._client import M25
from .._keep import Keep
from . import _asking
from ._change import jobs_in_words
from ._confirm import add_options, confirm
from ._console import Console
from ._exits import DONE, FAILED, WrongUsage
from ._tables import as_json
from ._words import parse_duration

_STATUSES: Final = ("succeeded", "failed", "cancelled")
#: How long the count of a dry run may take, in seconds.
_SECONDS: Final = 60.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = """\
Delete the jobs of a queue that ended so long ago, each with all its attempts and all that it has
started. What is not named is kept. It is done a little at a time, with pauses in which claims go
first; ended early, it leaves the rest for another time."""
    parser.epilog = _asking.epilog("m25 prune mails --succeeded 7d --failed 30d --yes")
    parser.add_argument("queue", metavar="QUEUE", help="its name")
    for status in _STATUSES:
        parser.add_argument(
            f"--{status}",
            type=parse_duration,
            metavar="DURATION",
            help=f"how long what has {status} is kept"
            if status != "cancelled"
            else "how long what was cancelled is kept",
        )
    add_options(parser)
    _asking.add_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Prune it, and return the exit code."""
    kept = {name: age for name in _STATUSES if (age := getattr(options, name)) is not None}
    if not kept:
        raise WrongUsage("say how long jobs are kept: by --succeeded, --failed or --cancelled")
    return _asking.run(options, console, partial(_prune, options, console, Keep(**kept)))


async def _prune(options: argparse.Namespace, console: Console, keep: Keep, m: M25) -> int:
    if options.dry_run:
        number = await _count(options, m)
        words = f"would delete {jobs_in_words(number)} of queue {options.queue!r}, or a few less"
        console.data(as_json({"jobs": number}) if options.json else f"{words}\n")
        return DONE
    if not confirm(f"prune queue {options.queue!r}?", options, console):
        return FAILED
    pruned = await m.prune(options.queue, keep)
    console.data(
        as_json({"jobs": pruned}) if options.json else f"deleted {jobs_in_words(pruned)}\n"
    )
    return DONE


async def _count(options: argparse.Namespace, m: M25) -> int:
    """How many have ended so long ago; those that others have started are among them."""
    total = 0
    for status in _STATUSES:
        if (age := getattr(options, status)) is not None:
            counts = await m.counts(
                queue=options.queue, status=status, ended_before=age, seconds=_SECONDS
            )
            total += counts.total
    return total
