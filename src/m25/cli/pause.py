"""`m25 pause`: no job of a queue begins any more, in any process."""

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
    parser.description = """\
Pause a queue, in all processes, until it is resumed: no job of it begins. What runs goes on, and
jobs can be enqueued."""
    parser.epilog = _asking.epilog("m25 pause mails --reason 'the relay bounces'")
    parser.add_argument("queue", metavar="QUEUE", help="its name")
    parser.add_argument("--reason", metavar="TEXT", help="why, for logs and lists")
    _asking.add_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Pause it, and return the exit code."""
    return _asking.run(options, console, partial(_pause, options, console))


async def _pause(options: argparse.Namespace, console: Console, m: M25) -> int:
    await m.pause(options.queue, reason=options.reason)
    if options.json:
        console.data(as_json({"queue": options.queue, "paused": True}))
    else:
        console.data(f"queue {options.queue!r} is paused\n")
    return DONE
