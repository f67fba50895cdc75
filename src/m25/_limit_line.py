"""Those that wait for a place of a limit outside of a job, in their order; no I/O."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final
from uuid import uuid4

import attrs
import trio

from ._cancelling import cancel
from ._worker.lost_holders import RENEWALS
from .pg._wakeup import Wakeup

#: How many places one statement asks for, and how many of one key: the others wait behind these.
_MOST_ASKED: Final = 500
_MOST_OF_KEY: Final = 20
#: How much of its lease a block has to end, once it is cancelled.
_MARGIN: Final = 1 / 4


@attrs.frozen
class DeclaredLimit:
    """A limit as its declaration says it; places of others are known by their names alone."""

    size: int
    path: Sequence[str] | None


@attrs.define(eq=False)
class Place:
    """One that a task waits for, or holds."""

    limiter: str
    key: str | None
    #: How long the lease is, in seconds.
    lease: float
    id: str = attrs.field(init=False, factory=lambda: str(uuid4()))
    task: trio.lowlevel.Task = attrs.field(init=False, factory=trio.lowlevel.current_task)
    #: Set once it is held, or refused.
    answered: trio.Event = attrs.field(init=False, factory=trio.Event)
    refusal: Exception | None = attrs.field(init=False, default=None)
    #: What its holder does with it.
    scope: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    is_held: bool = attrs.field(init=False, default=False)
    #: Whether the database has said that it is held no more.
    is_gone: bool = attrs.field(init=False, default=False)
    #: Whether it may be held without anybody knowing: it was asked for, and there was no answer.
    is_in_doubt: bool = attrs.field(init=False, default=False)
    #: When the lease is to be renewed, by Trio's clock; and when it may be over.
    renew_at: float = attrs.field(init=False, default=math.inf)
    ends_at: float = attrs.field(init=False, default=math.inf)

    @property
    def interval(self) -> float:
        """How often the lease is renewed, in seconds."""
        return self.lease / RENEWALS

    def refuse(self, error: Exception) -> None:
        """Nobody will give it."""
        self.refusal = error
        self.answered.set()

    def renewed(self, sent: float) -> None:
        """It is held for as long as its lease is, from the sending of what is confirmed."""
        self.renew_at = sent + self.interval
        self.ends_at = sent + self.lease
        # rule: a block ends before its place is given away
        self.scope.deadline = self.ends_at - self.lease * _MARGIN

    def lose(self) -> None:
        """Others may have it."""
        self.is_gone = True
        self.renew_at = math.inf
        cancel(self.scope, "the place of a limit was lost")


#: The places that the calling task holds, and those that the tasks held by which it was started.
held_places: Final[ContextVar[tuple[Place, ...]]] = ContextVar("m25_held_places", default=())


def held_around() -> list[Place]:
    """The places that are held around the calling code."""
    return [place for place in held_places.get() if place.is_held]


@attrs.define(eq=False)
class Line:
    """Those that wait for places of one limit, in the order in which they came."""

    limiter: str
    declared: DeclaredLimit | None = None
    is_declared: bool = False
    #: Whether a task asks for them.
    is_served: bool = False
    #: By id.
    waiting: dict[str, Place] = attrs.Factory(dict[str, Place])
    #: What the statement has asked for that is under way.
    under_way: set[str] = attrs.Factory(set[str])
    #: How many wait, by key.
    of_key: Counter[str | None] = attrs.Factory(Counter[str | None])
    #: How many keys the latest batches have come past, where one does not take all.
    passed_over: int = 0
    #: Set when there may be room, or another one has come.
    wakeup: Wakeup = attrs.Factory(Wakeup)

    def declare(self, declared: DeclaredLimit | None) -> None:
        """Take note of what a caller has declared; the latest one is right."""
        if declared is not None and declared != self.declared:
            self.declared, self.is_declared = declared, False

    def join(self, place: Place) -> None:
        """Another one waits."""
        self.waiting[place.id] = place
        self.of_key[place.key] += 1
        if self.of_key[place.key] <= _MOST_OF_KEY:
            self.wakeup.set()

    def leave(self, place: Place) -> None:
        """One waits no more."""
        if self.waiting.pop(place.id, None) is not None:
            self.of_key[place.key] -= 1
            if not self.of_key[place.key]:
                del self.of_key[place.key]

    def next_batch(self) -> list[Place]:
        """Those to ask for next: the first of each key, and the keys in turns if there are many."""
        counts = Counter[str | None]()
        found: list[Place] = []
        for place in self.waiting.values():
            counts[place.key] += 1
            if counts[place.key] <= _MOST_OF_KEY:
                found.append(place)
        if len(found) <= _MOST_ASKED:
            return found
        start = self.passed_over % len(found)
        self.passed_over = start + _MOST_ASKED
        return (found[start:] + found[:start])[:_MOST_ASKED]
