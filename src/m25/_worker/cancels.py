"""Cancels running jobs whose cancel somebody has asked for, and ends those that do not stop.

What a notification or a heartbeat says is a hint: the database is asked by the job's claim whether
there is a request, and what it says. So nobody can have a handler cancelled who cannot write to the
job's row.
"""

from __future__ import annotations

import math
from typing import Any

import trio

from .._events import JobCancelOverran
from .._hints import QueueHint
from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import StatementFailed
from .._store.protocol import Release
from .endings import CancelReason
from .executor import Executor
from .ledger import Ledger
from .settler import Settler


class Cancels:
    """One for each manager."""

    def __init__(
        self,
        queue: Queue[Any, Any, Any],
        runtime: Runtime,
        hint: QueueHint,
        ledger: Ledger,
        settler: Settler,
    ) -> None:
        self._grace = queue.cancel_grace.total_seconds()
        self._runtime = runtime
        self._hint = hint
        self._ledger = ledger
        self._settler = settler
        #: Of the executors that were cancelled: when each must have ended, by Trio's clock.
        self._end_by: dict[Executor, float] = {}

    async def run(self) -> None:
        """Look after hints and ends, until cancelled."""
        tries = self._runtime.tries()
        while True:
            with trio.move_on_at(min(self._end_by.values(), default=math.inf)):
                await self._hint.cancels.wait()
            self._end_overdue()
            hinted, self._hint.to_cancel = self._hint.to_cancel, set()
            is_any, self._hint.to_cancel_any = self._hint.to_cancel_any, False
            if is_any:
                hinted |= {job.id for job in self._ledger.running}
                hinted |= self._ledger.ahead.ids
            try:
                await self._cancel(hinted)
            except StatementFailed as failure:
                self._hint.to_cancel |= hinted
                self._hint.cancels.set()
                await trio.sleep(tries.failed(failure))
            else:
                tries.worked()

    async def _cancel(self, hinted: set[str]) -> None:
        """Cancel those of the hinted jobs that run here and whose cancel was asked for."""
        # A job that was claimed ahead has nothing to cancel: it is released, which ends it if that
        # was asked for.
        if ahead := self._ledger.ahead.remove(hinted):
            self._ledger.give_back(ahead)  # rule: what was claimed ahead is cancelled, too
            self._settler.wakeup.set()
        running = self._ledger.running
        here = {job for job in running if job.id in hinted}
        if self._ledger.in_doubt is not None:
            # The claim that is under way may bring these jobs; the claimer sets `cancels` then.
            self._hint.to_cancel |= hinted - {job.id for job in here}
        asked = [job for job in here if running[job].cancel_reason is None]
        if not asked:
            return
        requests = await self._runtime.store.find_cancel_requests(asked)
        # A row may stand here twice: as a claim of it that is lost, and as the next one.
        requested = {request.id: request for request in requests}
        for job in asked:
            executor = running.get(job)
            if executor is not None and job.id in requested:
                executor.cancel_as_asked(requested[job.id])
                if executor.cancel_reason is CancelReason.ASKED_FOR:
                    self._end_by[executor] = trio.current_time() + self._grace

    def _end_overdue(self) -> None:
        """End the attempts whose handlers go on past `cancel_grace`."""
        now = trio.current_time()
        for executor, end_by in list(self._end_by.items()):
            is_over = executor.job not in self._ledger.running
            if is_over or executor.cancel_reason is not CancelReason.ASKED_FOR:
                del self._end_by[executor]
            elif end_by <= now:
                del self._end_by[executor]
                executor.cut_off()
                self._runtime.events.emit(JobCancelOverran(grace=self._grace, **executor.facts))
                release = Release(*executor.job, children_of=executor.children_of)
                self._ledger.owe_release(release)  # rule: a cancel ends
                self._settler.wakeup.set()
