"""Another connection object for a session, for as long as somebody else is to have it."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NoReturn, TypeVar
from weakref import ref

import psycopg
from psycopg import pq
from psycopg.adapt import AdaptersMap

from ._connection import AsyncConnection

C = TypeVar("C", bound=AsyncConnection[Any])


@contextmanager
def lent(connection: C) -> Generator[C]:
    """A block in which somebody has the session of `connection`, by an object like it.

    What is set on that object (row factories, adapters, handlers of notices) is not set on
    `connection`. At the end it is closed, and so are its cursors: whoever has kept it cannot reach
    the session any more, which by then may be another's. Meanwhile both can be used, in turns.
    """
    other = copy.copy(connection)
    if connection._adapters is not None:
        other._adapters = AdaptersMap(connection._adapters)
    other._notice_handlers = list(connection._notice_handlers)
    other._notify_handlers = list(connection._notify_handlers)
    other._notifies_backlog = deque()
    _have_told(other)
    try:
        yield other
    finally:
        _have_told(connection)
        ended: Any = _Ended()
        other.pgconn = _CLOSED
        other.lock = other._wire = ended
        # It was not lost: nobody is to take it for a broken one.
        other._closed = True


def _have_told(connection: AsyncConnection[Any]) -> None:
    """Have libpq tell this object of the notices and notifications that arrive."""
    weak: Any = ref(connection)
    pgconn = connection.pgconn
    pgconn.notice_handler = partial(connection._notice_handler, weak)
    pgconn.notify_handler = partial(connection._notify_handler, weak)


def _closed() -> pq.abc.PGconn:
    pgconn = pq.PGconn.connect_start(b"=")
    pgconn.finish()
    return pgconn


#: What a closed connection has in place of libpq's.
_CLOSED: Final = _closed()


class _Ended:
    """In place of the lock and the wire of a connection that is not lent any more: whatever is
    done with it, or with a cursor of it, begins with one of these calls.
    """

    is_row_by_row = False

    async def __aenter__(self) -> NoReturn:
        self._refuse()

    async def __aexit__(self, *exc_info: object) -> None: ...

    def locked(self) -> bool:
        return False

    async def run(self, *_: object, **__: object) -> NoReturn:
        self._refuse()

    run_for: Callable[..., Awaitable[NoReturn]] = run
    checkpoint_if_due: Callable[..., Awaitable[NoReturn]] = run

    def _refuse(self) -> NoReturn:
        raise psycopg.OperationalError(
            "this connection was lent for one transaction, which has ended; do what is to be done"
            " in it before that, and open a connection of your own for the rest"
        )
