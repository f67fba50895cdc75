"""The address of a database, as deploy scripts have it: an option, or the environment."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .. import pg

HELP: Final = """\
The database is that of --addr, a conninfo string or URL; else of DATABASE_URL, where that is set;
else of libpq's environment (PGHOST, PGDATABASE, PGPASSWORD, PGSERVICE and so on). A URL may name a
driver, as SQLAlchemy's do (postgresql+psycopg://...). A password is better kept in the environment
or in ~/.pgpass than given to --addr, where other users of the machine can see it."""

_URL: Final = re.compile(r"postgres(?:ql)?(?:\+\w+)?://(?P<rest>.*)", re.DOTALL)
#: The parts of an address that messages name.
_SHOWN: Final = ("user", "host", "hostaddr", "port", "dbname")
_PASSWORD: Final = re.compile(r"pass\w*\s*=", re.IGNORECASE)


class WrongAddress(Exception):
    """The address cannot be read; the message does not repeat it."""


def add_option(parser: argparse.ArgumentParser) -> None:
    """Declare `--addr`."""
    parser.add_argument("--addr", metavar="ADDRESS", help="where the database is (see below)")


def read(given: str | None) -> str:
    """The conninfo string of the address that was given, or of the environment.

    Raises:
        WrongAddress: it cannot be read, or not without taking a password for something else.
    """
    source = "--addr" if given is not None else "DATABASE_URL"
    address = os.environ.get("DATABASE_URL", "") if given is None else given
    try:
        conninfo = pg.normalize(address)
    except psycopg.ProgrammingError as error:
        raise WrongAddress(f"{source}: {error}") from None
    if _is_ambiguous(address, conninfo_to_dict(conninfo)):
        raise WrongAddress(
            f"{source}: user, password, host and port cannot be told apart; in the user or the "
            "password of a URL write @ as %40, / as %2F, : as %3A and % as %25; the parts of a "
            "conninfo string are separated by spaces"
        )
    return conninfo


def describe(conninfo: str) -> str:
    """Where a conninfo string leads, with what libpq's environment adds; never the password."""
    given = conninfo_to_dict(conninfo)
    for option in pq.Conninfo.get_defaults():
        if option.val is not None:
            given.setdefault(option.keyword.decode(), option.val.decode())
    shown = {part: given[part] for part in _SHOWN if part in given}
    return pg.describe(make_conninfo("", **shown))


def _is_ambiguous(address: str, parts: Mapping[str, Any]) -> bool:
    """Whether libpq may have taken a part of the password for a host, a port or a database.

    Those are named in messages, and a password must not be.
    """
    port = str(parts.get("port", "")).replace(",", "")
    return (
        _has_loose_at_sign(address)
        or (port != "" and not port.isdecimal())
        or any(_PASSWORD.search(str(parts.get(part, ""))) for part in _SHOWN)
    )


def _has_loose_at_sign(address: str) -> bool:
    """Whether a URL has an "@" besides the one that ends user and password, as libpq finds it."""
    match = _URL.match(address)
    if match is None:
        return False
    rest = match["rest"]
    before, _, after = rest.partition("@")
    place = after if "/" not in before else rest
    return "@" in place.partition("?")[0]
