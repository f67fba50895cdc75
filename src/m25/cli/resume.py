"""`m25 resume`: the jobs of a queue that was paused begin again."""

from __future__ import annotations

import argparse
from functools import partial

from .._client import M25
from . import _asking
from ._console import Console
from ._exits import DONE
from ._tables import as_json


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = "Resume a queue that was paused: its jobs begin again, in all processes."
    parser.epilog = _asking.epilog("m25 resume mails")
    parser.add_argument("queue", metavar="QUEUE", help="its name")
    _asking.add_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Resume it, and return the exit code."""
    return _asking.run(options, console, partial(_resume, options, console))


async def _resume(options: argparse.Namespace, console: Console, m: M25) -> int:
    await m.resume(options.queue)
    if options.json:
        console.data(as_json({"queue": options.queue, "paused": False}))
    else:
        console.data(f"queue {options.queue!r} is not paused\n")
    return DONE
