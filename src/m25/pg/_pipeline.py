"""Pipelines: every result belongs to what was sent for it, and a block is left in order."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    nullcontext,
)
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

import psycopg
import trio
from psycopg import errors, pq
from psycopg.abc import PQGen

from ._background import Background
from ._wire import CLEAN_UP, INTERRUPTIONS

if TYPE_CHECKING:
    from psycopg._pipeline_base import PendingResult
    from psycopg.pq.abc import PGresult

    from ._connection import AsyncConnection
    from ._wire import Wire

#: What is left in one of these is rolled back.
_ROLLED_BACK: Final = (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)
_SYNCED: Final = pq.ExecStatus.PIPELINE_SYNC
_FAILED: Final = pq.ExecStatus.FATAL_ERROR
#: In the queue of results that are to come: the result of a sync, and that of a commit.
_SYNC: Final[Any] = object()
_COMMIT: Final[Any] = object()


def not_committed() -> errors.InFailedSqlTransaction:
    """The error of a block that promises to commit, and cannot."""
    return errors.InFailedSqlTransaction(
        "the transaction is rolled back, not committed: one of its statements has failed, and the "
        "error was caught inside; to go on after an error, put what may fail into a transaction() "
        "of its own"
    )


class AsyncPipeline(psycopg.AsyncPipeline):
    """psycopg's, in which an error that comes with a sync is no one else's result.

    Outside a transaction block a sync commits. If the commit fails, its error comes before the
    result of the sync; psycopg takes the error for that result, and from there on takes each result
    for the next one's.
    """

    __module__ = "m25.pg"

    def _enter_gen(self) -> PQGen[None]:
        is_outermost = self.level == 0
        yield from super()._enter_gen()
        wire = cast("AsyncConnection[Any]", self._conn)._wire
        if is_outermost and wire.is_row_by_row:
            # libpq ends single-row mode when it goes on to the next command of a pipeline, but not
            # when it begins with the first.
            wire.is_row_by_row = False
            self._enqueue_sync()

    def _enqueue_sync(self) -> None:
        self.command_queue.append(self.pgconn.pipeline_sync)
        self.result_queue.append(_SYNC)

    def expect_commit(self) -> None:
        """What was sent last is a commit."""
        self.result_queue[-1] = _COMMIT

    def _process_results(self, queued: PendingResult, results: list[PGresult]) -> None:
        try:
            if queued is _COMMIT:
                super()._process_results(None, results)
                if results[0].command_status == b"ROLLBACK":
                    raise not_committed()
            elif queued is not _SYNC:
                super()._process_results(queued, results)
            elif results[0].status == _FAILED:
                self.result_queue.appendleft(_SYNC)
                raise errors.error_from_result(results[0], self.pgconn._encoding)
            elif results[0].status != _SYNCED:
                raise psycopg.NotSupportedError("COPY cannot be used in pipeline mode")
        except psycopg.Error:
            # psycopg counts a statement as prepared once that was asked for. Those after an error
            # are not.
            self._conn._prepared.clear()
            raise


@asynccontextmanager
async def _pipeline(
    connection: AsyncConnection[Any], *, is_locked: bool
) -> AsyncGenerator[AsyncPipeline]:
    """psycopg's `pipeline()` or, where the caller has the lock, its `_pipeline_nolock()`."""
    lock = nullcontext() if is_locked else connection.lock
    async with lock:
        connection._check_connection_ok()
        pipeline = connection._pipeline
        if pipeline is None:
            pipeline = connection._pipeline = AsyncPipeline(connection, _no_lock=is_locked)
        assert isinstance(pipeline, AsyncPipeline)
    try:
        async with pipeline:
            yield pipeline
    finally:
        if pipeline.level == 0:
            async with lock:
                connection._pipeline = None


class PipelineBlock(AbstractAsyncContextManager[AsyncPipeline, None]):
    """psycopg's pipeline block; left by a cancelled task it is ended in order too, or the
    connection is closed.

    A cancelled task has the server cancel what it has still to do of the pipeline.

    Args:
        is_locked: whether the caller has the connection's lock.
        commits: whether a commit is the last thing in the pipeline. A cancellation waits for its
            answer, for `CLEAN_UP` seconds at most; then the connection is closed.
    """

    def __init__(
        self,
        connection: AsyncConnection[Any],
        wire: Wire,
        *,
        is_locked: bool = False,
        commits: bool = False,
    ) -> None:
        self._connection = connection
        self._wire = wire
        self._commits = commits
        self._block = _pipeline(connection, is_locked=is_locked)

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
        try:
            await self._exit(exc_val)
        finally:
            if self._connection._pipeline is None and self._wire.pgconn.pipeline_status:
                # Results are missing, or are left over: what comes next would be taken for them.
                self._wire.finish()

    async def _exit(self, error: BaseException | None) -> None:
        if error is not None:
            await self._leave(error)
            return
        if self._commits:
            await self._exit_by_commit()
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
        except psycopg.OperationalError as failure:
            masked = failure.__context__
            if not isinstance(masked, INTERRUPTIONS):
                raise
            # The task was interrupted while it waited for the lock: nobody reads the results.
            self._wire.finish()
            raise masked from None

    async def _exit_by_commit(self) -> None:
        answered = trio.Event()

        async def close_if_cancelled_for_long() -> None:
            try:
                await answered.wait()
            except trio.Cancelled:
                with trio.move_on_after(CLEAN_UP, shield=True):
                    await answered.wait()
                if not answered.is_set():
                    self._wire.finish()

        async with Background() as nursery:
            nursery.start_soon(close_if_cancelled_for_long)
            with trio.CancelScope(shield=True):
                try:
                    await self._block.__aexit__(None, None, None)
                except psycopg.OperationalError as error:
                    raise self._connection._unknown_if_lost(error) from error.__cause__
                finally:
                    answered.set()

    def _forget_prepared(self) -> None:
        # psycopg counts a statement as prepared once that was asked for, and here nobody knows what
        # the server came to.
        self._connection._prepared.clear()

    async def _leave(self, error: BaseException) -> None:
        wire = self._wire
        self._forget_prepared()
        with trio.move_on_after(CLEAN_UP, shield=True) as scope:
            async with Background() as nursery:
                # What was answered so far is committed at the pipeline's end, which may take long.
                # In a transaction a rollback comes alone, which must not be cancelled.
                if (
                    isinstance(error, INTERRUPTIONS)
                    and wire.pgconn.pipeline_status
                    and wire.pgconn.transaction_status not in _ROLLED_BACK
                ):
                    # If it cannot be cancelled, it may end by itself.
                    nursery.start_soon(wire.keep_cancelling, scope.deadline)
                await self._block.__aexit__(type(error), error, error.__traceback__)
        if scope.cancelled_caught:
            wire.finish()
