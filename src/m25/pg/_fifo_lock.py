"""The lock of a connection: tasks that share it have it one after the other, first come first
served.
"""

from __future__ import annotations

from types import TracebackType

from trio.lowlevel import ParkingLot

from ._wire import Wire


class FifoLock:
    """`async with lock:` is the sole use of the wire. psycopg takes the lock for each operation.

    It is not a `trio.Lock`, for three reasons. A `trio.Lock` belongs to a task, and a generator
    that holds the lock may be closed in another task. Taking a free `trio.Lock` is a pass through
    Trio's loop, which the operation itself will make anyway. And when this lock is let go, however
    the operation ended, it sees to it that the next task does not find the wire busy.
    """

    __slots__ = ("_queue", "_taken", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._taken = False
        self._queue = ParkingLot()

    def locked(self) -> bool:
        """Whether a task holds the lock."""
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
            # The lock stays taken for the task that is woken: no other can slip in between.
            if self._queue:
                self._queue.unpark()
            else:
                self._taken = False
