"""One poll for all queues of a client: which have jobs that are due.

A survey answers for every queue at once, and says when the next scheduled job of each falls due, so
that the next survey comes at that time. Where the database's clock was set back, jobs that were
enqueued before that look as if they were due later; a survey sees it, and they are dated anew.

A survey also says which queues somebody has paused. No claim takes any of their jobs, whoever knows
of the pause; here it is told, and what would claim in vain is kept from it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import trio

from .._events import JobsRedated, QueuePaused, QueueResumed
from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import StatementFailed
from .._store.protocol import Pause
from . import plan

#: The least time between two surveys that hints ask for, in seconds: where jobs come one by one,
#: not each is to cost a survey.
_SHORTEST_GAP: Final = 0.2

#: How long a survey that a hint asks for waits at least, in seconds, so that the claims with which
#: the survey would compete come first.
_LEAST_WAIT: Final = 0.02

#: After a survey that took t, the next one that a hint asks for waits 20 t: where surveys are slow,
#: that is a twentieth of a connection's time.
_GAP_PER_DURATION: Final = 20.0

#: But no longer than this, in seconds: a claim leaves out a job whose row somebody has just locked,
#: and the next survey finds the job. Whoever begins to wait for a job locks its row for a moment.
_LONGEST_GAP: Final = 0.5

#: Where surveys themselves take that long, the next one waits at least 2 t.
_LEAST_GAP_PER_DURATION: Final = 2.0

#: How often to look whether a paused queue is still paused, in seconds: where no notification
#: comes, it is resumed within so long.
_PAUSED_INTERVAL: Final = 0.8

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
        #: The queues that are paused, by name.
        self._paused: Mapping[str, Pause] = {}
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
                soon = max(
                    self._surveyed_at + _gap_after(self._survey_took),
                    trio.current_time() + _LEAST_WAIT,
                )
                self._survey_at = min(self._survey_at, soon)

    async def _survey(self) -> None:
        due = await self._runtime.store.survey(self._names)
        if misdated := [name for name, next_job in due.items() if next_job.misdated]:
            await self._redate(misdated)
            due = await self._runtime.store.survey(self._names)
        self._note_pauses({name: one.pause for name, one in due.items() if one.pause is not None})
        for name, next_job in due.items():
            if next_job.seconds <= 0 and next_job.pause is None:
                self._runtime.hints.work(name, rewind=True)
        self._survey_at = min(
            self._survey_at,
            plan.next_survey(
                now=trio.current_time(),
                poll_interval=self._interval,
                due_in=[
                    next_job.seconds if next_job.pause is None else _PAUSED_INTERVAL
                    for next_job in due.values()
                ],
                rng=self._runtime.rng,
            ),
        )

    def _note_pauses(self, paused: Mapping[str, Pause]) -> None:
        """Tell of the queues that are paused now, or not any more, and have their claimers know."""
        events, hints = self._runtime.events, self._runtime.hints
        for name in paused.keys() - self._paused.keys():
            events.emit(QueuePaused(queue=name, reason=paused[name].reason))
        for name in self._paused.keys() - paused.keys():
            events.emit(QueueResumed(queue=name))
            hints.queue_changed(name)
        for name in paused:
            hints.paused(name)
        self._paused = paused

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


def _gap_after(took: float) -> float:
    """How long the next survey that a hint asks for waits, after one that took so many seconds."""
    longest = max(_LONGEST_GAP, _LEAST_GAP_PER_DURATION * took)
    # rule: what a claim has left out is looked for soon
    return max(_SHORTEST_GAP, min(_GAP_PER_DURATION * took, longest))
