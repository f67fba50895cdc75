"""Slots that handlers give back while they wait for jobs. No I/O, and no waiting.

A queue runs `max_concurrency` handlers at once. Where handlers wait for jobs of their own queue,
all slots may be theirs, and the jobs never begin. So a handler that waits for a job gives its slot
back, and takes one again before it goes on. Whoever is to go on comes before new claims, in the
order of asking; what a claim that is under way may bring is counted as if it had come.

    holds a slot ──give_back──▶ has none ──want──▶ is to go on ──grant──▶ holds a slot
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from .._waiting_limit import WaitingLimit

if TYPE_CHECKING:
    from .executor import Executor


class Slots:
    """One for each ledger.

    Args:
        limit: of the process.
        changed: called when a slot is free, or asked for.
    """

    def __init__(self, limit: WaitingLimit, changed: Callable[[], None]) -> None:
        self._limit = limit
        self._changed = changed
        #: Who has none, each with what is set when it may go on; `None` where it still waits.
        self._without: dict[Executor, trio.Event | None] = {}
        #: Of these, who is to go on.
        self._wanted: list[Executor] = []

    @property
    def without(self) -> int:
        """How many of those that run hold no slot, and are to have none yet."""
        return len(self._without) - len(self._wanted)

    @property
    def without_any(self) -> int:
        """How many of those that run hold no slot."""
        return len(self._without)

    @property
    def wanted(self) -> int:
        """How many are to go on."""
        return len(self._wanted)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody is to go on."""
        return bool(self._wanted)

    def give_back(self, executor: Executor) -> bool:
        """Give a handler's slot back; return whether that was possible, or had been done.

        Beyond the process's limit it is not: the handler keeps its slot while it waits.
        """
        if executor in self._without:
            return True
        if self._limit.count >= self._limit.most:  # rule: handlers without a slot are bounded
            return False
        self._limit.count += 1
        self._without[executor] = None
        self._changed()
        return True

    def want(self, executor: Executor) -> trio.Event | None:
        """Ask for a slot; return what is set once it is there, or `None` where there is one."""
        if executor not in self._without:
            return None
        turn = self._without[executor]
        if turn is None:
            turn = self._without[executor] = trio.Event()
            self._wanted.append(executor)
            self._changed()
        return turn

    def grant(self, free: int) -> None:
        """Let as many go on as there are slots free."""
        granted = self._wanted[: max(0, free)]
        del self._wanted[: len(granted)]
        for executor in granted:
            turn = self._without[executor]
            self._forget(executor)
            if turn is not None:
                turn.set()

    def let_go(self, executor: Executor) -> None:
        """Let a handler go on without a slot: it was cancelled, and cleans up."""
        turn = self._without.get(executor)
        if turn is not None:
            self._wanted.remove(executor)
            self._without[executor] = None
            turn.set()

    def end(self, executor: Executor) -> None:
        """A handler has ended, with a slot or without."""
        if executor in self._without:
            self.let_go(executor)
            self._forget(executor)

    def tell_limit(self) -> bool:
        """Whether it is to be told, now, that no more slots can be given back."""
        told, self._limit.is_told = self._limit.is_told, True
        return not told

    def _forget(self, executor: Executor) -> None:
        del self._without[executor]
        self._limit.count -= 1
        self._limit.is_told = False
