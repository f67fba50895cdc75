"""Addresses: conninfo strings and URLs, as users have them, and defaults for what they omit."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import psycopg
from psycopg.abc import ConnDict
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ._advice import explanation

#: PostgreSQL's schemes, as other software writes them too, with or without the name of a driver.
_SCHEME: Final = re.compile(r"^(?:postgres|postgresql|postgis|pgsql|psql)(?:\+\w+)?://")
_URL: Final = re.compile(r"postgres(?:ql)?://(?P<rest>.*)", re.DOTALL)
_PASSWORD: Final = re.compile(r"pass\w*\s*=", re.IGNORECASE)
#: How servers, poolers and proxies refuse `options`, or what is in them; each in its own words.
_REFUSAL: Final = re.compile(
    r"startup parameter|configuration parameter|\boptions?\b|support", re.IGNORECASE
)
#: The parts of an address that messages name.
_SHOWN: Final = ("user", "host", "hostaddr", "port", "dbname")

#: Parameters of a connection unless its address or libpq's environment gives others: a server or a
#: network that has gone away silently is found out in seconds, not in the two hours of TCP's
#: defaults.
LIVENESS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "connect_timeout": "10",  # seconds, shared by the hosts
        "keepalives_idle": "10",  # seconds
        "keepalives_interval": "5",  # seconds
        "keepalives_count": "3",
        "tcp_user_timeout": "25000",  # milliseconds
    }
)

#: Settings of the server's session, asked for by `options`: without them the transaction of a
#: client that has vanished keeps its locks for hours, and its query runs on.
SERVER_LIVENESS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tcp_keepalives_idle": "10",  # seconds
        "tcp_keepalives_interval": "5",  # seconds
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "25000",  # milliseconds
        "client_connection_check_interval": "1000",  # milliseconds, while a query runs
    }
)


def normalize(conninfo: str) -> str:
    """A conninfo string or URL as libpq takes it: the scheme of a URL may be `postgis`, `pgsql` or
    `psql`, and may have SQLAlchemy's `+driver`.

    Raises:
        psycopg.ProgrammingError: libpq cannot read it, or may have taken a part of the password for
            something else. The message says what to write, and does not repeat the address.
    """
    address = _SCHEME.sub("postgresql://", conninfo)
    normal = ""
    refusal: str | None = None
    try:
        normal = make_conninfo(address)
    except psycopg.Error as error:
        refusal = str(error)
    # Raised here, the exception has no other behind it that repeats the password.
    if refusal is not None:
        raise psycopg.ProgrammingError(explanation(address, refusal))
    if _is_ambiguous(address, conninfo_to_dict(normal)):
        raise psycopg.ProgrammingError(
            "user, password, host and port cannot be told apart; in the user or the password of a "
            "URL write @ as %40, / as %2F, : as %3A and % as %25; the parts of a conninfo string "
            "are separated by spaces"
        )
    return normal


def describe(conninfo: str) -> str:
    """Where a conninfo string or URL leads: user, host, port and database; never the password."""
    try:
        given = conninfo_to_dict(normalize(conninfo))
    except psycopg.Error:
        return "an address that cannot be read"
    hosts = str(given.get("host") or given.get("hostaddr") or "the default host")
    port = f":{given['port']}" if given.get("port") else ""
    name = given.get("dbname") or "the default database"
    user = f"{given['user']}@" if given.get("user") else ""
    return f"{user}{hosts}{port}/{name}"


def _is_ambiguous(address: str, parts: ConnDict) -> bool:
    """Whether libpq may have taken a part of the password for a host, a port or a database.

    Messages name host, port and database, and must not name a password.
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


def with_liveness(params: ConnDict, liveness: Mapping[str, str]) -> ConnDict:
    """Connection parameters, and those of `liveness` that neither they nor the environment give."""
    if _names_a_service(params):
        return params
    missing = {name: value for name, value in liveness.items() if name not in params}
    if "PGCONNECT_TIMEOUT" in os.environ:
        missing.pop("connect_timeout", None)
    return {**params, **missing}


def gives_timeout(params: ConnDict) -> bool:
    """Whether connection parameters, or the environment, give a `connect_timeout`."""
    return (
        "connect_timeout" in params or "PGCONNECT_TIMEOUT" in os.environ or _names_a_service(params)
    )


def with_server_liveness(params: ConnDict, liveness: Mapping[str, str]) -> ConnDict:
    """Connection parameters, with these settings of the server unless `options` has others."""
    if not liveness or _names_a_service(params):
        return params
    ours = " ".join(f"-c {name}={value}" for name, value in liveness.items())
    given = params.get("options") or os.environ.get("PGOPTIONS", "")
    # The later of two settings of one name holds.
    return {**params, "options": f"{ours} {given}".strip()}


def may_refuse(liveness: Mapping[str, str], error: psycopg.Error) -> bool:
    """Whether a server may have refused a connection because of these settings."""
    message = str(error)
    return bool(liveness) and (
        _REFUSAL.search(message) is not None or any(name in message for name in liveness)
    )


def _names_a_service(params: ConnDict) -> bool:
    # The service's file may give any of these, and what is added here would override it.
    return bool(params.get("service")) or "PGSERVICE" in os.environ
