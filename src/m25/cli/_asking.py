"""What the commands of an operator share: the address, the client, and how they end."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio

from .. import _client
from .._client import M25
from .._errors import M25Error, UsageError
from . import _address
from ._console import Console
from ._exits import FAILED, WRONG_USAGE

#: What a command does with a client; it returns the exit code.
Ask: TypeAlias = Callable[[M25], Awaitable[int]]


def epilog(*examples: str, codes: str = "") -> str:
    """The end of a command's help."""
    return f"""\
{_address.HELP}

exit codes:
  0  done{codes}
  1  not done, or not all of it; or the database cannot be reached
  2  the command line or the address is wrong; nothing was changed

examples:
""" + "".join(f"  {example}\n" for example in examples)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare where the database is, and `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    _address.add_option(parser)
    _address.add_schema_option(parser)


def run(options: argparse.Namespace, console: Console, ask: Ask) -> int:
    """Open a client, do what the command does, and return the exit code."""
    conninfo = _address.read(options.addr)

    async def open_and_ask() -> int:
        async with _client.open(conninfo, schema=options.schema, pool_size=1) as m:
            return await ask(m)

    try:
        return trio.run(open_and_ask)
    except (UsageError, ValueError) as error:
        console.error(str(error))
        return WRONG_USAGE
    except M25Error as error:
        console.error(f"{error} ({_address.describe(conninfo)})")
        return FAILED
