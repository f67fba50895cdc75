"""The way of a call to the store in memory and back, and what may happen on it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal, TypeAlias

import trio

from ... import pg
from ..._completion import complete
from ...pg._wire import CLEAN_UP
from ..failures import Sorting, StatementFailed
from .clock import Clock

#: Awaited with the name of a call, before it is applied and after: it may raise
#: `psycopg.OperationalError`, as a connection does that dies on the way there or back, and the call
#: fails as it would on a database; take its time; or never return.
Fault: TypeAlias = Callable[[str, Literal["before", "after"]], Awaitable[None]]


class Way:
    """One for each store."""

    def __init__(self, clock: Clock, fault: Fault | None) -> None:
        self._clock = clock
        self._fault = fault
        self._watchers = trio.lowlevel.ParkingLot()

    async def wait_for_change(self) -> None:
        """Wait until some call has been applied."""
        await self._watchers.park()

    @asynccontextmanager
    async def call(self, name: str, *, is_awaited: bool = False) -> AsyncGenerator[int]:
        """A block in which a call is applied; yields the time there.

        The body never awaits: whatever it does is done at once, as by one statement. A cancellation
        of a call that `is_awaited` waits for the answer.
        """
        await trio.lowlevel.checkpoint()
        if self._fault is not None:
            with Sorting(name):
                await self._fault(name, "before")
        yield self._clock.now()
        self._watchers.unpark_all()
        if not is_awaited:
            await self._return(name)
        elif self._fault is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            with Sorting(name):
                await self._return_surely(name)

    async def _return(self, name: str) -> None:
        if self._fault is not None:
            with Sorting(name):
                await self._fault(name, "after")
        await trio.lowlevel.checkpoint()

    async def _return_surely(self, name: str) -> None:
        try:
            await complete(partial(self._return, name), CLEAN_UP)
        except (StatementFailed, trio.TooSlowError) as error:
            # The rows are there, and the caller cannot know.
            raise pg.OutcomeUnknown("no answer has come") from error


def refuse_connection(connection: object) -> None:
    """Refuse to take part in a transaction.

    Raises:
        TypeError: a connection is given.
    """
    if connection is not None:
        raise TypeError(
            "a MemoryStore is no database, and cannot take part in a connection's transaction: "
            f"connection must be None, not {connection!r}"
        )
