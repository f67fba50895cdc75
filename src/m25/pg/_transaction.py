"""Transaction blocks, which are left in order by a cancelled task too."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast

import psycopg
import trio
from psycopg import AsyncTransaction, pq
from psycopg.abc import PQGen

from ._pipeline import AsyncPipeline, not_committed
from ._wire import CLEAN_UP, INTERRUPTIONS

if TYPE_CHECKING:
    from ._connection import AsyncConnection

_IN_ERROR: Final = pq.TransactionStatus.INERROR


class Transaction(AsyncTransaction):
    """psycopg's; left by a cancelled task it is rolled back too, or the connection is closed."""

    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except INTERRUPTIONS as interruption:
            # psycopg undoes what it began; under a cancellation it cannot.
            await self._roll_back(interruption)
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        if exc_val is not None:
            return await self._roll_back(exc_val)
        connection = cast("AsyncConnection[Any]", self._conn)
        if connection.closed:
            self.status = self.Status.FAILED
            if connection.broken:
                raise psycopg.OperationalError(
                    "the transaction is rolled back, not committed: the connection was lost, and "
                    "the error was caught inside"
                )
            return False
        if self._outer_transaction and self.pgconn.transaction_status == _IN_ERROR:
            error = not_committed()
            await self._roll_back(error)
            raise error
        steps = self._exit_gen(None, None, None)
        wait = connection.wait if self.force_rollback else connection._wait_for_commit
        try:
            async with connection.lock:
                return await wait(steps)
        except INTERRUPTIONS as interruption:
            await self._roll_back(interruption)
            raise
        except psycopg.Error:
            if self.status is self.Status.COMMITTED:
                self.status = self.Status.FAILED
            raise

    def _commit_gen(self) -> PQGen[None]:
        yield from super()._commit_gen()
        if self._outer_transaction and isinstance(self._conn._pipeline, AsyncPipeline):
            self._conn._pipeline.expect_commit()

    async def _roll_back(self, error: BaseException) -> bool:
        if self.status is not self.Status.ACTIVE:
            return False
        with trio.move_on_after(CLEAN_UP, shield=True):
            return await super().__aexit__(type(error), error, error.__traceback__)
        await self.connection.close()
        return False
