"""A pool's books: who has which connection, who waits, and how many there are."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic

import attrs
import trio

from ._connection import AsyncConnection

if TYPE_CHECKING:
    from psycopg._compat import TypeVar
    from psycopg.rows import TupleRow

    C = TypeVar("C", bound=AsyncConnection[Any], default=AsyncConnection[TupleRow])
else:
    from psycopg._compat import TypeVar

    C = TypeVar("C", default=AsyncConnection)


@attrs.define(eq=False)
class Pooled(Generic[C]):
    connection: C
    expires_at: float
    idle_since: float = 0.0


@attrs.define(eq=False)
class Waiter(Generic[C]):
    served: trio.Event = attrs.field(factory=trio.Event)
    pooled: Pooled[C] | None = None
    error: Exception | None = None


class Books(Generic[C]):
    """Who has what. Nothing here waits.

    A connection is idle, lent, or being opened; `size` counts all three. While somebody waits, none
    is idle.
    """

    def __init__(self, min_size: int, max_size: int) -> None:
        self.min_size = min_size
        self.max_size = max_size
        self.size = 0
        self.opening = 0
        self.idle: deque[Pooled[C]] = deque()
        self.waiters: deque[Waiter[C]] = deque()
        self.lent = 0
        self.opened = 0
        self.discarded = 0
        self.failed = 0

    def are_to_open(self) -> int:
        """Note that as many are being opened as are needed, and return how many more."""
        wanted = max(len(self.waiters), self.min_size - self.size + self.opening) - self.opening
        more = max(0, min(wanted, self.max_size - self.size))
        self.opening += more
        self.size += more
        return more

    def is_needed(self) -> bool:
        """Whether one that is being opened still is."""
        return bool(self.waiters) or self.size <= self.min_size

    def take(self) -> Pooled[C] | None:
        """The idle connection that was used last: the others grow old, and are closed."""
        return self.idle.pop() if self.idle else None

    def give(self, pooled: Pooled[C], now: float) -> None:
        """A connection is free: the first who waits has it."""
        if self.waiters:
            waiter = self.waiters.popleft()
            waiter.pooled = pooled
            waiter.served.set()
        else:
            pooled.idle_since = now
            self.idle.append(pooled)

    def succeed(self, pooled: Pooled[C], now: float) -> None:
        """A connection was opened."""
        self.opening -= 1
        self.opened += 1
        self.give(pooled, now)

    def give_up(self) -> None:
        """A connection that was being opened will not be."""
        self.opening -= 1
        self.size -= 1

    def lose(self) -> None:
        """A connection is no more."""
        self.size -= 1
        self.discarded += 1

    def leave(self, waiter: Waiter[C], now: float) -> None:
        """A waiter gave up: what it was given meanwhile goes to the next."""
        if waiter.pooled is not None:
            self.give(waiter.pooled, now)
        elif not waiter.served.is_set():
            self.waiters.remove(waiter)

    def turn_away(self, error: Exception) -> None:
        """None of those who wait will be served."""
        while self.waiters:
            waiter = self.waiters.popleft()
            waiter.error = error
            waiter.served.set()

    def overdue(self, now: float, max_idle: float) -> list[Pooled[C]]:
        """Take out what has been idle, or alive, for too long."""
        old = [each for each in self.idle if now >= each.expires_at]
        spare = self.size - len(old) - self.min_size
        for each in self.idle:
            if spare <= 0 or each.idle_since + max_idle > now:
                break
            if each not in old:
                old.append(each)
                spare -= 1
        for each in old:
            self.idle.remove(each)
        return old
