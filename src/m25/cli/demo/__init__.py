"""`m25 demo`: a queue at work on real files, and an account of what became of every job.

    play                          enqueues, plays the acts, and reads the account
    ├─ PostgreSQL                 embedded, unless an address is given
    ├─ worker 1, worker 2         processes that run the queue "sources", a job for every file
    ├─ worker 3                   runs "arrivals", until it is killed
    └─ worker 4                   runs "arrivals": first the jobs that worker 3 had begun

`jobs.py` has the queues, `worker.py` the process that runs them. `acts.py` has the acts, each of
which shows one thing that m25 does. `account.sql` counts the rows in the end, and `play.py` runs it
all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import psycopg
import trio

from ..._errors import M25Error
from .. import _address
from .._console import Console
from .._exits import FAILED, WrongUsage
from . import files

_EPILOG: Final = """\
exit codes:
  0  every count is right
  1  one is not, or there is no database
  2  the command line is wrong
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = (
        "Read the Python files under DIR, a job for each, in several processes; on the way show a\n"
        "killed worker, retries, a deadline and more; and check what became of every job."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "dir",
        nargs="?",
        metavar="DIR",
        type=Path,
        default=files.standard_library(),
        help=f"the folder to read, at most {files.MOST} files (default: Python's own library)",
    )
    parser.add_argument(
        "--addr",
        metavar="ADDRESS",
        help="a PostgreSQL of yours, as a conninfo string or URL: the demo makes a schema for "
        "itself there, and drops it (default: an embedded server, gone at the end)",
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Run the demo, and return the exit code."""
    if sys.platform == "win32":
        console.error("the demo kills a process by SIGKILL, which Windows does not have")
        return FAILED
    if not options.dir.is_dir():
        raise WrongUsage(f"{options.dir} is not a folder")
    address = None if options.addr is None else _address.read(options.addr)
    # Imported only here: the workers import this package, too, and need none of it.
    from .play import play_unless_interrupted

    try:
        return trio.run(play_unless_interrupted, options.dir, address)
    except BaseExceptionGroup as group:
        errors = list(_leaves(group))
        if not all(isinstance(error, (M25Error, psycopg.Error)) for error in errors):
            raise
        for message in dict.fromkeys(map(str, errors)):
            console.error(message)
        return FAILED


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for inner in group.exceptions:
            yield from _leaves(inner)
    else:
        yield error
