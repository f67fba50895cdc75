"""Transaction blocks, which are left in order by a cancelled task too."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import trio
from psycopg import AsyncTransaction

from ._wire import CLEAN_UP, INTERRUPTIONS


class Transaction(AsyncTransaction):
    """psycopg's; left by a cancelled task it is rolled back too, or the connection is closed."""

    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except INTERRUPTIONS as interruption:
            # psycopg undoes what it began; under a cancellation it cannot.
            await self._roll_back(interruption)
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        if exc_val is not None:
            return await self._roll_back(exc_val)
        try:
            return await super().__aexit__(None, None, None)
        except INTERRUPTIONS as interruption:
            # A commit that was already under way has ended.
            await self._roll_back(interruption)
            raise

    async def _roll_back(self, error: BaseException) -> bool:
        if self.status is not self.Status.ACTIVE:
            return False
        with trio.move_on_after(CLEAN_UP, shield=True):
            return await super().__aexit__(type(error), error, error.__traceback__)
        await self.connection.close()
        return False
