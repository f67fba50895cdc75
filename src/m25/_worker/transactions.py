"""The transaction of an attempt whose queue is transactional.

    the handler is called      the transaction begins, on one of the connections for these alone
    all around it has ended    if it has succeeded, that is written, and all of it is committed
                               otherwise it is rolled back, and the attempt is settled apart

The job's row is locked at the end alone. So heartbeats and cancels work meanwhile as they always
do, and a worker that has lost its claim finds that out before it commits: the success is written
only under the claim's token, and from then on nobody else can have the job before the commit.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Self

import trio

from .._errors import UsageError
from .._events import CommitUnanswered, ResultDiscarded
from .._lock_waits import lock_pauses
from .._store.failures import RowRefused, StatementFailed, is_ended_for_itself
from .._store.protocol import Outcome, Transaction, WriteResult
from . import outcomes
from .endings import InDoubt, Result, Unfinished

if TYPE_CHECKING:
    from .executor import Executor

#: How long the end may take at least, in seconds, however near the deadline is.
_SHORTEST_END: Final = 1.0


class AttemptTransaction:
    """One for each attempt of a transactional queue. Left, it is rolled back if not committed."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._stack = AsyncExitStack()
        self._transaction: Transaction | None = None

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def begin(self) -> Any:
        """Begin, once there is a connection, and return that. The wait is not the job's time."""
        executor = self._executor
        runtime = executor.runtime
        with executor.while_waiting_to_begin():
            self._transaction = await runtime.tries().until_answered(
                lambda: self._stack.enter_async_context(runtime.store.transaction(executor.job))
            )
        return self._transaction.connection

    async def end(self, result: Result) -> Result:
        """Commit a success; anything else stays what it is, and is to be rolled back."""
        if not isinstance(result, Outcome) or result.failure_reason is not None:
            return result
        executor = self._executor
        try:
            bound = max(executor.deadline, trio.current_time() + _SHORTEST_END)
            with trio.CancelScope(deadline=bound):
                return await self._commit(result)
            # Somebody has its row locked.
            return outcomes.timed_out(executor, None)
        except UsageError as error:
            return outcomes.crash(executor, error)
        except RowRefused as refused:
            return outcomes.crash(executor, refused.__cause__ or refused)
        except StatementFailed as failure:
            if failure.outcome_is_unknown:  # rule: a commit without an answer is looked up
                return self._in_doubt(result)
            if failure.is_outage:  # rule: an outage at the end is not counted
                return executor.lost_connection()
            return outcomes.crash(executor, failure.__cause__ or failure)

    def is_lost_by(self, raised: BaseException) -> bool:
        """Whether the connection was lost, and the handler raised by that, as far as one can see:
        not where the server has ended the session for what the handler did.
        """
        transaction = self._transaction
        return transaction is not None and transaction.is_lost and not is_ended_for_itself(raised)

    async def _commit(self, success: Outcome) -> Unfinished:
        executor, transaction = self._executor, self._transaction
        assert transaction is not None, "the handler has returned, so it was called"
        await executor.write_progress()
        backoff = lock_pauses(executor.runtime.rng)
        while True:
            result = await transaction.settle(success, executor.queue.allowed_losses)
            if result is not WriteResult.LOCKED:
                break
            await trio.sleep(backoff.failed())
        if result is not WriteResult.SETTLED:  # rule: a fenced transaction is rolled back
            executor.runtime.events.emit(ResultDiscarded(**executor.facts))
            return Unfinished.FENCED
        await transaction.commit()
        # Kept at once: nothing that comes now changes it.
        executor.result = Unfinished.COMMITTED
        if executor.row.has_begun:
            # A job that follows it may be due now.
            executor.runtime.hints.work(executor.queue.name, rewind=True)
        outcomes.emit_succeeded(executor)
        return Unfinished.COMMITTED

    def _in_doubt(self, success: Outcome) -> Result:
        executor = self._executor
        executor.runtime.events.emit(CommitUnanswered(**executor.facts))
        if executor.queue.allowed_losses == 0:
            return executor.cut_short()
        return InDoubt(executor, success)
