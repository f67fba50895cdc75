"""Waiting for a lock that another open transaction holds, without holding a connection meanwhile.

The server waits for the lock for a moment only. Then the call is made again and again, with pauses
that grow. The calls that wait take turns, so that they use two connections of the pool at most,
however many they are.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from typing import Any, Final, TypeVar

import trio

from . import pg
from ._store.failures import StatementFailed
from .pg._backoff import Backoff

T = TypeVar("T")

#: How long the server waits for a lock at the first try: long enough for most commits to end.
FIRST_WAIT: Final = timedelta(milliseconds=50)
#: How long it waits at each later try.
_LATER_WAIT: Final = timedelta(milliseconds=10)
#: The first and the longest pause between two tries, in seconds.
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5


def lock_pauses(rng: random.Random | None = None) -> Backoff:
    """The pauses before what somebody has locked is tried again."""
    return Backoff(_FIRST_PAUSE, _LONGEST_PAUSE, rng)


class LockWaits:
    """One for each client.

    Args:
        check_open: called before each try; raises where the client is closed.
    """

    def __init__(self, check_open: Callable[[], None]) -> None:
        self._check_open = check_open
        # All jobs of a batch that met a lock come here, and most of them meet none when they are
        # tried alone. So first tries do not queue up behind the tries of calls that have waited.
        self._first_tries = trio.Lock()
        self._later_tries = trio.Lock()
        #: How many of the calls that wait are about an id or a key.
        self._names = Counter[str]()

    def is_waited_for(self, names: Collection[str]) -> bool:
        """Whether a call that waits is about one of these ids or keys."""
        return not self._names.keys().isdisjoint(names)

    async def update(
        self,
        call: Callable[..., Awaitable[T]],
        id: str,
        connection: pg.AsyncConnection[Any] | None,
    ) -> T:
        """Make a call of the store about one row, which somebody may have locked.

        On a connection of the caller's the row is waited for there.

        Raises:
            StatementFailed: the call failed for another reason.
        """
        if connection is not None:
            return await call(connection)
        if not self.is_waited_for([id]):
            try:
                return await call(lock_wait=FIRST_WAIT)
            except StatementFailed as failure:
                if not failure.waits_for_lock:
                    raise
        return await self.run(lambda lock_wait: call(lock_wait=lock_wait), [id])

    async def run(
        self, call: Callable[[timedelta], Awaitable[T]], names: Collection[str] = ()
    ) -> T:
        """Make a call until it meets no lock; it is given how long it may wait for one.

        `names` are the ids and keys that the call is about.

        Raises:
            StatementFailed: the call failed for another reason.
        """
        backoff = lock_pauses()
        turn = self._first_tries
        self._names.update(names)
        try:
            while True:
                async with turn:
                    self._check_open()
                    try:
                        return await call(_LATER_WAIT)
                    except StatementFailed as failure:
                        if not failure.waits_for_lock:
                            raise
                await trio.sleep(backoff.failed())
                turn = self._later_tries
        finally:
            self._names.subtract(names)
            self._names = +self._names  # without those counted down to zero
