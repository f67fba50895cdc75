"""Says what was passed where a connection is needed."""

from __future__ import annotations

import inspect

import psycopg

from ._connection import AsyncConnection
from ._pool import Loan, Pool


def check_connection(value: object) -> None:
    """Refuse what is not a connection of `m25.pg`, and say what it is and what to write.

    Raises:
        TypeError: it is something else. The message does not repeat the value, in which there may
            be a password.
    """
    if not isinstance(value, AsyncConnection):
        raise TypeError(f"a m25.pg.AsyncConnection is needed, not {_description(value)}")


def _description(value: object) -> str:
    if isinstance(value, psycopg.AsyncConnection):
        return (
            "a psycopg.AsyncConnection, which needs asyncio: open one by "
            "`await m25.pg.AsyncConnection.connect(…)`"
        )
    if isinstance(value, psycopg.Connection):
        return (
            "a psycopg.Connection, which blocks the whole program while it waits: open one by "
            "`await m25.pg.AsyncConnection.connect(…)`"
        )
    if isinstance(value, Loan):
        return "what pool.connection() returns: write `async with pool.connection() as connection:`"
    if isinstance(value, Pool):
        return "a pool: write `async with pool.connection() as connection:`"
    if inspect.iscoroutine(value):
        # It will not be awaited any more, and Python would warn of that.
        value.close()
        return "a coroutine: write `await` before the call that made it"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, str):
        return "a string: open a connection by `await m25.pg.AsyncConnection.connect(…)`"
    return f"a {type(value).__module__}.{type(value).__qualname__}"
