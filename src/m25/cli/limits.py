"""`m25 limits`: how many jobs may run at once, and begin in a time; the first is set anew."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Final

from .._client import M25
from .._glance import pace
from .._limit_records import LimitRecord
from . import _asking
from ._console import Console
from ._exits import DONE, WrongUsage
from ._tables import as_json, table

_COLUMNS: Final = (
    "limit",
    "at once",
    "of each",
    "rate",
    "running",
    "held",
    "waiting",
    "full keys",
    "queues",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = """\
List all limits and rates, with what runs, is held and waits under each, or set how many jobs
may run at once under one, for each key if it has one. That goes before what workers declare, and
outlasts them."""
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
    limits = await m.limits()
    if options.json:
        console.data(as_json(limits))
    elif limits:
        console.data(table(_COLUMNS, [_row(limit) for limit in limits]))
    else:
        console.say("no worker has run a queue with a limit, and no program has held a place")
    return DONE


def _rate(limit: LimitRecord) -> str | None:
    if limit.interval is None:
        return None
    return pace(limit.interval) + (f" of each {limit.rate_key}" if limit.rate_key else "")


def _row(limit: LimitRecord) -> list[object]:
    return [
        limit.name,
        limit.size,
        limit.key,
        _rate(limit),
        limit.running,
        limit.held,
        limit.waiting,
        limit.full_keys if limit.key else None,
        ", ".join(limit.queues),
    ]
