"""Reads and keeps the steps of all jobs that run here: those that ask at once share a statement."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from ._batcher import Batcher
from ._errors import ClientClosed
from ._store.failures import RowRefused
from ._store.protocol import (
    Fenced,
    Kept,
    Locked,
    NewReceive,
    NewStep,
    NoMessage,
    StepRow,
    Store,
)


class StepBatches:
    """One for each client."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reads = Batcher[str, Sequence[StepRow]](self._find, _closed)
        self._writes = Batcher[NewStep, Kept | Locked | Fenced](
            self._keep, _closed, size=lambda step: len(step.output or "")
        )
        self._receives = Batcher[NewReceive, Kept | NoMessage | Locked | Fenced](
            self._receive, _closed
        )

    async def run(self) -> None:
        """Send what waits, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receives.run)
            nursery.start_soon(self._reads.run)
            nursery.start_soon(self._writes.run)

    async def find(self, job_id: str) -> Sequence[StepRow]:
        """Read what is kept of a job, in order.

        Raises:
            StatementFailed: the database failed.
        """
        return await self._reads.ask(job_id)

    async def keep(self, step: NewStep) -> Kept | Locked | Fenced:
        """Keep a step.

        Raises:
            RowRefused: the database does not take it.
            StatementFailed: the database failed.
        """
        return await self._writes.ask(step)

    async def receive(self, wanted: NewReceive) -> Kept | NoMessage | Locked | Fenced:
        """Receive a message.

        Raises:
            StatementFailed: the database failed.
        """
        return await self._receives.ask(wanted)

    async def _receive(
        self, wanted: Sequence[NewReceive]
    ) -> Sequence[Kept | NoMessage | Locked | Fenced]:
        # An attempt that was cut off may still wait here beside the one that has followed it: the
        # second of one job is to ask again.
        first = {(one.job_id, one.name): one for one in reversed(wanted)}
        answers = await self._store.receive(list(first.values()))
        found = dict(zip(map(id, first.values()), answers, strict=True))
        return [found.get(id(one), Locked(one.id)) for one in wanted]

    async def _find(self, job_ids: Sequence[str]) -> Sequence[Sequence[StepRow]]:
        found = await self._store.find_steps(job_ids)
        return [found.get(job_id, ()) for job_id in job_ids]

    async def _keep(self, steps: Sequence[NewStep]) -> Sequence[Kept | Locked | Fenced | Exception]:
        try:
            return await self._store.keep_steps(steps)
        except RowRefused:
            if len(steps) == 1:
                raise
        # One of them is the reason; each is tried alone, so that the others are kept.
        answers: list[Kept | Locked | Fenced | Exception] = []
        for step in steps:
            try:
                answers += await self._store.keep_steps([step])
            except RowRefused as refused:
                answers.append(refused)
        return answers


def _closed() -> ClientClosed:
    return ClientClosed("this client's block has been left: its jobs keep no more steps")
