"""What there must be where a pooler is in between, which hands sessions from one client to another.

Nothing may be set there for longer than a transaction: whoever has the session next would inherit
it. What m25 sets for its own sessions must be so from the beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import psycopg

from .. import pg
from .steps import Backend

#: What settings of sessions have to be.
_WANTED: Final[Mapping[str, str]] = {
    "default_transaction_isolation": "'read committed'",
    "search_path": "pg_catalog, public",
}


async def find_misfit(connection: pg.AsyncConnection[Any], backend: Backend) -> str | None:
    """Why m25 does not work through the pooler behind a connection, and what to do; or nothing."""
    try:
        # One statement is a transaction with every pooler.
        async with connection.transaction():
            await connection.execute("select", prepare=False)
    except psycopg.errors.ProtocolViolation as error:
        return (
            "there is a pooler in between that takes no transactions, and m25 needs them"
            f" ({error}): have it pool by transaction or by session, as PgBouncer does with"
            " pool_mode = transaction; or give an address that goes to the server itself"
        )
    # rule: what cannot be set for a session must be so
    if backend.unfit is not None:
        return (
            f"there is a pooler in between, and {backend.unfit} is such as m25's statements are not"
            " written for. For the sessions of a pooler, which others share, m25 sets nothing; have"
            " it so from the beginning, as by"
            f" `alter role … in database … set {backend.unfit} to {_WANTED[backend.unfit]}`, or"
            " give an address that goes to the server itself"
        )
    return None
