"""The state of a pool: who has which connection, who waits, and how many connections there are."""

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
    """A connection of the pool; both times are those of Trio's clock, in seconds."""

    connection: C
    expires_at: float
    #: Whether the server took writes when it was opened.
    took_writes: bool = True
    idle_since: float = 0.0


@attrs.define(eq=False)
class Waiter(Generic[C]):
    """A task that waits for a connection: once `served`, it has that or an error."""

    served: trio.Event = attrs.field(factory=trio.Event)
    pooled: Pooled[C] | None = None
    error: Exception | None = None


@attrs.frozen
class PoolStats:
    """What a pool holds now, and what it has done since it was entered."""

    #: Connections open, or being opened.
    size: int
    #: Connections open and free.
    idle: int
    #: Tasks that wait for a connection.
    waiting: int
    #: How often a connection was lent.
    lent: int
    #: How many connections were opened.
    opened: int
    #: How many were closed: because they were broken, in doubt, or too old.
    discarded: int
    #: How many attempts to open one have failed.
    failed: int


class PoolState(Generic[C]):
    """Who has which connection. Nothing here waits.

    A connection is idle, lent, or being opened; `size` counts all three. While a task waits, no
    connection is idle.
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

    def stats(self) -> PoolStats:
        """What the pool holds now, and has done so far."""
        return PoolStats(
            size=self.size,
            idle=len(self.idle),
            waiting=len(self.waiters),
            lent=self.lent,
            opened=self.opened,
            discarded=self.discarded,
            failed=self.failed,
        )

    def start_opening(self) -> int:
        """Count as being opened what is needed beyond what is being opened already, and return how
        many connections that is.
        """
        wanted = max(len(self.waiters), self.min_size - self.size + self.opening) - self.opening
        more = max(0, min(wanted, self.max_size - self.size))
        self.opening += more
        self.size += more
        return more

    def is_opening_needed(self) -> bool:
        """Whether a connection that is being opened is still needed."""
        return bool(self.waiters) or self.size <= self.min_size

    def pop_idle(self) -> Pooled[C] | None:
        """The idle connection that was used last: the others grow old, and are closed."""
        return self.idle.pop() if self.idle else None

    def put_free(self, pooled: Pooled[C], now: float) -> None:
        """A connection is free: the first task that waits has it, or it is idle."""
        if self.waiters:
            waiter = self.waiters.popleft()
            waiter.pooled = pooled
            waiter.served.set()
        else:
            pooled.idle_since = now
            self.idle.append(pooled)

    def finish_opening(self, pooled: Pooled[C], now: float) -> None:
        """A connection was opened."""
        self.opening -= 1
        self.opened += 1
        self.put_free(pooled, now)

    def abandon_opening(self) -> None:
        """A connection that was being opened will not be."""
        self.opening -= 1
        self.size -= 1

    def discard(self) -> None:
        """A connection that was idle or lent is closed, or about to be."""
        self.size -= 1
        self.discarded += 1

    def remove_waiter(self, waiter: Waiter[C], now: float) -> None:
        """A task gave up waiting: the connection that it was given meanwhile goes to the next."""
        if waiter.pooled is not None:
            self.put_free(waiter.pooled, now)
        elif not waiter.served.is_set():
            self.waiters.remove(waiter)

    def fail_waiters(self, error: Exception) -> None:
        """No task that waits now will have a connection: each has this error."""
        while self.waiters:
            waiter = self.waiters.popleft()
            waiter.error = error
            waiter.served.set()

    def pop_overdue(self, now: float, max_idle: float) -> list[Pooled[C]]:
        """Take out the connections that have been idle, or open, for too long."""
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
