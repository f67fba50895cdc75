"""`m.limiter(…)`: places of a limit, and turns of a rate, for what is no job."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, Final

import trio

from ._base_queue import BaseQueue
from ._duration import Duration, as_timedelta
from ._errors import UsageError
from ._holders import Holders
from ._in_transaction import refuse_in_transaction
from ._in_trio import check_in_trio
from ._limit_line import DeclaredLimit, held_around
from ._limits import Limit, Rate
from ._operator import name_of
from ._query import raise_query_error
from ._queue import Queue
from ._running_job import current_attempt
from ._runtime import Runtime
from ._store.failures import StatementFailed
from ._store.lanes import LONGEST_KEY
from ._text import check_text

#: As much as a job may cost.
_HIGHEST_COST: Final = 1_000_000
#: How short a lease may be, so that it can be renewed in time on a busy machine.
_SHORTEST_LEASE: Final = timedelta(seconds=1)
_LONGEST_LEASE: Final = timedelta(days=1)


class Limiter:
    """A limit of which other code holds places, or a rate of which it takes turns.

        async with m.limiter(gpu):
            ...

        await m.limiter("mailer").take()

    It is made by `M25.limiter`. The jobs of the queues that have the limit, and all who hold places
    of it, in whatever processes, are counted together; and so all go by one clock of a rate. One
    `Limiter` may be used by many tasks, at once and again and again.
    """

    def __init__(
        self,
        runtime: Runtime,
        holders: Holders,
        name: str,
        *,
        key: str | None,
        lease: timedelta,
        declared: DeclaredLimit | None = None,
    ) -> None:
        self._runtime = runtime
        self._holders = holders
        self._name = name
        self._key = key
        self._lease = lease
        self._declared = declared
        #: The blocks of those tasks that hold a place, or wait for it.
        self._blocks: dict[trio.lowlevel.Task, AbstractAsyncContextManager[None]] = {}

    @property
    def name(self) -> str:
        """That of the limit, or of the rate."""
        return self._name

    async def __aenter__(self) -> None:
        """Wait for a place of the limit, and hold it until the block is left.

        Raises:
            UsageError: nobody has declared such a limit; it counts by a key and none was given, or
                the other way round; the calling job, or task, has a place of it already, and could
                wait for itself for ever; a transaction of a handler's is open; or it is called
                outside of Trio.
            JobRecordFetchQueryError: the client's role may not take places. While the database does
                not answer, it is waited for.
            ClientClosed: the client's block was left.
        """
        check_in_trio("Limiter.", "__aenter__")
        refuse_in_transaction("m.limiter(…)")
        self._refuse_own()
        block = self._holders.hold(
            self._name, self._key, self._lease.total_seconds(), self._declared
        )
        await block.__aenter__()
        self._blocks[trio.lowlevel.current_task()] = block

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Give the place back at once, also where the block is cancelled.

        Raises:
            PlaceLost: the place was lost, and the block cancelled for it.
        """
        block = self._blocks.pop(trio.lowlevel.current_task())
        return await block.__aexit__(kind, error, traceback)

    def _refuse_own(self) -> None:
        attempt = current_attempt.get(None)
        if (
            attempt is not None
            and attempt.queue.limit is not None
            and attempt.queue.limiter_name == self._name  # rule: no handler waits for its own place
        ):
            raise UsageError(
                f"a job of queue {attempt.queue.name!r} has a place of the limit {self._name!r}"
                " while it runs, and could wait for itself for ever: leave the block out, or use"
                " another limit"
            )
        task = trio.lowlevel.current_task()
        if any(place.limiter == self._name and place.task is task for place in held_around()):
            raise UsageError(
                f"this task holds a place of the limit {self._name!r} already, and could wait for"
                " itself for ever"
            )

    async def take(self, *, key: str | None = None, cost: int = 1) -> None:
        """Wait for a turn of the rate.

        The turn is taken at once, and then waited for: those who ask have theirs in the order in
        which they ask, each with one statement, and before jobs that have not begun. Where the wait
        is cancelled, the turn is spent.

        Args:
            key: whose clock it is, where the rate has a key: as text what its path leads to in the
                jobs' inputs. Without it, it is the key that `M25.limiter` was given.
            cost: for how many jobs it counts, from 1 to a million.

        Raises:
            UsageError: no worker has run a queue that has this rate; or the rate goes by a key and
                none was given; or it goes by none, and one was.
            ValueError: `key` is no text that the database can hold, or `cost` is out of range.
            JobRecordFetchQueryError: the database failed. The turn may have been taken.
        """
        await trio.lowlevel.checkpoint()
        key = self._key if key is None else _check_key(key)
        given: object = cost
        if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= _HIGHEST_COST:
            raise ValueError(f"cost must be a whole number from 1 to 1,000,000, not {given!r:.80}")
        try:
            turn = await self._runtime.store.take_turn(self._name, key=key, cost=cost)
        except StatementFailed as failure:
            raise_query_error(failure)
        if turn is None:
            raise UsageError(
                f"no worker has run a queue with the rate {self._name!r}: a rate that a queue has"
                " to itself has the name of the queue"
            )
        if turn.wait is None:
            how = "goes by a key: give one" if turn.has_key else "goes by no key: give none"
            raise UsageError(f"the rate {self._name!r} {how}")
        await trio.sleep(turn.wait)


def limiter_of(
    runtime: Runtime,
    holders: Holders,
    what: BaseQueue[Any, Any, Any] | Limit | Rate | str,
    key: str | None,
    lease: Duration,
) -> Limiter:
    """See `M25.limiter`."""
    length = as_timedelta(lease, "lease", ValueError)
    if not _SHORTEST_LEASE <= length <= _LONGEST_LEASE:
        raise ValueError(f"lease must be from a second to a day, not {lease!r:.80}")
    name, limit = _named(what)
    declared = None if limit is None else DeclaredLimit(limit.size, limit.path)
    key = None if key is None else _check_key(key)
    return Limiter(runtime, holders, name, key=key, lease=length, declared=declared)


def _check_key(key: str) -> str:
    return check_text(key, "key", ValueError)[:LONGEST_KEY]


def _named(what: BaseQueue[Any, Any, Any] | Limit | Rate | str) -> tuple[str, Limit | None]:
    """The name of what is meant, and what is declared of it where it is a limit."""
    if isinstance(what, Limit | Rate):
        if what.name is None:
            kind = type(what).__name__
            raise UsageError(
                f"a {kind} that is used outside of its queue needs a name, by which all processes"
                f' know it: m25.{kind}(…, name="…"); or give the queue that has it'
            )
        return what.name, what if isinstance(what, Limit) else None
    if not isinstance(what, Queue):
        return name_of(what), None
    name = what.limiter_name
    if name is None:
        raise UsageError(
            f"queue {what.name!r} has neither a limit nor a rate: declare it with"
            " limit=m25.Limit(…) or rate=m25.Rate(…)"
        )
    return name, what.limit
