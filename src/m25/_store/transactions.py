"""Transactions on PostgreSQL in which handlers write."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import trio
from psycopg import generators, pq
from psycopg.abc import PQGen

from .. import pg
from .._errors import UsageError
from ..pg._transaction import Transaction as Block
from .failures import Sorting
from .protocol import ClaimedJob, Fenced, Kept, Locked, NewStep, Outcome, WriteResult
from .steps import Calls, Steps, session_name

_IN_TRANSACTION = pq.TransactionStatus.INTRANS
_IN_ERROR = pq.TransactionStatus.INERROR


class _NamedBlock(Block):
    """A block of a transaction whose session has a name as long as it is open."""

    def __init__(self, connection: pg.AsyncConnection[Any], name: str) -> None:
        super().__init__(connection)
        self._name = name

    def _get_enter_commands(self) -> Iterator[bytes]:
        return iter(())

    def _enter_gen(self) -> PQGen[None]:
        yield from super()._enter_gen()
        # Both in one round trip, which psycopg's own way does not allow. With `local` nobody
        # inherits the name, not behind a pooler either.
        begin = (
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
            f" SET LOCAL application_name TO '{self._name}'"
        )
        self.pgconn.send_query(begin.encode())
        for result in (yield from generators.execute(self.pgconn)):
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise psycopg.errors.error_from_result(result, encoding="utf-8")


class PostgresTransaction:
    """See `Transaction` in the protocol."""

    def __init__(
        self,
        connection: pg.AsyncConnection[Any],
        block: Block,
        calls: Calls,
        run: Callable[[Steps[Any], pg.AsyncConnection[Any]], Awaitable[Any]],
    ) -> None:
        self._connection = connection
        self._block = block
        self._calls = calls
        self._run = run

    @property
    def connection(self) -> pg.AsyncConnection[Any]:
        """The connection, for the handler."""
        return self._connection

    async def keep_step(self, step: NewStep) -> Kept | Locked | Fenced:
        """See `Transaction` in the protocol."""
        self._check("keep_steps")
        answer: Kept | Locked | Fenced
        (answer,) = await self._run(self._calls.keep_steps([step]), self._connection)
        return answer

    async def settle(self, outcome: Outcome, allowed_losses: int) -> WriteResult:
        """See `Transaction` in the protocol."""
        self._check("settle")
        results: dict[str, WriteResult] = await self._run(
            self._calls.settle([outcome], allowed_losses), self._connection
        )
        return results[outcome.id]

    async def commit(self) -> None:
        """See `Transaction` in the protocol."""
        self._check("commit")
        with Sorting("commit"):
            await self._block.__aexit__(None, None, None)

    async def roll_back(self) -> None:
        """Roll back, unless it has ended."""
        await self._block.__aexit__(psycopg.Rollback, psycopg.Rollback(), None)

    def _check(self, statement: str) -> None:
        connection = self._connection
        if connection.broken:
            with Sorting(statement):
                raise psycopg.OperationalError("the connection was lost, and nothing is committed")
        status = connection.pgconn.transaction_status
        if status == _IN_ERROR:
            raise UsageError(
                "a statement has failed in this transaction, and its error was caught: nothing can"
                " be committed any more; catch it outside of an `async with"
                " connection.transaction():` around what may fail"
            )
        if connection.closed or status != _IN_TRANSACTION:
            raise UsageError(
                "the transaction was ended in the handler: m25 commits it, together with what it"
                " writes itself, once the function has returned; take COMMIT, ROLLBACK and close()"
                " out"
            )


@asynccontextmanager
async def open_transaction(
    connection: pg.AsyncConnection[Any],
    claim: ClaimedJob,
    calls: Calls,
    run: Callable[[Steps[Any], pg.AsyncConnection[Any]], Awaitable[Any]],
) -> AsyncGenerator[PostgresTransaction]:
    """A transaction on this connection: rolled back where the block does not commit it."""
    block = _NamedBlock(connection, session_name(claim))
    with Sorting("begin"):
        try:
            await block.__aenter__()
        except BaseException:
            # It may have begun or not, in the server's eyes and in psycopg's.
            with trio.CancelScope(shield=True):
                await connection.close()
            raise
    transaction = PostgresTransaction(connection, block, calls, run)
    try:
        yield transaction
    finally:
        await transaction.roll_back()
