"""Claims of a queue that has a limit or a rate: the database counts, over all processes.

Under a limit without a key, the statement that writes a job's success claims the next one in its
place, and a few that wait for the same place (`places.py`). So no place is empty until another
claim is answered, and no lock is waited for that whoever claims elsewhere has. Now and then the
database leaves a place to others instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import trio

from .._hints import QueueHint
from .._limits import Rate
from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import RowRefused
from .._store.protocol import Claimed, LimitedClaim, Outcome, PassedOn, WriteResult
from ..pg._wakeup import Wakeup
from .ahead import BegunJob
from .executor import Executor
from .fair import Turns
from .ledger import Granted, Ledger
from .order import Keys
from .places import Places

#: How often a queue whose limit is reached is claimed from although nothing says that there is
#: room, in seconds: it may be another process that has made room, or is gone.
_FULL_INTERVAL: Final = 1.0
#: How long this process leaves a place to others, in seconds. Where nobody has taken it by then,
#: they had no job for it.
_TURN: Final = 0.05
#: How long outcomes wait for a claim that is under way, in seconds: once it is answered, their
#: places can be passed on. Written before that, they would call for another claim.
_LONGEST_WAIT: Final = 0.5


def _has_just_succeeded(outcome: Outcome) -> bool:
    """Whether nothing else is written with it: no next attempt, and nothing below it."""
    return outcome.failure_reason is None and outcome.children_of is None


class LimitedClaims:
    """One for each manager whose queue has a limit or a rate, or an order, or is fair between keys.

    It remembers from which key to go on.
    """

    def __init__(
        self,
        queue: Queue[Any, Any, Any],
        limiter: str,
        runtime: Runtime,
        hint: QueueHint,
        ledger: Ledger,
        places: Places,
    ) -> None:
        self._queue = queue
        self._limiter = limiter
        self._runtime = runtime
        self._hint = hint
        self._ledger = ledger
        self._places = places
        self._from_key = None if queue.limit is None or queue.limit.key is None else ""
        self._turns = None if queue.fair_by is None else Turns(queue.fair_by)
        self._keys = None if queue.ordered_by is None else Keys()
        #: The place that is left to others once it is empty, if there is such a one.
        self._leaving: str | None = None
        #: Whether the claimer begins jobs.
        self.is_open = False
        #: Set when a claim is under way no more.
        self.asked = Wakeup()
        #: When there may be room for jobs that the latest claim has left, by Trio's clock; infinity
        #: where it has left none.
        self.room_at = math.inf

    async def claim(self, token: str, size: int, *, start: bool) -> Claimed:
        """Claim up to `size` jobs.

        Raises:
            StatementFailed: the database did not answer; the claim may have been committed.
        """
        queue = self._queue
        lease = queue.lease if start else min(queue.lease, queue.reserved_timeout)
        asked = LimitedClaim(queue.name, self._limiter, token, size, lease, start)
        if queue.rate is not None:
            # Whoever was told to wait is not to begin another job in the meantime.
            await self._hold_rate(
                queue.rate, [each.outcome for each in self._ledger.next_outcomes()]
            )
        if self._turns is not None:
            claimed = await self._claim_fairly(self._turns, asked)
        elif self._keys is not None:
            claimed = await self._claim_in_order(self._keys, asked)
        elif queue.rate is not None and queue.rate.reads_inputs:
            claimed = await self._runtime.store.claim_by_rate(asked)
        else:
            claimed = await self._runtime.store.claim_limited(asked, from_key=self._from_key)
            if self._from_key is not None:
                self._from_key = claimed.last_key or ""
        self.room_at = math.inf
        if claimed.is_full:
            room_in = _FULL_INTERVAL if claimed.room_in is None else claimed.room_in
            self.room_at = trio.current_time() + room_in
        if queue.rate is not None and queue.rate.key is not None:
            # rule: what a process that is gone has held up is found
            self.room_at = min(
                self.room_at, trio.current_time() + queue.poll_interval.total_seconds()
            )
        return claimed

    async def _claim_fairly(self, turns: Turns, asked: LimitedClaim) -> Claimed:
        claimed = await self._runtime.store.claim_fairly(asked, fair=turns.next())
        has_more = turns.claimed(claimed)
        return Claimed(claimed.rows, claimed.is_full, has_more, room_in=claimed.room_in)

    async def _claim_in_order(self, keys: Keys, asked: LimitedClaim) -> Claimed:
        claimed = await self._runtime.store.claim_in_order(
            asked, from_key=keys.from_key, after=keys.after
        )
        has_more = keys.claimed(claimed)
        room_in = claimed.room_in
        if room_in is None and claimed.next_in is not None:
            # So a retry is not late that others wait behind.
            room_in = min(claimed.next_in, _FULL_INTERVAL)
        return Claimed(
            claimed.rows, claimed.is_full or claimed.has_waiting, has_more, room_in=room_in
        )

    def began(self, jobs: Iterable[BegunJob]) -> None:
        """Jobs run here from now on."""
        self._places.began(jobs, trio.current_time())

    def ended(self, executor: Executor) -> None:
        """A job runs here no more."""
        self._places.left(executor.job, trio.current_time())
        if self._turns is not None:
            self._turns.ended(executor.row)

    async def until_asked(self) -> None:
        """Wait until no claim is under way, for a while."""
        with trio.move_on_after(_LONGEST_WAIT):
            while self.is_open and self._ledger.is_claiming:
                await self.asked.wait()

    async def settle(self, outcomes: Sequence[Outcome]) -> dict[str, WriteResult]:
        """Write outcomes, and claim the next jobs in their places where that can be done.

        Raises:
            StatementFailed: the database did not answer; all of it may have been committed.
            RowRefused: of one of the rows; nothing was written, and nothing claimed.
        """
        if self._queue.rate is not None:
            await self._hold_rate(self._queue.rate, outcomes)
        size = min(len(outcomes), self._ledger.claim_size())
        depth = self._places.depth if self._ledger.may_claim_ahead else 0
        if (size or depth) and self._can_pass_on and all(map(_has_just_succeeded, outcomes)):
            passed = await self._succeed_and_claim(outcomes, size, depth)
            results, has_room = passed.results, passed.has_room
        else:
            results = await self._runtime.store.settle(outcomes, self._queue.allowed_losses)
            has_room = self._queue.makes_room
        if has_room:
            self._runtime.hints.room(self._limiter)  # rule: room is used as soon as it is there
        return results

    async def _hold_rate(self, rate: Rate, outcomes: Sequence[Outcome]) -> None:
        """Let others wait as long as handlers have asked for, where any of these has.

        It may be done twice for one of them, by claim and write, whichever comes first.
        """
        holds = [each.rate_hold for each in outcomes if each.rate_hold is not None]
        if holds:
            # rule: a delay for the whole rate is written
            await self._runtime.store.hold_rate(
                self._limiter, holds, reads_inputs=rate.reads_inputs
            )

    @property
    def _can_pass_on(self) -> bool:
        queue = self._queue
        return (
            self.is_open
            and not self._hint.is_paused
            and self._ledger.in_doubt is None
            and queue.limit is not None
            # What is counted by a key, or takes a token, is claimed under the limit's lock.
            and queue.limit.key is None
            and queue.rate is None
            # What is passed on goes to the oldest job, whatever its key.
            and self._turns is None
            and self._keys is None
            and queue.handler.setup is None
        )

    async def _succeed_and_claim(
        self, outcomes: Sequence[Outcome], size: int, depth: int
    ) -> PassedOn:
        queue, ledger = self._queue, self._ledger
        token = self._runtime.new_token(named=False)  # rule: no limited lease is cut short
        asked_at = trio.current_time()
        ledger.ask(token, size)
        is_granted = False
        try:
            passed = await self._runtime.store.succeed_and_claim(
                outcomes,
                queue.name,
                limiter=self._limiter,
                token=token,
                limit=size,
                ahead=depth,
                leaving=self._leaving,
                lease=queue.lease,
            )
            self._places.met(passed.rows)
            if passed.rows:
                ledger.grant_jobs(Granted(token, passed.rows, asked_at, passed.places))
                is_granted = True
        except RowRefused:
            # Nothing was written.
            ledger.answered()
            raise
        finally:
            if not is_granted:
                ledger.asked()
            # It begins what has come, or makes sure of the claim.
            self._hint.wakeup.set()
        if not passed.rows:
            ledger.answered()
        if passed.has_turned or passed.leaving is not None:
            self._leaving = passed.leaving
        if passed.has_turned:
            self.room_at = min(self.room_at, trio.current_time() + _TURN)
        return passed
