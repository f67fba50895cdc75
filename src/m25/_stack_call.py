"""One call of `m.stack`: asks the worker that runs a job where its handler waits.

The request is written into the job's row, and the worker writes its answer there, too: so it needs
no way to the worker but the database. Both are forgotten in the end.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import trio

from ._errors import NoJobRecordFound
from ._job import JobId
from ._lifecycle import LIVE_VALUES
from ._lock_waits import LockWaits
from ._runtime import Runtime
from ._stack import JobStack, stack_from_json
from ._stack_errors import NotRunning, StackUnanswered
from .pg._backoff import Backoff

#: The first and the longest pause between two looks for the answer, in seconds.
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5
#: How long it may take to forget the request, in seconds.
_CLEAN_UP: Final = 2.0


class StackCall:
    """One call, about one attempt."""

    def __init__(
        self, runtime: Runtime, lock_waits: LockWaits, id: JobId, queue_name: str, status: str
    ) -> None:
        self._runtime = runtime
        self._lock_waits = lock_waits
        self._id = id
        self._queue_name = queue_name
        self._status = status
        #: When it was asked, in the database's words.
        self._asked_at: str | None = None

    async def run(self, timeout: float) -> JobStack:
        """Ask, and return the answer, which may take `timeout` seconds.

        Raises:
            NotRunning, StackUnanswered: as `M25.stack` does.
            StatementFailed: the database failed.
        """
        await self._ask()
        try:
            with trio.move_on_after(timeout):
                return await self._wait_for_answer()
            raise StackUnanswered(self._id, self._queue_name, timeout)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLEAN_UP):
                await self._forget()

    async def _ask(self) -> None:
        ask = partial(self._runtime.store.request_stack, str(self._id), self._queue_name)
        self._asked_at = await self._lock_waits.update(ask, str(self._id), None)
        if self._asked_at is None:
            raise NotRunning(self._id, self._status)

    async def _wait_for_answer(self) -> JobStack:
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE, self._runtime.rng)
        while True:
            await trio.sleep(backoff.failed())
            answer = await self._runtime.store.find_stack(str(self._id))
            self._status = "deleted" if answer is None else answer.status
            if answer is None or answer.status not in LIVE_VALUES:
                raise NotRunning(self._id, self._status)
            if answer.stack is not None:
                return stack_from_json(answer.stack, self._id, self._queue_name)
            if answer.asked_at is None:
                # Somebody else asked after this call, and was answered and gone before it looked.
                await self._ask()

    async def _forget(self) -> None:
        if self._asked_at is not None:
            forget = partial(self._runtime.store.forget_stack, str(self._id), self._asked_at)
            await self._lock_waits.update(forget, str(self._id), None)


async def ask_for_stack(
    runtime: Runtime, lock_waits: LockWaits, id: JobId, queue_name: str | None, timeout: float
) -> JobStack:
    """Ask the latest attempt of a job for its stack; see `M25.stack`.

    Raises:
        NoJobRecordFound: there is no such job; or not of this queue, if one is named.
        NotRunning, StackUnanswered, StatementFailed: as `StackCall.run` does.
    """
    latest = (await runtime.store.latest([str(id)])).get(str(id))
    if latest is None or queue_name not in (None, latest.queue_name):
        raise NoJobRecordFound(id, queue_name)
    call = StackCall(runtime, lock_waits, JobId(latest.id), latest.queue_name, latest.status)
    return await call.run(timeout)
