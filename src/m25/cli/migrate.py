"""`m25 migrate`: the migrations that a database still needs, printed or applied."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

import psycopg
import trio

from .. import migrations, pg
from .._errors import M25Error
from . import _address
from ._console import Console
from ._exits import DONE, FAILED

#: The exit code of --check where migrations are pending.
PENDING: Final = 3

_DESCRIPTION: Final = """\
Print the SQL that a database still needs to work with this m25, as one transaction for psql, and
nothing if it is up to date. With --apply run it: in one transaction too, under a lock, so that any
number of processes may do this at once. A database that a newer m25 has migrated is left as it is,
and is an error where this m25 cannot work with it."""

_EPILOG: Final = f"""\
{_address.HELP}

exit codes:
  0  done: the SQL was printed or applied, or there was nothing to do
  1  not done: the database cannot be reached or used, has been migrated by a newer m25 so that this
     one cannot work with it, or refused a step; nothing was changed
  2  the command line or the address is wrong; the database was not asked
  3  with --check alone: migrations are pending

examples:
  m25 migrate | psql --set ON_ERROR_STOP=1 "$DATABASE_URL"
  m25 migrate --apply --silent --addr postgresql://deploy@db.example/app
  m25 migrate --check || echo "migrate first"
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    _address.add_option(parser)
    _address.add_schema_option(parser)
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--apply", action="store_true", help="apply the migrations")
    way.add_argument(
        "--check", action="store_true", help="print nothing; exit with 3 if migrations are pending"
    )
    parser.add_argument(
        "--silent", action="store_true", help="no messages on stderr, except errors"
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Print, apply or check, and return the exit code."""
    console.silent = options.silent
    conninfo = _address.read(options.addr)
    target = _address.describe(conninfo)
    place = f"schema {options.schema!r} at {target}"
    try:
        steps, found = trio.run(_migrate, conninfo, options.schema, options.apply)
    except M25Error as error:
        console.error(f"{error} ({target})")
        return FAILED
    except (psycopg.Error, OSError) as error:
        console.error(f"{place} cannot be used: {error}".rstrip())
        return FAILED
    names = ", ".join(step.name for step in steps)
    if not steps and found is not None and found.is_newer:
        console.say(
            f"{place} is at version {found.version:%Y-%m-%d %H:%M}, newer than this m25, which "
            "works with it: nothing to do"
        )
    elif not steps:
        console.say(f"{place} is up to date")
    elif options.apply:
        console.say(f"{place}: applied {names}")
    elif options.check:
        console.say(f"{place} needs {names}")
        return PENDING
    else:
        console.data(migrations.script(steps, options.schema))
        console.say(f"{place} needs {names}: apply what was printed, or run with --apply")
    return DONE


async def _migrate(
    conninfo: str, schema: str, applying: bool
) -> tuple[Sequence[migrations.Migration], migrations.SchemaVersion | None]:
    """The steps that are needed, or that were applied; and the schema's version after that."""
    async with await pg.AsyncConnection.connect(
        conninfo, autocommit=True, client_encoding="UTF8"
    ) as connection:
        look = migrations.apply if applying else migrations.pending
        steps = await look(connection, schema)
        return steps, await migrations.read_version(connection, schema)
