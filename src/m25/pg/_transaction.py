"""Blocks that must be left in order, also by a cancelled task: transactions and pipelines."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
import trio
from psycopg import AsyncPipeline, AsyncTransaction, pq

from ._wire import CLEAN_UP, INTERRUPTIONS

if TYPE_CHECKING:
    from ._wire import Wire

_ACTIVE: Final = pq.TransactionStatus.ACTIVE


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
        try:
            return await super().__aexit__(None, None, None)
        except INTERRUPTIONS as interruption:
            # A commit that was already under way has ended.
            await self._roll_back(interruption)
            raise

    async def _roll_back(self, error: BaseException) -> bool:
        if self.status is not self.Status.ACTIVE:
            return False
        with trio.move_on_after(CLEAN_UP, shield=True):
            return await super().__aexit__(type(error), error, error.__traceback__)
        await self.connection.close()
        return False


class PipelineBlock(AbstractAsyncContextManager[AsyncPipeline, None]):
    """psycopg's pipeline block; left by a cancelled task it is ended in order too, or the
    connection is closed.

    A cancelled task has the server cancel what it has still to do of the pipeline.
    """

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        wire: Wire,
        block: AbstractAsyncContextManager[AsyncPipeline, Any],
    ) -> None:
        self._connection = connection
        self._wire = wire
        self._block = block

    async def __aenter__(self) -> AsyncPipeline:
        outer = self._connection._pipeline
        depth = outer.level if outer is not None else 0
        try:
            return await self._block.__aenter__()
        except INTERRUPTIONS:
            pipeline = self._connection._pipeline
            if pipeline is not None and pipeline.level > depth:
                # The block was entered: an interrupted operation is brought to its end.
                pipeline._exit(None)
            if pipeline is not None and pipeline.level == 0:
                self._connection._pipeline = None
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if exc_val is not None:
            await self._leave(exc_val)
            return
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except INTERRUPTIONS as interruption:
            await self._leave(interruption)
            raise
        try:
            await self._block.__aexit__(None, None, None)
        except INTERRUPTIONS:
            self._forget_prepared()
            raise
        except psycopg.OperationalError as error:
            masked = error.__context__
            if not isinstance(masked, INTERRUPTIONS):
                raise
            # The task was interrupted while it waited for the lock: nobody reads the results.
            self._wire.finish()
            raise masked from None

    def _forget_prepared(self) -> None:
        # psycopg counts a statement as prepared once it was sent, whether or not it was.
        self._connection._prepared.clear()

    async def _leave(self, error: BaseException) -> None:
        wire = self._wire
        self._forget_prepared()
        with trio.move_on_after(CLEAN_UP, shield=True) as scope:
            if isinstance(error, INTERRUPTIONS) and wire.pgconn.transaction_status == _ACTIVE:
                # If it cannot be cancelled, it may end by itself.
                with suppress(psycopg.Error):
                    await wire.cancel(CLEAN_UP)
            await self._block.__aexit__(type(error), error, error.__traceback__)
        if scope.cancelled_caught:
            wire.finish()
