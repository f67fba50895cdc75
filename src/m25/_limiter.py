"""`m.limiter(…)`: turns of a rate, for what is no job."""

from __future__ import annotations

from typing import Any, Final

import trio

from ._base_queue import BaseQueue
from ._errors import UsageError
from ._operator import name_of
from ._query import raise_query_error
from ._queue import Queue
from ._runtime import Runtime
from ._store.failures import StatementFailed
from ._store.lanes import LONGEST_KEY
from ._text import check_text

#: As much as a job may cost.
_HIGHEST_COST: Final = 1_000_000


class Limiter:
    """A rate of queues, of which other code takes turns: `await m.limiter("mailer").take()`.

    It is made by `M25.limiter`. The jobs of the queues that have the rate, and all who take turns
    of it, in whatever processes, go by the same clock.
    """

    def __init__(self, runtime: Runtime, name: str) -> None:
        self._runtime = runtime
        self._name = name

    @property
    def name(self) -> str:
        """That of the rate."""
        return self._name

    async def take(self, *, key: str | None = None, cost: int = 1) -> None:
        """Wait for a turn of the rate.

        The turn is taken at once, and then waited for: those who ask have theirs in the order in
        which they ask, each with one statement, and before jobs that have not begun. Where the wait
        is cancelled, the turn is spent.

        Args:
            key: whose clock it is, where the rate has a key: as text what its path leads to in the
                jobs' inputs.
            cost: for how many jobs it counts, from 1 to a million.

        Raises:
            UsageError: no worker has run a queue that has this rate; or the rate goes by a key and
                none was given; or it goes by none, and one was.
            ValueError: `key` is no text that the database can hold, or `cost` is out of range.
            JobRecordFetchQueryError: the database failed. The turn may have been taken.
        """
        await trio.lowlevel.checkpoint()
        if key is not None:
            key = check_text(key, "key", ValueError)[:LONGEST_KEY]
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


def limiter_of(runtime: Runtime, rate: BaseQueue[Any, Any, Any] | str) -> Limiter:
    """See `M25.limiter`."""
    if not isinstance(rate, Queue):
        return Limiter(runtime, name_of(rate))
    name = rate.limiter_name
    if rate.rate is None or name is None:
        raise UsageError(f"queue {rate.name!r} has no rate: declare it with rate=m25.Rate(…)")
    return Limiter(runtime, name)
