"""`m25 jobs`: jobs by what they are, the youngest first; or how many there are."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Final

from .._client import M25
from .._summaries import JobPage, JobSummary
from . import _asking, _which
from ._console import Console
from ._exits import DONE
from ._tables import as_json, fields_of, table
from ._words import ago, stamp

_DESCRIPTION: Final = """\
List jobs, the youngest first, each as its latest attempt stands. What has not ended, has failed or
was cancelled is found at once. For anything else the table is looked through, for so long as
--seconds says; then it is said how far the look has come."""

_COLUMNS: Final = ("job", "queue", "status", "attempt", "created", "error, or input")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = _DESCRIPTION
    parser.epilog = f"{_which.HELP}\n\n" + _asking.epilog(
        "m25 jobs --status failed",
        "m25 jobs --queue mails --since 1h --where input.to=ada@example.org",
        "m25 jobs --queue mails --status succeeded --since 1w --count",
    )
    _which.add_options(parser)
    parser.add_argument(
        "--limit", type=int, default=50, metavar="N", help="how many at most (default: 50)"
    )
    parser.add_argument(
        "--after", metavar="ID", help="go on behind this one: the id that the list before has named"
    )
    parser.add_argument(
        "--count", action="store_true", help="say how many there are of each status, and list none"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        metavar="N",
        help="how long the look may take (default: 5)",
    )
    _asking.add_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """List or count them, and return the exit code."""
    do = _count if options.count else _list
    return _asking.run(options, console, partial(do, options, console))


async def _count(options: argparse.Namespace, console: Console, m: M25) -> int:
    if options.after is not None:
        raise ValueError("--count begins with the youngest job, and takes no --after")
    counts = await m.counts(seconds=options.seconds, **_which.read(options))
    if options.json:
        by_status = {status.value: number for status, number in counts.by_status.items()}
        console.data(as_json({**fields_of(counts), "by_status": by_status}))
        return DONE
    rows = [[status.value, f"{number:,}"] for status, number in counts.by_status.items()]
    if rows:
        console.data(table(("status", "jobs"), rows))
    if counts.is_out_of_time and counts.looked_back_to is not None:
        console.say(
            f"the time was up: counted back to jobs of {stamp(counts.looked_back_to)}; give it more"
            " --seconds"
        )
    elif not rows:
        console.say("there are no such jobs")
    return DONE


async def _list(options: argparse.Namespace, console: Console, m: M25) -> int:
    page = await m.jobs(
        limit=options.limit,
        after=options.after,
        seconds=options.seconds,
        **_which.read(options),
    )
    if options.json:
        console.data(as_json(page))
        return DONE
    if page.jobs:
        console.data(table(_COLUMNS, [_row(job) for job in page.jobs]))
    _say_how_far(page, console)
    return DONE


def _row(job: JobSummary) -> list[object]:
    return [
        job.id,
        job.queue_name,
        status_of(job),
        f"{job.attempt - job.losses} of {job.max_attempts}",
        ago(job.created_at),
        job.input if job.error is None else job.error,
    ]


def status_of(job: JobSummary) -> str:
    """How a job stands, in a word or two."""
    return f"{job.status.value}, to be cancelled" if job.is_to_be_cancelled else job.status.value


def _say_how_far(page: JobPage, console: Console) -> None:
    if page.is_out_of_time and page.looked_back_to is not None:
        console.say(
            f"the time was up: looked back to jobs of {stamp(page.looked_back_to)}; go on with"
            f" --after {page.after}, or give it more --seconds"
        )
    elif page.after is not None:
        console.say(f"there may be more: go on with --after {page.after}")
    elif not page.jobs:
        console.say("there are no such jobs")
