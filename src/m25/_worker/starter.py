"""Moves jobs from reserved to executing, between their setup and their handler."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any, Final

import attrs
import trio

from .._batcher import Batcher
from .._errors import ClientClosed
from .._queue import Queue
from .._runtime import Runtime
from .._store.protocol import ClaimedJob, Locked, Started
from ..pg._backoff import Backoff

#: How long a job whose row somebody has locked waits before it asks again, in seconds.
_FIRST_RETRY: Final = 0.1
_LONGEST_RETRY: Final = 0.8


@attrs.frozen
class NotOurs:
    """The answer to a start that came too late: the claim is fenced."""


_NOT_OURS: Final = NotOurs()


class Starter:
    """One for each run of a manager: what asks to be started at once goes in one statement."""

    def __init__(self, queue: Queue[Any, Any, Any], runtime: Runtime) -> None:
        self._queue = queue
        self._runtime = runtime
        self._batcher = Batcher[ClaimedJob, Started | Locked | NotOurs](self._send, ClientClosed)

    async def run(self) -> None:
        """Send what gathers, until cancelled."""
        await self._batcher.run()

    def start(self, job: ClaimedJob) -> Awaitable[Started | Locked | NotOurs]:
        """Start a job, unless somebody has its row locked."""
        # Returned as it is: another coroutine around it would slow down each of its steps.
        return self._batcher.ask(job)

    async def start_locked(self, job: ClaimedJob) -> Started | NotOurs:
        """Start a job whose row was locked, for as long as it takes: it alone waits."""
        backoff = Backoff(_FIRST_RETRY, _LONGEST_RETRY, self._runtime.rng)
        while True:
            await trio.sleep(backoff.failed())
            answer = await self._batcher.ask(job)
            if not isinstance(answer, Locked):
                return answer

    async def _send(self, jobs: Sequence[ClaimedJob]) -> Sequence[Started | Locked | NotOurs]:
        answers = await self._runtime.tries().until_answered(
            partial(self._runtime.store.start, jobs, self._queue.lease)
        )
        by_id = {answer.id: answer for answer in answers}
        return [by_id.get(job.id, _NOT_OURS) for job in jobs]
