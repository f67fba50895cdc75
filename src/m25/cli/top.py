"""`m25 top`: queues and workers as they are now, again and again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from .._client import M25
from .._client import open as open_client
from .._errors import DatabaseError
from . import _address
from ._console import Console
from ._exits import DONE, need
from ._until_stopped import run_until_stopped

if TYPE_CHECKING:
    from ._top_screen import Seen

#: Between two statements, in seconds: what somebody watches must cost next to nothing.
_PAUSE: Final = 1.0

_DESCRIPTION: Final = """\
Show queues and workers as they are now, until Ctrl-C: of each queue how many jobs are due, since
when the first has been, how many run, and what has ended within the last minute; of each worker
which queues it serves, and when it was last heard of. It asks one thing after the other, one
statement a second. Where the output is no terminal, all is shown once."""

_EPILOG: Final = f"""\
{_address.HELP}

What has ended is looked for among the 10,000 youngest attempts: of jobs that had waited for long,
more may have.

exit codes:
  0  it was ended by Ctrl-C, or all was shown once
  1  the database cannot be reached, or its schema does not fit
  2  the command line or the address is wrong; the database was not asked
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    _address.add_option(parser)
    _address.add_schema_option(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Show until Ctrl-C, and return the exit code."""
    need("top", "cli", "rich")
    conninfo = _address.read(options.addr)
    target = _address.describe(conninfo)
    try:
        return run_until_stopped(partial(_show, conninfo, options.schema, target), console, target)
    except KeyboardInterrupt:
        return DONE


async def _show(conninfo: str, schema: str, target: str) -> None:
    from ._top_screen import Screen, Seen

    seen = Seen(target)
    async with open_client(conninfo, schema=schema, pool_size=1) as m:
        if not sys.stdout.isatty():
            for ask in _QUESTIONS:
                await ask(m, seen)
            Screen().show(seen)
            return
        with Screen().live() as update:
            await watch(m, seen, update)


async def watch(m: M25, seen: Seen, update: Callable[[Seen], None]) -> None:
    """Look at one thing after the other, and show what was seen, until cancelled."""
    while True:
        for ask in _QUESTIONS:
            try:
                await ask(m, seen)
                seen.failure = None
            except DatabaseError as error:
                seen.failure = str(error)
            update(seen)
            await trio.sleep(_PAUSE)


async def _look_at_queues(m: M25, seen: Seen) -> None:
    seen.queues = await m.queues()


async def _look_at_rates(m: M25, seen: Seen) -> None:
    seen.rates = {rate.queue_name: rate for rate in await m.rates()}


async def _look_at_workers(m: M25, seen: Seen) -> None:
    seen.workers = await m.workers()


#: Each is one statement.
_QUESTIONS: Final = (_look_at_queues, _look_at_rates, _look_at_workers)
