"""A nursery for what runs behind an object that is used by `async with`."""

from __future__ import annotations

from types import TracebackType
from typing import cast

import trio


class Background:
    """`async with Background() as nursery:` cancels what runs in the nursery when the block is
    left.

    Unlike a bare nursery it leaves an exception of the block as it is, in no group of its own: the
    user of an object need not know that tasks run behind it.
    """

    def __init__(self) -> None:
        self._manager = trio.open_nursery()
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> trio.Nursery:
        self._nursery = await self._manager.__aenter__()
        return self._nursery

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()
        if exc_val is None or _is_cancelled(exc_val):
            return bool(await self._manager.__aexit__(exc_type, exc_val, exc_tb))
        # A nursery that is not told of the exception does not wrap it in a group.
        await self._manager.__aexit__(None, None, None)
        return False


def _is_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return any(_is_cancelled(each) for each in group.exceptions)
    return isinstance(error, trio.Cancelled)
