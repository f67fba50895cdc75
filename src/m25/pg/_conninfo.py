"""Addresses: conninfo strings and URLs, as users have them."""

from __future__ import annotations

import re
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

_DRIVER: Final = re.compile(r"^(postgres(?:ql)?)\+\w+(?=://)")

#: What a connection asks for unless its conninfo or libpq's environment says otherwise. A server or a
#: network that has gone away silently must be found out in seconds, not in the two hours of TCP's
#: defaults.
LIVENESS: Final = {
    "connect_timeout": "10",  # seconds, for each host
    "keepalives_idle": "10",  # seconds
    "keepalives_interval": "5",  # seconds
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",  # milliseconds
}


def normalize(conninfo: str) -> str:
    """A conninfo string or URL as libpq takes it: SQLAlchemy's `+driver` is left out.

    What it does not say of timeouts and keepalives is added from `LIVENESS`.

    Raises:
        psycopg.ProgrammingError: libpq cannot read it; the message does not repeat it, since it may
            hold a password.
    """
    try:
        given = conninfo_to_dict(_DRIVER.sub(r"\1", conninfo))
    except psycopg.Error as error:
        raise psycopg.ProgrammingError(
            "the address is neither a conninfo string nor a postgresql:// URL"
        ) from _without_text(error)
    return make_conninfo("", **{**LIVENESS, **given})


def describe(conninfo: str) -> str:
    """Where a conninfo string leads: host, port and database; never the password."""
    try:
        given = conninfo_to_dict(_DRIVER.sub(r"\1", conninfo))
    except psycopg.Error:
        return "an address that cannot be read"
    hosts = str(given.get("host") or given.get("hostaddr") or "the default host")
    port = f":{given['port']}" if given.get("port") else ""
    name = given.get("dbname") or "the default database"
    user = f"{given['user']}@" if given.get("user") else ""
    return f"{user}{hosts}{port}/{name}"


def _without_text(error: psycopg.Error) -> Exception:
    return type(error)("(left out: it may repeat a password)")
