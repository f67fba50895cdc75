"""A nursery for what runs behind an object that is used by `async with`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import cast

import trio


def check_in_trio(what: str) -> None:
    """Refuse to go on outside a Trio task.

    Raises:
        RuntimeError: this is no Trio task.
    """
    if not trio.lowlevel.in_trio_task():
        raise RuntimeError(
            f"{what} works in a Trio task only, as in trio.run(main); for asyncio there are psycopg"
            " and psycopg_pool"
        )


class Background:
    """`async with Background() as nursery:` cancels what runs in the nursery when the block is
    left.

    Unlike a bare nursery it leaves an exception of the block as it is, in no group of its own: the
    user of an object need not know that tasks run behind it.

    Args:
        what: the object, for messages.
    """

    def __init__(self, what: str = "this object") -> None:
        self._what = what
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> trio.Nursery:
        """Open the nursery.

        Raises:
            RuntimeError: this is no Trio task, or the nursery was opened before.
        """
        check_in_trio(self._what)
        if self._manager is not None:
            raise RuntimeError(f"{self._what} can be entered once: make another")
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        return self._nursery

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        assert self._manager is not None
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()
        if exc_val is None or _is_cancelled(exc_val):
            return bool(await self._manager.__aexit__(exc_type, exc_val, exc_tb))
        try:
            # A nursery that is not told of the exception does not wrap it in a group.
            await self._manager.__aexit__(None, None, None)
        except BaseException as error:
            # Where a scope around it is cancelled, the exception must not be lost for that. The
            # cancellation comes again, at the next checkpoint.
            if not _is_only_cancelled(error):
                raise
        return False


def _is_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return any(_is_cancelled(each) for each in group.exceptions)
    return isinstance(error, trio.Cancelled)


def _is_only_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return all(_is_only_cancelled(each) for each in group.exceptions)
    return isinstance(error, trio.Cancelled)
