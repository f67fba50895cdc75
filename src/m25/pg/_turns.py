"""The lock of a connection: tasks that share it take turns, in the order in which they came."""

from __future__ import annotations

from types import TracebackType

from trio.lowlevel import ParkingLot

from ._wire import Wire


class Turns:
    """`async with turns:` is one turn on the wire. psycopg takes one for each operation.

    It is not a `trio.Lock` for three reasons. That belongs to a task, and a generator which holds a
    turn may be closed in another. Taking it when it is free is a pass through Trio's loop, which
    the operation itself will make anyway. And a turn sees to it, however it ends, that the next one
    does not find the wire busy.
    """

    __slots__ = ("_queue", "_taken", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._taken = False
        self._queue = ParkingLot()

    def locked(self) -> bool:
        """Whether it is somebody's turn."""
        return self._taken

    async def __aenter__(self) -> None:
        if self._taken:
            await self._queue.park()
        self._taken = True

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        try:
            if self._wire.is_busy:
                await self._wire.settle()
        finally:
            # It stays taken for the one who is woken: nobody can slip in between.
            if self._queue:
                self._queue.unpark()
            else:
                self._taken = False
