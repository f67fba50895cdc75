"""How many handlers of a process run at once, over all its queues. No I/O, and no waiting.

It is there where `m25.open` is given `max_concurrency`, beside each queue's own. A queue claims for
the slots alone that it can have here, so that no job is claimed that has to wait for others to end.

A slot that comes free goes to a handler that waited for jobs and is to go on, of whatever queue.
Otherwise it is for the queue that holds the fewest, of those that have something to run; of several
such for the one that has waited for longest. So no queue keeps others from running: a queue with
long jobs has no more slots than one with short ones, where both have enough to do.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Protocol


class Holder(Protocol):
    """What is known of a queue's slots."""

    @property
    def held(self) -> int:
        """How many slots its handlers hold, or are to have as they go on."""
        ...

    @property
    def claiming(self) -> int:
        """How many slots the claim that is under way may need."""
        ...

    @property
    def wanted(self) -> int:
        """How many handlers wait for a slot to go on, and may have one of the queue's own."""
        ...

    def grant_wanted(self, free: int) -> None:
        """Let so many of these go on."""
        ...


class ProcessSlots:
    """One for each client that has a limit.

    Args:
        most: how many handlers run at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        #: The queues, each with what tells it that there is a slot for it. The order is that in
        #: which their handlers go on.
        self._wakes: dict[Holder, Callable[[], None]] = {}
        #: Which have something to run, and no slot for it; with how many they could use. Who has
        #: waited for longest comes first.
        self._waiting: dict[Holder, int] = {}

    def add(self, holder: Holder, wake: Callable[[], None]) -> None:
        """A queue begins to run; `wake` is called when there is a slot that it waits for."""
        self._wakes[holder] = wake

    def remove(self, holder: Holder) -> None:
        """A queue runs no more."""
        del self._wakes[holder]
        self.freed()

    def room(self, holder: Holder) -> int:
        """How many slots a queue may have beside those that it holds; its claim's are among them.

        What is left to others that wait is not for this queue.
        """
        others = self._waiting.keys() - {holder}
        free = self._free
        if others and free > 0:  # rule: what others wait for is left to them
            free = self._deal(free, {**self._waiting, holder: free}).get(holder, 0)
        return max(0, free) + holder.claiming

    def is_waited_for(self, holder: Holder) -> bool:
        """Whether other queues wait for slots."""
        return bool(self._waiting.keys() - {holder})

    def wait(self, holder: Holder, wanted: int) -> None:
        """A queue could use so many slots more than it can have. One that waits keeps its turn."""
        self._waiting[holder] = wanted

    def leave(self, holder: Holder) -> None:
        """A queue waits no more: it takes what it can have now, or has nothing to run."""
        if self._waiting.pop(holder, None) is not None:
            self._wake()

    def freed(self) -> None:
        """A slot may be free, or asked for."""
        for holder in list(self._wakes):
            if wanted := holder.wanted:
                free = self._free + sum(each.wanted for each in self._wakes)
                if free <= 0:
                    return
                holder.grant_wanted(min(free, wanted))
                self._wakes[holder] = self._wakes.pop(holder)
        self._wake()

    @property
    def _free(self) -> int:
        return self._most - sum(each.held + each.claiming for each in self._wakes)

    def _wake(self) -> None:
        if self._waiting and (free := self._free) > 0:
            for holder in self._deal(free, self._waiting):
                self._wakes[holder]()

    def _deal(self, free: int, wanted: dict[Holder, int]) -> dict[Holder, int]:
        """Share the slots that are free among those that could use so many each."""
        turns = [
            (holder.held + holder.claiming, place, holder) for place, holder in enumerate(wanted)
        ]
        heapq.heapify(turns)
        dealt: dict[Holder, int] = {}
        while free > 0 and turns:
            held, place, holder = heapq.heappop(turns)
            dealt[holder] = dealt.get(holder, 0) + 1
            free -= 1
            if dealt[holder] < wanted[holder]:
                heapq.heappush(turns, (held + 1, place, holder))
        return dealt


def slots_of(most: object) -> ProcessSlots | None:
    """What a caller gives as `max_concurrency` of a process, if anything.

    Raises:
        ValueError: it is no whole number from 1 on.
    """
    if most is None:
        return None
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise ValueError(
            f"max_concurrency must be a whole number from 1 on, or None, not {most!r:.80}"
        )
    return ProcessSlots(most)
