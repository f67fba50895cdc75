"""Jobs that are claimed before there is a slot for them. No I/O, no waiting, no clock of its own.

Where jobs are short, a slot that waits for a claim waits for longer than its next job takes. So a
queue claims ahead: as much as it has just run in a twentieth of a second, and nothing where its
jobs take longer than that. A slot that is free then has its next job at once, and a claim is for
many jobs, however few run at a time.

To the database such jobs are executing, so that each needs no further write before it begins. So
none is kept for long: where jobs have turned slow, those that do not begin in time are given back,
as if they had never been claimed.

If the process is lost, so are they, and that counts as a loss of each. A job that kills its process
would take its neighbours with it, time after time, until they have no loss left. So a job that was
lost before is given back, and the next claim is for free slots alone.

    claim ──put──▶ ahead ──take──▶ begins, in a slot
                     ╰─late, remove, clear─▶ given back
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

from .._queue import Queue
from .._store.protocol import JobRow
from .plan import LARGEST_CLAIM

#: So much work is claimed ahead, in seconds.
_WORK: Final = 0.05
#: The rate at which jobs end is counted over so long at least, in seconds.
_SHORTEST_COUNT: Final = 0.02
#: A job that has not begun so long after its claim is given back, in seconds; or after this part of
#: its lease, if that is less.
_LONGEST_WAIT: Final = 0.5
_PART_OF_LEASE: Final = 0.25

_LOSSES: Final = attrgetter("losses")


class AheadJob(NamedTuple):
    """A job that is claimed, and has not begun."""

    row: JobRow
    token: str
    #: When it was claimed, by Trio's clock; in an exclusive queue, when the claim was sent.
    claimed_at: float
    #: Under a limit: for which place. No two jobs of one place run at once.
    place: str | None = None


#: A job that begins, with the same of it.
BegunJob: TypeAlias = tuple[JobRow, str, float, str | None]


class Ahead:
    """One for each ledger.

    Args:
        lease: how long a claim of the queue holds, in seconds; 0 is for a queue that may claim
            nothing ahead.
        slots: how many of its jobs run at once.
    """

    def __init__(self, lease: float, slots: int = 1) -> None:
        self._slots = slots
        self._most = LARGEST_CLAIM if lease > 0 else 0
        self._longest_wait = min(_LONGEST_WAIT, _PART_OF_LEASE * lease)
        self._jobs = deque[AheadJob]()
        #: How many jobs of the queue have ended since the count began. Whoever ends one counts it.
        self.ended = 0
        self._counting_since = -math.inf
        #: How many have ended in a second of the count before that.
        self._rate = 0.0
        #: Whether the latest claim ahead has brought jobs that were lost before.
        self._met_lost = False

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def ids(self) -> set[str]:
        """Those of all of them."""
        return {job.row.id for job in self._jobs}

    def room(self, now: float) -> int:
        """How many more jobs to claim ahead now: none before half of them are taken."""
        seconds = now - self._counting_since
        # Where no slot has ended two jobs, none is known to take less than the count.
        is_enough = self.ended > self._slots or seconds > _WORK
        if seconds >= _SHORTEST_COUNT and is_enough:  # rule: nothing is claimed ahead of long jobs
            self._rate = self.ended / seconds
            self._counting_since, self.ended = now, 0
        # rule: no more is claimed ahead than is run soon
        wanted = min(int(self._rate * _WORK), self._most)
        if self._met_lost or len(self._jobs) > wanted // 2:
            return 0
        return wanted - len(self._jobs)

    def met(self, rows: Iterable[JobRow]) -> None:
        """These are what the queue's latest claim has brought, ahead or not."""
        # rule: what was lost before is claimed for slots alone
        self._met_lost = self._most > 0 and any(map(_LOSSES, rows))

    def put(self, jobs: Sequence[AheadJob]) -> list[AheadJob]:
        """Keep these, in the order in which they are to begin. Those that were lost before are not
        kept: they are returned.
        """
        if not self._met_lost:
            self._jobs.extend(jobs)
            return []
        # rule: no job is lost twice without having begun
        self._jobs.extend(job for job in jobs if not job.row.losses)
        return [job for job in jobs if job.row.losses]

    def take(self, number: int, now: float) -> list[AheadJob]:
        """The next jobs to begin, up to so many; none that is late."""
        # What was claimed first is late first.
        if not self._jobs or self._is_late(self._jobs[0], now):
            return []
        take = self._jobs.popleft
        return [take() for _ in range(min(number, len(self._jobs)))]

    @property
    def late_at(self) -> float:
        """When the first of them is late; infinity where there is none."""
        return self._jobs[0].claimed_at + self._longest_wait if self._jobs else math.inf

    def late(self, now: float) -> list[AheadJob]:
        """Those that have not begun in time, which are here no more."""
        # rule: what does not begin soon is given back
        found = list(takewhile(lambda job: self._is_late(job, now), self._jobs))
        for _ in found:
            self._jobs.popleft()
        return found

    def remove(self, ids: Collection[str]) -> list[AheadJob]:
        """Those of these ids, which are here no more."""
        found = [job for job in self._jobs if job.row.id in ids]
        if found:
            self._jobs = deque(job for job in self._jobs if job.row.id not in ids)
        return found

    def clear(self) -> list[AheadJob]:
        """All of them, which are here no more."""
        found = list(self._jobs)
        self._jobs.clear()
        return found

    def _is_late(self, job: AheadJob, now: float) -> bool:
        return now >= job.claimed_at + self._longest_wait


def ahead_of(queue: Queue[Any, Any, Any]) -> Ahead:
    """What a queue may claim ahead: nothing where it matters which of its jobs have begun.

    What is claimed ahead is lost with its process like what runs, and is counted so: a job that may
    be lost never must begin first.
    """
    # rule: a job that may start only once is not claimed ahead
    may_claim = (
        queue.allowed_losses > 0
        and queue.handler.setup is None
        and queue.runs == "trio"
        and queue.lock_name is None
        and not (queue.exclusive or queue.transactional)
    )
    return Ahead(queue.lease.total_seconds() if may_claim else 0, queue.max_concurrency)
