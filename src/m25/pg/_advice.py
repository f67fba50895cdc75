"""Parameters that platforms and other drivers put into addresses, and what to write here."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

_LEAVE_OUT: Final = "leave it out"
_ADVICE: Final = MappingProxyType(
    {
        "pgbouncer": f"{_LEAVE_OUT}: a pooler is found out without it",
        "prepared_statements": f"{_LEAVE_OUT}, and give prepare_threshold=None to connect()",
        "statement_cache_size": f"{_LEAVE_OUT}, and give prepare_threshold=None to connect()",
        "prepared_statement_cache_size": (
            f"{_LEAVE_OUT}, and give prepare_threshold=None to connect()"
        ),
        "connection_limit": f"{_LEAVE_OUT}, and give max_size to the pool",
        "pool_size": f"{_LEAVE_OUT}, and give max_size to the pool",
        "pool_timeout": f"{_LEAVE_OUT}, and give timeout to the pool",
        "schema": "write options=-csearch_path%3DNAME in a URL",
        "search_path": "write options=-csearch_path%3DNAME in a URL",
        "currentSchema": "write options=-csearch_path%3DNAME in a URL",
        "server_settings": "write options=-cNAME%3DVALUE in a URL",
        "statement_timeout": "write options=-cstatement_timeout%3DVALUE in a URL",
        "ssl": (
            "write sslmode=require for an encrypted connection, or sslmode=verify-full to have the "
            "server's certificate checked too"
        ),
        "sslaccept": "write sslmode=verify-full, or sslmode=require to accept any certificate",
        "sslidentity": "write sslcert and sslkey",
        "uselibpqcompat": _LEAVE_OUT,
        "encoding": "write client_encoding",
        "charset": "write client_encoding",
        "timeout": "write connect_timeout",
        "username": "write user",
        "database": "write dbname",
        "pass": "write password",
    }
)
#: As libpq refuses one.
_REFUSED: Final = re.compile(r'invalid (?:URI query parameter|connection option):? "([^"]*)"')
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+]*)://")


def explanation(address: str, refusal: str) -> str:
    """Why an address cannot be read, and what to write, from libpq's refusal of it.

    Only what cannot be a part of a password is repeated.
    """
    if refused := _REFUSED.search(refusal):
        name = refused[1]
        if name in _ADVICE:
            return (
                f"the address has the parameter {name!r}, which libpq does not know: "
                + (_ADVICE[name])
            )
        if "://" in address and "@" not in address.partition("?")[2]:
            return f"the address has the parameter {name!r}, which libpq does not know"
    scheme = _SCHEME.match(address)
    if scheme and scheme[1] not in {"postgres", "postgresql"}:
        return f"the address begins with {scheme[0]}: for PostgreSQL write postgresql://"
    return "the address is neither a conninfo string nor a postgresql:// URL"
