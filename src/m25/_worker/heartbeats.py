"""Heartbeats: a message to each executor, its answer, and one statement for all that answered.

An executor that does not answer is cancelled. Where a handler does not end at its deadline, its
attempt is ended without waiting for it.

A row that somebody has locked costs its own job alone: the leases of the others are renewed without
it, and its own as soon as it can be, apart from them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any, Final

import trio

from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import StatementFailed
from .._store.protocol import ClaimedJob
from ..pg._backoff import Backoff
from . import plan
from .endings import BOUND, KEPT, CancelReason
from .executor import Executor
from .ledger import Ledger, Owed
from .settler import Settler

#: How long what was locked waits before it is tried again, in seconds.
_FIRST_RETRY: Final = 0.2
_LONGEST_RETRY: Final = 1.0

#: After this many executors were sent a heartbeat, other tasks have a turn: the executors answer in
#: tasks of their own.
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
        #: Those that have answered, and whose leases could not be renewed for somebody's locks.
        self._locked: dict[ClaimedJob, Executor] = {}

    async def run(self) -> None:
        """Send, receive and record heartbeats, until cancelled."""
        interval = self._queue.heartbeat_interval.total_seconds()
        tries = self._runtime.tries()
        self._locked.clear()
        async with trio.open_nursery() as nursery:
            if self._queue.exclusive:
                nursery.start_soon(self._look_at_leases, interval)
            send_at = trio.current_time() + interval
            while True:
                await trio.sleep_until(send_at)
                send_at = trio.current_time() + interval
                self._judge(interval)
                if self._ledger.has_progress:
                    self._ledger.progress_is_due = True
                    self._settler.wakeup.set()
                answered = await self._exchange(nursery, interval / 2)
                if not (answered or self._ledger.has_outcomes):
                    continue
                try:
                    locked = await self._record(self._ledger.kept_alive(answered), answered)
                except StatementFailed as failure:
                    # The leases run on: the next try is sooner than the next heartbeat would be.
                    send_at = min(send_at, trio.current_time() + tries.failed(failure))
                else:
                    tries.worked()
                    if locked and not self._locked:
                        nursery.start_soon(self._retry_locked)
                    self._locked |= locked

    def executor_ended(self, executor: Executor) -> None:
        """Note that an executor has ended that was to answer: an exchange need not wait for it."""
        self._send_answer.send_nowait(executor)

    def _judge(self, interval: float) -> None:
        """Cancel executors that do not answer; end attempts whose handlers overran the deadline."""
        running = list(self._ledger.running.values())
        for executor in plan.stale(running, self._queue.allowed_heartbeat_misses):
            executor.cancel(CancelReason.UNRESPONSIVE)
        now = trio.current_time()
        if self._queue.runs == "thread":
            for executor in running:
                executor.look_at_thread(now)
        for executor in plan.overdue(running, now, interval):
            if executor.cancel_reason in BOUND and executor.started:
                if self._queue.exclusive:
                    # rule: an exclusive attempt ends with its handler
                    executor.look_at_deadline()
                    continue
                # rule: an attempt ends at its deadline
                outcome = executor.overrun()._replace(children_of=executor.children_of)
                self._ledger.owe(Owed(outcome, executor.row, self._queue.retry))
                self._settler.wakeup.set()

    async def _look_at_leases(self, interval: float) -> None:
        """Say so where handlers outrun their leases: also while the database does not answer."""
        while True:
            await trio.sleep(interval)
            now = trio.current_time()
            for executor in list(self._ledger.running.values()):
                executor.look_at_lease(now)

    async def _exchange(self, responders: trio.Nursery, longest: float) -> list[Executor]:
        """Send each executor a heartbeat; return those that answered within `longest` seconds."""
        waiting: set[Executor] = set()
        running = list(self._ledger.running.values())
        for start in range(0, len(running), _SENT_AT_ONCE):
            for executor in running[start : start + _SENT_AT_ONCE]:
                # This executor may have ended while others were sent their heartbeats.
                if executor.cancel_reason in KEPT and executor.job in self._ledger.running:
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
        """Wait for an answer, and return it with all others that have arrived."""
        executors = [await self._answers.receive()]
        with contextlib.suppress(trio.WouldBlock):
            while True:
                executors.append(self._answers.receive_nowait())
        return executors

    async def _record(
        self, jobs: Sequence[ClaimedJob], answered: Sequence[Executor]
    ) -> dict[ClaimedJob, Executor]:
        """Renew the leases of these jobs.

        Of those that run and have answered, who lost his claim is fenced; those that somebody has
        locked are returned.
        """
        if not jobs:
            return {}
        asked = set(jobs)
        sent = trio.current_time()
        answer = await self._runtime.store.heartbeat(
            jobs, self._queue.lease, self._queue.reserved_timeout
        )
        for id in answer.to_cancel:
            self._runtime.hints.cancel(self._queue.name, id)
        for id in answer.stacks_asked:
            self._runtime.hints.ask_for_stack(self._queue.name, id)
        locked: dict[ClaimedJob, Executor] = {}
        for executor in answered:
            job = executor.job
            if job not in asked or job not in self._ledger.running:
                continue
            if job.id in answer.ids:
                if executor.lease is not None:
                    executor.lease.renewed(sent)
            elif job.id in answer.locked:
                locked[job] = executor
            else:
                executor.fence()
        return locked

    async def _retry_locked(self) -> None:
        """Renew the leases of what was locked, each as soon as it is not locked any more."""
        backoff = Backoff(_FIRST_RETRY, _LONGEST_RETRY, self._runtime.rng)
        tries = self._runtime.tries()
        while self._locked:
            await trio.sleep(backoff.failed())
            tried = dict(self._locked)
            waiting = [
                executor
                for job, executor in tried.items()
                if job in self._ledger.running and executor.cancel_reason in KEPT
            ]
            try:
                locked = await self._record([executor.job for executor in waiting], waiting)
            except StatementFailed as failure:
                await trio.sleep(tries.failed(failure))
            else:
                tries.worked()
                for job in tried.keys() - locked.keys():
                    del self._locked[job]
