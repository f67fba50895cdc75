"""Heartbeats: a message to each executor, its answer, and one statement for all that answered.

An executor that does not answer is cancelled, and a handler that does not end at its deadline has
its attempt ended without it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any, Final

import trio

from .._events import ClaimFenced
from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import StatementFailed
from . import plan
from .executor import CancelReason, Executor
from .ledger import Ledger, Owed
from .settler import Settler

#: How many executors are sent a heartbeat before other tasks have a turn: each answers in its own.
_SENT_AT_ONCE: Final = 100


class Heartbeats:
    """One for each manager."""

    def __init__(
        self, queue: Queue[Any, Any, Any], runtime: Runtime, ledger: Ledger, settler: Settler
    ) -> None:
        self._queue = queue
        self._runtime = runtime
        self._ledger = ledger
        self._settler = settler
        self._send_answer, self._answers = trio.open_memory_channel[Executor](math.inf)

    async def run(self) -> None:
        """Send, receive and record heartbeats, until cancelled."""
        interval = self._queue.heartbeat_interval.total_seconds()
        tries = self._runtime.tries()
        async with trio.open_nursery() as responders:
            send_at = trio.current_time() + interval
            while True:
                await trio.sleep_until(send_at)
                send_at = trio.current_time() + interval
                self._judge(interval)
                answered = await self._exchange(responders, interval / 2)
                if not (answered or self._ledger.has_outcomes):
                    continue
                try:
                    await self._record(answered)
                except StatementFailed as failure:
                    # The leases run on: sooner than the next heartbeat would be.
                    send_at = min(send_at, trio.current_time() + tries.failed(failure))
                else:
                    tries.worked()

    def executor_ended(self, executor: Executor) -> None:
        """An executor answers no more: whoever waits for its answer need not."""
        if executor.misses:
            self._send_answer.send_nowait(executor)

    def fence(self, executor: Executor) -> None:
        """The database says that an executor's claim is not ours any more."""
        self._runtime.events.emit(ClaimFenced(**executor.facts))
        executor.cancel(CancelReason.FENCED)

    def _judge(self, interval: float) -> None:
        """Cancel the executors that do not answer, and end the attempts that do not end."""
        running = list(self._ledger.running.values())
        for executor in plan.stale(running, self._queue.allowed_heartbeat_misses):
            executor.cancel(CancelReason.UNRESPONSIVE)
        for executor in plan.overdue(running, trio.current_time(), interval):
            if executor.cancel_reason is None and executor.started:
                self._ledger.owe(Owed.of(executor.overrun(), executor.row))
                self._settler.wakeup.set()

    async def _exchange(self, responders: trio.Nursery, longest: float) -> list[Executor]:
        """Send each executor a heartbeat; return those that answered within `longest` seconds."""
        waiting: set[Executor] = set()
        running = list(self._ledger.running.values())
        for start in range(0, len(running), _SENT_AT_ONCE):
            for executor in running[start : start + _SENT_AT_ONCE]:
                # It may have ended while others were sent theirs.
                if executor.cancel_reason is None and executor.job in self._ledger.running:
                    executor.misses += 1
                    waiting.add(executor)
                    if first := executor.send_heartbeat():
                        responders.start_soon(executor.respond, first, self._send_answer)
            await trio.lowlevel.checkpoint()
        answered: list[Executor] = []
        with trio.move_on_after(longest):
            while waiting:
                for executor in await self._receive_answers():
                    executor.misses = 0
                    if executor in waiting:
                        waiting.remove(executor)
                        answered.append(executor)
        return answered

    async def _receive_answers(self) -> list[Executor]:
        """Wait for an answer, and return it with what else is there."""
        executors = [await self._answers.receive()]
        with contextlib.suppress(trio.WouldBlock):
            while True:
                executors.append(self._answers.receive_nowait())
        return executors

    async def _record(self, answered: Sequence[Executor]) -> None:
        jobs = self._ledger.kept_alive(answered)
        if not jobs:
            return
        asked = set(jobs)
        held = await self._runtime.store.heartbeat(
            jobs, self._queue.lease, self._queue.reserved_timeout
        )
        for executor in answered:
            job = executor.job
            if job in asked and job.id not in held and job in self._ledger.running:
                self.fence(executor)
