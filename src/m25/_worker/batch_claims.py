"""How a queue that has batches counts its slots, and claims for them.

A call of the handler takes one slot, however many jobs it has. So a claim is for as many jobs as
the free slots have places for, and its jobs are dealt to batches in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import trio

from .._batch import Batch
from .._process_slots import ProcessSlots
from .ahead import Ahead, BegunJob
from .batches import Member, RunningBatch
from .claimer import Claimer
from .executor import Executor
from .ledger import Ledger
from .plan import FREE_OUTCOMES, LARGEST_CLAIM
from .slots import Slots


class BatchLedger(Ledger):
    """What a process runs of a queue that has batches: each of these takes one slot."""

    def __init__(
        self,
        max_concurrency: int,
        slots: Slots,
        process: ProcessSlots | None,
        size: int,
    ) -> None:
        super().__init__(max_concurrency, slots, Ahead(0), process)
        self._size = size
        #: How many batches run.
        self._batches = 0

    def claim_size(self, more: int = 0) -> int:
        """How many jobs to claim now, or once `more` jobs run."""
        batches = self._for(more)
        slots = self._own_slots - batches
        if self._process is not None:
            slots = min(slots, self._process.room(self) - batches)
        return self._size * max(0, min(slots, LARGEST_CLAIM // self._size or 1))

    @property
    def _own_slots(self) -> int:
        """How many slots are free for batches that have not begun."""
        unwritten = len(self._outcomes) + len(self._locked_outcomes)
        # As of other queues; here a slot has as many outcomes as a batch has jobs.
        beyond = max(0, unwritten - max(self._max_concurrency * self._size, FREE_OUTCOMES))
        # rule: a batch takes one slot
        held = self._batches - self.slots.without
        return self._max_concurrency - held - self._for(beyond)

    def _for(self, jobs: int) -> int:
        """How many batches so many jobs are."""
        return -(-jobs // self._size)

    def begin_batch(self) -> None:
        """A batch runs from now on; its members are told of by `begin`."""
        self._batches += 1

    def end_batch(self, batch: RunningBatch) -> None:
        """A batch runs no more."""
        self._batches -= 1
        for member in batch.members:
            self.end(member)

    # Slots of the process

    @property
    def _free(self) -> int:
        held = self._batches - self.slots.without_any
        return self._max_concurrency - held - self.claiming

    @property
    def held(self) -> int:
        """How many slots of the process its batches hold, or are to have as they go on."""
        return self._batches - self.slots.without_any + self.wanted

    @property
    def claiming(self) -> int:
        """How many slots of the process the claim that is under way may need."""
        return self._for(self._claiming)

    def wait_for_process(self, *, has_work: bool) -> None:
        """Wait for slots of the process, if it has fewer than the queue could use for its work."""
        if self._process is None:
            return
        wanted = max(0, self._own_slots) if has_work else 0
        if wanted > max(0, self._process.room(self)):
            self._process.wait(self, wanted)
        else:
            self._process.leave(self)


class BatchClaimer(Claimer):
    """Claims as many jobs as the free slots have places for, and begins them in batches."""

    _ledger: BatchLedger
    #: When what is due is claimed, by Trio's clock; `None` where nobody has looked since the latest
    #: claim.
    _claims_at: float | None = None
    #: The batch that is dealt jobs of this claim, until it is full.
    _filling: RunningBatch | None = None

    @property
    def _batch(self) -> Batch:
        assert self._queue.batch is not None, "the claimer is one of batches"
        return self._queue.batch

    def _claim_size(self, slots: int) -> int:
        """Nothing is claimed ahead of the slots, and a batch may be larger than other claims."""
        return slots  # rule: a backlog is claimed by whole batches

    def _rest(self) -> float:
        """How long jobs that have come wait for others, before they are claimed, in seconds."""
        if self._has_more or not self.has_started:  # rule: a backlog does not wait
            return 0.0
        now = trio.current_time()
        if self._claims_at is None:
            self._claims_at = now + self._batch.wait.total_seconds()
        return self._claims_at - now

    async def _claim(self, slots: int, size: int) -> bool:
        self._claims_at = None
        return await super()._claim(slots, size)

    def _begin(self, jobs: Sequence[BegunJob]) -> Sequence[Executor]:
        """Members of batches, in the order of the jobs. From now on they count as running."""
        begun: list[Executor] = []
        # A large claim begins in turns.
        batch = self._filling  # rule: a batch is filled over the turns of its claim
        for row, token, _, _ in jobs:
            if batch is None or len(batch.members) == self._batch.size:
                batch = RunningBatch(self._workplace)
                self._ledger.begin_batch()
            begun.append(batch.add(row, token))
        self._filling = batch
        self._ledger.begin(begun)
        self._runtime.loop_watch.began([executor.job for executor in begun], self._queue.name)
        return begun

    def _start(self, begun: Sequence[Executor]) -> None:
        self._filling = None
        batches = dict.fromkeys(member.batch for member in cast("Sequence[Member]", begun))
        for batch in batches:
            name = f"a batch of queue {self._queue.name!r}"
            self._nursery.start_soon(self._execute_batch, batch, name=name)

    async def _execute_batch(self, batch: RunningBatch) -> None:
        try:
            await batch.run()
        finally:
            self._ledger.end_batch(batch)
            for member in batch.members:
                self._runtime.loop_watch.ended(member.job)
                if member.misses:
                    self._heartbeats.executor_ended(member)
                self._results.take(member, is_stopping=self.stopping)
            self._hint.due = self._hint.due or self._newer.owes_recall
            self._settler.wakeup.set()
            self._hint.wakeup.set()
