"""`m25 stack ID`: where the handler of a running job waits."""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import Final

import attrs

from .._client import M25
from .._errors import InvalidJob
from .._job import JobId
from .._stack import JobStack
from . import _address, _asking
from ._console import Console
from ._exits import DONE
from .worker import seconds

#: How long the answer may take, in seconds.
_TIMEOUT: Final = 15.0

_DESCRIPTION: Final = """\
Print where the handler of a running job waits, in whatever process: the tree of its tasks as Trio
has them, each with the lines at which it stands, from the outermost function to the one that waits.
No values of the program are in it."""

_EPILOG: Final = f"""\
{_address.HELP}

The worker is asked by way of the database, and needs no port. The role needs the right to update
jobs.

exit codes:
  0  printed
  1  the job does not run, or is unknown; its worker does not answer; or the database cannot be
     reached
  2  the command line or the address is wrong; the database was not asked

examples:
  m25 stack 01a2b3c4-0000-7000-8000-000000000000
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("id", type=_job_id, metavar="ID", help="that of any attempt of the job")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=_TIMEOUT,
        metavar="SECONDS",
        help=f"how long the worker may take to answer (default: {_TIMEOUT:g})",
    )
    _asking.add_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Ask, print the answer, and return the exit code."""
    return _asking.run(options, console, partial(_print, options, console))


async def _print(options: argparse.Namespace, console: Console, m: M25) -> int:
    stack = await m.stack(None, options.id, timeout=options.timeout)
    console.data(f"{_as_json(stack) if options.json else stack}\n")
    return DONE


def _as_json(stack: JobStack) -> str:
    told = {
        "id": str(stack.id),
        "queue": stack.queue_name,
        "task": attrs.asdict(stack.task),
        "left_out": stack.left_out,
    }
    return json.dumps(told, indent=2)


def _job_id(text: str) -> JobId:
    try:
        return JobId(text)
    except InvalidJob as error:
        raise argparse.ArgumentTypeError(str(error)) from error
