"""Where the jobs are: the address of a database, from an option or the environment; the schema."""

from __future__ import annotations

import argparse
import os
from typing import Final

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .. import migrations, pg
from ._exits import WrongUsage

HELP: Final = """\
The database is that of --addr, a conninfo string or URL; else of DATABASE_URL, where that is set;
else of libpq's environment (PGHOST, PGDATABASE, PGPASSWORD, PGSERVICE and so on). A URL may name a
driver, as SQLAlchemy's do (postgresql+psycopg://...). A password is better kept in the environment
or in ~/.pgpass than given to --addr, where other users of the machine can see it."""

#: The parts of an address that messages may name; the password is not among them.
_SHOWN: Final = ("user", "host", "hostaddr", "port", "dbname")


class WrongAddress(WrongUsage):
    """The address cannot be read; the message does not repeat it."""


def add_option(parser: argparse._ActionsContainer) -> None:
    """Declare `--addr`."""
    parser.add_argument("--addr", metavar="ADDRESS", help="where the database is (see below)")


def add_schema_option(parser: argparse.ArgumentParser) -> None:
    """Declare `--schema`; a name that PostgreSQL cannot hold, or would cut off, is refused."""
    parser.add_argument(
        "--schema",
        default="m25",
        type=_schema_name,
        metavar="NAME",
        help="the schema that holds the job table (default: m25)",
    )


def _schema_name(name: str) -> str:
    try:
        return migrations.check_schema(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def read(given: str | None) -> str:
    """The conninfo string of the address that was given, or of the environment.

    Raises:
        WrongAddress: the address cannot be read.
    """
    source = "--addr" if given is not None else "DATABASE_URL"
    address = os.environ.get("DATABASE_URL", "") if given is None else given
    try:
        return pg.normalize(address)
    except psycopg.ProgrammingError as error:
        raise WrongAddress(f"{source}: {error}") from None


def describe(conninfo: str) -> str:
    """The database that a conninfo string and libpq's environment name; never the password."""
    given = conninfo_to_dict(conninfo)
    for option in pq.Conninfo.get_defaults():
        if option.val is not None:
            given.setdefault(option.keyword.decode(), option.val.decode())
    shown = {part: given[part] for part in _SHOWN if part in given}
    return pg.describe(make_conninfo("", **shown))
