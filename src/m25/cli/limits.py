"""`m25 limits`: how many jobs may run at once, in all processes; it is set anew."""

from __future__ import annotations

import argparse
from collections import defaultdict
from functools import partial
from typing import Any, Final

from .._client import M25
from .._operator import QueueRecord
from . import _asking
from ._console import Console
from ._exits import DONE, WrongUsage
from ._tables import as_json, table

_COLUMNS: Final = ("limit", "at once", "running", "waiting", "queues")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = """\
List the limits of all queues, or set how many jobs may run at once under one, for each key if it
has one. That goes before what workers declare, and outlasts them."""
    parser.epilog = _asking.epilog("m25 limits", "m25 limits gpu --set 8")
    parser.add_argument("limit", nargs="?", metavar="LIMIT", help="its name, to set it")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--set", type=int, metavar="N", help="how many may run at once")
    size.add_argument("--reset", action="store_true", help="as many as the workers declare")
    _asking.add_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """List or set them, and return the exit code."""
    is_set = options.set is not None or options.reset
    if is_set != (options.limit is not None):
        raise WrongUsage("to set a limit, give its name with --set N or --reset")
    return _asking.run(options, console, partial(_run, options, console))


async def _run(options: argparse.Namespace, console: Console, m: M25) -> int:
    if options.limit is not None:
        await m.set_limit(options.limit, options.set)
    limits = _limits(await m.queues())
    if options.json:
        console.data(as_json(limits))
    elif limits:
        rows = [[*list(limit.values())[:-1], ", ".join(limit["queues"])] for limit in limits]
        console.data(table(_COLUMNS, rows))
    else:
        console.say("no worker has run a queue with a limit")
    return DONE


def _limits(queues: list[QueueRecord]) -> list[dict[str, Any]]:
    by_name = defaultdict[str, list[QueueRecord]](list)
    for queue in queues:
        if queue.limiter is not None:
            by_name[queue.limiter].append(queue)
    return [
        {
            "limit": name,
            "at_once": under[0].limit,
            "running": sum(queue.running for queue in under),
            "waiting": sum(queue.waiting for queue in under),
            "queues": [queue.name for queue in under],
        }
        for name, under in sorted(by_name.items())
    ]
