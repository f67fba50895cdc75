"""`Operator` over PostgreSQL: the steps of each call, run as those of the store are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

from . import operator_steps
from .operator import (
    Answer,
    CountedJobs,
    FoundJob,
    FoundJobs,
    JobFilter,
    JobWait,
    LimitState,
    NewAttempt,
    Operator,
    QueueRate,
    QueueState,
    WorkerState,
)
from .steps import Steps

#: Runs steps on the pool.
_Run: TypeAlias = Callable[[Steps[Any]], Awaitable[Any]]


class PostgresOperator(Operator):
    """One for each store."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    async def queues(self, most: int, silence: timedelta) -> list[QueueState]:
        states: list[QueueState] = await self._run(operator_steps.queues(most, silence))
        return states

    async def limits(self, most: int) -> list[LimitState]:
        states: list[LimitState] = await self._run(operator_steps.limits(most))
        return states

    async def workers(self, silence: timedelta) -> list[WorkerState]:
        states: list[WorkerState] = await self._run(operator_steps.workers(silence))
        return states

    async def rates(self, within: timedelta, walk: int) -> list[QueueRate]:
        rates: list[QueueRate] = await self._run(operator_steps.rates(within, walk))
        return rates

    async def find(
        self,
        wanted: JobFilter,
        *,
        after: str | None,
        limit: int,
        walk: int,
    ) -> FoundJobs:
        found: FoundJobs = await self._run(operator_steps.find(wanted, after, limit, walk))
        return found

    async def count(self, wanted: JobFilter, *, after: str | None, walk: int) -> CountedJobs:
        counted: CountedJobs = await self._run(operator_steps.count(wanted, after, walk))
        return counted

    async def find_below(self, id: str, most: int) -> list[FoundJob]:
        found: list[FoundJob] = await self._run(operator_steps.find_below(id, most))
        return found

    async def find_wait(self, id: str, silence: timedelta) -> JobWait | None:
        wait: JobWait | None = await self._run(operator_steps.find_wait(id, silence))
        return wait

    async def retry(
        self, attempts: Sequence[NewAttempt], *, lock_wait: timedelta | None = None
    ) -> list[Answer]:
        answers: list[Answer] = await self._run(operator_steps.retry(attempts, lock_wait))
        return answers

    async def holds_others(self, id: str) -> bool:
        holds: bool = await self._run(operator_steps.holds_others(id))
        return holds

    async def skip(self, ids: Sequence[str]) -> list[Answer]:
        answers: list[Answer] = await self._run(operator_steps.skip(ids))
        return answers

    async def delete(self, ids: Sequence[str]) -> list[Answer]:
        answers: list[Answer] = await self._run(operator_steps.delete(ids))
        return answers
