"""What the pages ask of the database. Equal questions are asked once, whoever wants to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import ClassVar, Protocol

import attrs

from .._activity import QueueRate, WorkerRecord
from .._client import M25
from .._limit_records import LimitRecord
from .._operator import QueueRecord
from .._schedule_calls import ScheduleRecord
from .._summaries import JobDetails, JobPage
from ._job_list import JobList


class Question(Protocol):
    """One is equal to another that asks for the same, and can be hashed."""

    #: How often it is asked at most while somebody looks, in seconds.
    period: ClassVar[float]
    #: How many statements it is.
    statements: ClassVar[int]

    async def ask(self, m: M25, /) -> object:
        """The answer.

        Raises:
            DatabaseError: the database failed.
        """
        ...


@attrs.frozen
class Overview:
    """All queues, and what has ended on them within the last minute."""

    queues: Sequence[QueueRecord]
    rates: Mapping[str, QueueRate]


@attrs.frozen
class AskOverview:
    """For an `Overview`."""

    period: ClassVar[float] = 2.0
    statements: ClassVar[int] = 2

    async def ask(self, m: M25) -> Overview:
        """See `Question.ask`."""
        queues = await m.queues()
        return Overview(queues, {rate.queue_name: rate for rate in await m.rates()})


@attrs.frozen
class AskLimits:
    """Which limits there are, and what is under them."""

    period: ClassVar[float] = 3.0
    statements: ClassVar[int] = 1

    async def ask(self, m: M25) -> Sequence[LimitRecord]:
        """See `Question.ask`."""
        return await m.limits()


@attrs.frozen
class AskWorkers:
    """Which workers are there."""

    period: ClassVar[float] = 5.0
    statements: ClassVar[int] = 1

    async def ask(self, m: M25) -> Sequence[WorkerRecord]:
        """See `Question.ask`."""
        return await m.workers()


@attrs.frozen
class SeenSchedules:
    """Which schedules are there."""

    schedules: Sequence[ScheduleRecord]
    #: The names of those that this client has declared, and so can run.
    runnable: AbstractSet[str]


@attrs.frozen
class AskSchedules:
    """For `SeenSchedules`."""

    period: ClassVar[float] = 5.0
    statements: ClassVar[int] = 1

    async def ask(self, m: M25) -> SeenSchedules:
        """See `Question.ask`."""
        return SeenSchedules(await m.schedules(), frozenset(m._schedules))


@attrs.frozen
class AskJobs:
    """Which jobs are so."""

    period: ClassVar[float] = 3.0
    #: One as a rule. Where few rows are what is looked for, there are parts: so many fit into the
    #: time that a look has.
    statements: ClassVar[int] = 3

    which: JobList

    async def ask(self, m: M25) -> JobPage:
        """See `Question.ask`."""
        return await self.which.find(m)


@attrs.frozen
class AskJob:
    """All that is known of a job; `None` where there is none."""

    period: ClassVar[float] = 2.0
    statements: ClassVar[int] = 3

    id: str

    async def ask(self, m: M25) -> JobDetails | None:
        """See `Question.ask`."""
        return await m.job_details(self.id)
