"""What one connection of a listener listens to."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, LiteralString, TypeVar

import psycopg
import trio
from psycopg import generators, sql

from ._connection import AsyncConnection

T = TypeVar("T")


class Listening:
    """What one connection listens to."""

    def __init__(self, connection: AsyncConnection[Any], echo: str, timeout: float) -> None:
        self._connection = connection
        self._echo = echo
        self._timeout = timeout
        self._channels: set[str] = set()
        self._took_writes = not connection._wire.refuses_writes
        #: Whether anything was heard on this connection.
        self.is_proven = False
        #: Whether it is the session that has heard what is listened to on this connection.
        self.is_our_session = False

    async def begin(self) -> None:
        await self._execute(sql.SQL("listen {}").format(sql.Identifier(self._echo)))
        self.is_our_session = await self._in_time(self._connection._wire.is_direct())

    async def follow(self, channels: set[str]) -> None:
        verbs: list[tuple[LiteralString, set[str]]] = [
            ("listen {}", channels - self._channels),
            ("unlisten {}", self._channels - channels),
        ]
        statements = [
            sql.SQL(verb).format(sql.Identifier(name)) for verb, names in verbs for name in names
        ]
        if statements:
            await self._execute(sql.SQL("; ").join(statements))
        self._channels = channels

    async def notify(self) -> None:
        await self._execute(
            sql.SQL("select pg_catalog.pg_notify({}, '')").format(sql.Literal(self._echo))
        )
        has_changed = self._took_writes and self._connection._wire.refuses_writes
        if has_changed:  # rule: who listens leaves a former primary
            raise psycopg.OperationalError("the server takes no writes any more")

    def is_for_us(self, notice: psycopg.Notify) -> bool:
        """Whether it was sent to us: in a session of others' there may come what they listen to."""
        return self.is_our_session or notice.channel == self._echo

    async def notices(self) -> Sequence[psycopg.Notify]:
        """Wait until something is notified, and return it with all that came at the same time.

        What the connection's `notifies(stop_after=1)` yields, without a generator around it.
        """
        connection = self._connection
        async with connection.lock:
            # What came together with the answer to a statement is there already.
            backlog = connection._notifies_backlog
            assert backlog is not None
            if not backlog:
                arrived = await connection.wait(generators.notifies(connection.pgconn))
                if connection._notify_handlers:
                    # Without handlers psycopg has put them into the backlog.
                    backlog.extend(connection._decoded(each) for each in arrived)
            notices = list(backlog)
            backlog.clear()
            return notices

    async def _execute(self, statement: sql.Composed) -> None:
        # Behind a pooler the next statement may find another session, with nothing prepared.
        await self._in_time(self._connection.execute(statement, prepare=False))

    async def _in_time(self, answer: Awaitable[T]) -> T:
        with trio.move_on_after(self._timeout):
            return await answer
        raise psycopg.OperationalError("the server does not answer")
