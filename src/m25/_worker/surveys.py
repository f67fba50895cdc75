"""One poll for all queues of a client: which have jobs that are due.

A survey answers for every queue at once, and says when the next scheduled job of each falls due, so
that the next survey comes at that time. Where the database's clock was set back, jobs that were
enqueued before that look as if they were due later; a survey sees it, and they are dated anew.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import trio

from .._events import JobsRedated
from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import StatementFailed
from . import plan

#: The least time between two surveys that hints ask for, in seconds: where jobs come one by one,
#: not each is to cost a survey.
_SHORTEST_GAP: Final = 0.2

#: How long a survey that a hint asks for waits at least, in seconds, so that the claims with which
#: the survey would compete come first.
_LEAST_WAIT: Final = 0.02

#: After a survey that took t, the next one that a hint asks for waits at least 20 t.
_GAP_PER_DURATION: Final = 20.0

#: The most misdated jobs that one statement dates now.
_LARGEST_REDATING: Final = 500


class Surveys:
    """One for each client that runs queues."""

    def __init__(self, queues: Sequence[Queue[Any, Any, Any]], runtime: Runtime) -> None:
        self._runtime = runtime
        self._names = [queue.name for queue in queues]
        self._interval = min(queue.poll_interval.total_seconds() for queue in queues)
        self._survey_at = -math.inf
        self._surveyed_at = -math.inf
        #: How long the latest survey took, in seconds.
        self._survey_took = 0.0

    async def run(self) -> None:
        """Survey, until cancelled."""
        tries = self._runtime.tries()
        while True:
            await self._wait_for_survey()
            began = trio.current_time()
            self._survey_at = began + self._interval
            try:
                await self._survey()
                self._surveyed_at = trio.current_time()
                self._survey_took = self._surveyed_at - began
            except StatementFailed as failure:
                pause = tries.failed(failure)
                self._survey_at = trio.current_time() + pause
            else:
                tries.worked()

    async def _wait_for_survey(self) -> None:
        """Wait until the next survey is due: by the poll interval, or sooner where a hint asks."""
        await trio.lowlevel.checkpoint()
        while trio.current_time() < self._survey_at:
            with trio.move_on_at(self._survey_at):
                await self._runtime.hints.survey.wait()
                gap = max(_SHORTEST_GAP, _GAP_PER_DURATION * self._survey_took)
                soon = max(self._surveyed_at + gap, trio.current_time() + _LEAST_WAIT)
                self._survey_at = min(self._survey_at, soon)

    async def _survey(self) -> None:
        due = await self._runtime.store.survey(self._names)
        if misdated := [name for name, next_job in due.items() if next_job.misdated]:
            await self._redate(misdated)
            due = await self._runtime.store.survey(self._names)
        for name, next_job in due.items():
            if next_job.seconds <= 0:
                self._runtime.hints.work(name, rewind=True)
        self._survey_at = min(
            self._survey_at,
            plan.next_survey(
                now=trio.current_time(),
                poll_interval=self._interval,
                due_in=[next_job.seconds for next_job in due.values()],
                rng=self._runtime.rng,
            ),
        )

    async def _redate(self, names: Sequence[str]) -> None:
        """Have no job wait because the database's clock was set back."""
        total = Counter[str]()
        try:
            while True:
                redated = await self._runtime.store.redate(names, _LARGEST_REDATING)
                total.update(redated)
                if len(redated) < _LARGEST_REDATING:
                    return
        finally:
            for name, jobs in total.items():
                self._runtime.events.emit(JobsRedated(queue=name, jobs=jobs))
