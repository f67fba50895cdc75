"""Jobs that wait, under a limit, for the place of one that runs here. No I/O, and no waiting.

A place that is empty until the next claim is answered is empty for as long as a brief job takes. So
the statement that ends a job under a limit claims several in its place. One of them runs, and the
others wait for it, in this process: once it has ended, the next begins at once. To the database all
of them run in one place. That no two of them ever do is kept here.

As many wait as run one after the other in a tenth of a second, and none behind jobs that take
long. For the rest they are like all that is claimed ahead: what does not begin in time is given
back, and finds its own place when it is claimed next.

    place x   job 1 ─ job 2 ─ job 3 …      (one after the other, whoever of them is settled by then)
    place y   job 4 ─ job 5 …
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from .._queue import Queue
from .._store.protocol import ClaimedJob
from .ahead import Ahead, AheadJob, BegunJob

#: So much work waits for a place, in seconds; but one job at least, if it waits for no longer than
#: `_LONGEST`.
_WORK: Final = 0.1
_LONGEST: Final = 0.2
#: However brief the jobs are, no more of them wait for a place.
_MOST: Final = 20
#: How much the latest job counts for in how long a job takes.
_LATEST: Final = 0.25


class Places(Ahead):
    """One for each ledger of a queue that has a limit.

    Args:
        lease: how long a claim of the queue holds, in seconds; 0 is for a queue none of whose jobs
            may wait.
    """

    def __init__(self, lease: float) -> None:
        super().__init__(lease)
        #: Of the jobs that have begun here, and have not ended, the places, and when they began.
        self._running: dict[ClaimedJob, tuple[str | None, float]] = {}
        #: How long a job takes, in seconds, the latest ones counting for most; unknown at first.
        self._takes: float | None = None

    def room(self, now: float) -> int:  # noqa: ARG002
        """None: what waits here is claimed where others end."""
        return 0

    @property
    def depth(self) -> int:
        """How many jobs are to wait for each place."""
        if self._met_lost:  # rule: behind a job that was lost before nobody waits
            return 0
        if not self._most or self._takes is None or self._takes > _LONGEST:
            return 0
        return max(1, min(_MOST, int(_WORK / max(self._takes, _WORK / _MOST))))

    def take(self, number: int, now: float) -> list[AheadJob]:
        """The next jobs to begin, up to so many; of each place one, if none of it runs."""
        busy = {place for place, _ in self._running.values()}
        taken: list[AheadJob] = []
        left = deque[AheadJob]()
        for job in self._jobs:
            is_free = job.place not in busy  # rule: no two jobs of one place run at once
            if is_free and len(taken) < number and not self._is_late(job, now):
                taken.append(job)
                busy.add(job.place)
            else:
                left.append(job)
        self._jobs = left
        return taken

    def began(self, jobs: Iterable[BegunJob], now: float) -> None:
        """These begin, whether they have waited or not."""
        for row, token, _, place in jobs:
            self._running[ClaimedJob(row.id, token)] = place, now

    def left(self, job: ClaimedJob, now: float) -> None:
        """One of them has ended: its handler, and all that belongs to it."""
        _, began = self._running.pop(job)
        if self._takes is None:
            self._takes = now - began
        else:
            self._takes += (now - began - self._takes) * _LATEST


def places_of(queue: Queue[Any, Any, Any]) -> Places:
    """Where jobs of a queue that has a limit may wait for places; see `ahead_of`, too."""
    may_wait = (
        queue.limit is not None
        # rule: a job that may start only once does not wait for a place
        and queue.allowed_losses > 0
        and queue.runs == "trio"
        and not queue.transactional
    )
    return Places(queue.lease.total_seconds() if may_wait else 0)
