"""Transactions on PostgreSQL in which handlers write.

The session outlives the transaction, and has the next job's. So a handler is lent it by another
connection object, which is dead afterwards; and what it has set, locked or created there for longer
than its transaction is undone, in the round trip of the commit or the rollback. In between, what
m25 writes itself is written under settings of its own, whatever the handler has set.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import psycopg
import trio
from psycopg import generators, pq
from psycopg.abc import PQGen

from .. import pg
from .._errors import UsageError
from ..pg._lending import lent
from ..pg._one_trip import run_in_one_trip
from ..pg._prepared import Prepared, Rows
from ..pg._transaction import Transaction as Block
from .failures import Sorting
from .protocol import ClaimedJob, Fenced, Kept, Locked, NewStep, Outcome, WriteResult
from .steps import Calls, Statement, Steps, session_name

T = TypeVar("T")

_ACTIVE: Final = pq.TransactionStatus.ACTIVE
_IN_TRANSACTION: Final = pq.TransactionStatus.INTRANS
_IN_ERROR: Final = pq.TransactionStatus.INERROR
_DONE: Final = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)

#: Begins a transaction that others know by a name, and tells the role, and when it has begun.
_BEGIN: Final = (
    b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL application_name TO '%s';"
    b" SELECT pg_catalog.current_setting('role'),"
    b" extract(epoch from pg_catalog.now())::pg_catalog.text"
)
#: Undoes what a session may keep of a transaction. Statements that are prepared stay: to plan those
#: of m25 costs more than all of this, and psycopg knows which there are.
_RESET: Final = (
    b"SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; CLOSE ALL; UNLISTEN *;"
    b" SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"
)


class _LentBlock(Block):
    """A block of a transaction in which somebody else has the session."""

    def __init__(self, connection: pg.AsyncConnection[Any], name: str) -> None:
        super().__init__(connection)
        self._name = name
        #: The role with which it began, and when, by which it is told from any other.
        self.role = self.began = ""

    def _enter_gen(self) -> PQGen[None]:
        self.status = self.Status.ACTIVE
        self._push_savepoint()
        # All in one round trip, which psycopg's own way does not allow. With `local` nobody
        # inherits the name, not behind a pooler either.
        results = yield from self._send(_BEGIN % self._name.encode())
        for result in results:
            if result.status not in _DONE:
                raise psycopg.errors.error_from_result(result, encoding="utf-8")
        role, began = (results[-1].get_value(0, column) for column in range(2))
        assert role is not None
        assert began is not None
        self.role, self.began = role.decode(), began.decode()

    def _commit_gen(self) -> PQGen[None]:
        yield from self._end(b"COMMIT", "commit")
        self.status = self.Status.COMMITTED

    def _rollback_gen(
        self,
        exc_val: BaseException | None,  # noqa: ARG002 - psycopg's signature
    ) -> PQGen[bool]:
        yield from self._end(b"ROLLBACK", "rollback")
        self.status = self.Status.ROLLED_BACK_EXPLICITLY
        # As psycopg does: a statement may have been prepared for what is not there any more.
        self._conn._prepared.clear()
        yield from self._conn._prepared.maintain_gen(self._conn)
        return True

    def _end(self, command: bytes, action: str) -> PQGen[None]:
        self._pop_savepoint(action)
        label = f"/* m25.{action} */ ".encode()
        # rule: nothing of a job's session is left to the next
        commands = label + command + b"; " + _RESET
        first, *others = yield from self._send(commands)
        if first.status not in _DONE:
            raise psycopg.errors.error_from_result(first, encoding="utf-8")
        if not all(result.status in _DONE for result in others):
            # It has ended all the same. But nobody is to have the session after it.
            self._conn._wire.finish()  # type: ignore[attr-defined]

    def _send(self, commands: bytes) -> PQGen[list[pq.abc.PGresult]]:
        """Send commands in one message."""
        self.pgconn.send_query(commands)
        results: list[pq.abc.PGresult] = yield from generators.execute(self.pgconn)
        return results


class PostgresTransaction:
    """See `Transaction` in the protocol."""

    def __init__(
        self,
        connection: pg.AsyncConnection[Any],
        lent: pg.AsyncConnection[Any],
        block: _LentBlock,
        calls: Calls,
        prepared: Mapping[str, Prepared],
        is_direct: bool,
    ) -> None:
        self._connection = connection
        self._lent = lent
        self._block = block
        self._calls = calls
        self._prepared = prepared
        self._is_direct = is_direct
        #: Whether m25's own settings hold: nothing of the handler's runs any more.
        self._is_ours = False

    @property
    def connection(self) -> pg.AsyncConnection[Any]:
        """The connection, for the handler."""
        return self._lent

    @property
    def is_lost(self) -> bool:
        """See `Transaction` in the protocol."""
        return self._lent.broken

    async def keep_step(self, step: NewStep) -> Kept | Locked | Fenced:
        """See `Transaction` in the protocol."""
        self._check("keep_steps")
        (answer,) = await self._run(self._calls.keep_steps([step]))
        return answer

    async def settle(self, outcome: Outcome, allowed_losses: int) -> WriteResult:
        """See `Transaction` in the protocol."""
        self._check("settle")
        return (await self._run(self._calls.settle([outcome], allowed_losses)))[outcome.id]

    async def commit(self) -> None:
        """See `Transaction` in the protocol."""
        self._check("commit")
        with Sorting("commit"):
            await self._block.__aexit__(None, None, None)

    async def roll_back(self) -> None:
        """Roll back, unless it has ended."""
        if self._is_in_use:
            # To wait for whoever uses it may take for ever.
            with trio.CancelScope(shield=True):
                await self._connection.close()
        elif not self._connection.closed:
            await self._block.__aexit__(psycopg.Rollback, psycopg.Rollback(), None)

    @property
    def _is_in_use(self) -> bool:
        connection = self._connection
        return not connection.closed and (
            connection.lock.locked()
            or connection.pgconn.transaction_status == _ACTIVE
            or bool(connection.pgconn.pipeline_status)
        )

    def _check(self, statement: str) -> None:
        connection = self._connection
        if self.is_lost:
            with Sorting(statement):
                raise psycopg.OperationalError("the connection was lost, and nothing is committed")
        if self._is_in_use:
            raise UsageError(
                "the connection is still in use though the function has returned: by a stream()"
                " that was left half read, which wants `async with aclosing(…)`, by a copy() that"
                " was not ended, or by another task"
            )
        status = connection.pgconn.transaction_status
        if status == _IN_ERROR:
            raise UsageError(
                "a statement has failed in this transaction, and its error was caught: nothing can"
                " be committed any more; catch it outside of an `async with"
                " connection.transaction():` around what may fail"
            )
        if connection.closed or status != _IN_TRANSACTION:
            raise _ended_by_hand()

    async def _run(self, steps: Steps[T]) -> T:
        """Run a call's steps; before the first of them, in one round trip with it, what is deferred
        is run, and m25's own settings are set.
        """
        try:
            statement = next(steps)
            while True:
                statement = steps.send(await self._execute(statement))
        except StopIteration as done:
            result: T = done.value
            return result

    async def _execute(self, statement: Statement) -> Rows:
        statements = [statement]
        if not self._is_ours:
            began = {"role": self._block.role, "began": self._block.began}
            statements = [
                Statement("run_deferred", {}),
                Statement("own_settings", began),
                statement,
            ]
        with Sorting(statement.name):
            answers, failure = await run_in_one_trip(
                self._connection,
                [(self._prepared[each.name], each.parameters) for each in statements],
                prepare=self._is_direct,
            )
        if failure is not None:
            failed = statements[len(answers)].name
            # What was deferred is the commit's, for all who look at what it has raised.
            with Sorting("commit" if failed == "run_deferred" else failed):
                raise failure
        if not self._is_ours:
            ((is_ours, _),) = answers[1]
            if not is_ours:  # rule: a transaction that a handler has begun is not committed
                raise _ended_by_hand()
            self._is_ours = True
        return answers[-1]


def _ended_by_hand() -> UsageError:
    return UsageError(
        "the transaction was ended in the handler: m25 commits it, together with what it writes"
        " itself, once the function has returned; take COMMIT, ROLLBACK and close() out"
    )


@asynccontextmanager
async def open_transaction(
    connection: pg.AsyncConnection[Any],
    claim: ClaimedJob,
    calls: Calls,
    prepared: Mapping[str, Prepared],
    *,
    is_direct: bool,
) -> AsyncGenerator[PostgresTransaction]:
    """A transaction on this connection: rolled back where the block does not commit it.

    Args:
        is_direct: whether the server itself answers, so that statements can be prepared.
    """
    block = _LentBlock(connection, session_name(claim))
    with Sorting("begin"):
        try:
            await block.__aenter__()
            # What is written to one that was the primary until a failover is lost, although it lets
            # a transaction that asks for it write.
            if connection._wire.refuses_writes:  # rule: nothing is begun on a former primary
                raise psycopg.errors.ReadOnlySqlTransaction("the server takes no writes any more")
        except BaseException:
            # It may have begun or not, in the server's eyes and in psycopg's.
            with trio.CancelScope(shield=True):
                await connection.close()
            raise
    with lent(connection) as other:
        transaction = PostgresTransaction(connection, other, block, calls, prepared, is_direct)
        try:
            yield transaction
        finally:
            await transaction.roll_back()
