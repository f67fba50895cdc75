"""Waiting: psycopg's protocol steps are generators that ask for a socket to be ready, and here Trio
waits until it is.
"""

from __future__ import annotations

import errno
import math
import os
import select
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import psycopg
import trio
from psycopg import errors
from psycopg.abc import PQGenConn
from psycopg.waiting import Ready, Wait
from trio.lowlevel import wait_readable, wait_writable

T = TypeVar("T")

# As plain integers: arithmetic on psycopg's enumerations costs more than a look at a socket.
READ: Final = int(Wait.R)
WRITE: Final = int(Wait.W)
_READY_READ: Final = int(Ready.R)
_READY_WRITE: Final = int(Ready.W)


async def until_ready(fileno: int, wanted: int) -> int:
    """Wait until a socket is ready to be read or written, as wanted, and return for which.

    Raises:
        psycopg.OperationalError: the socket was closed.
    """
    try:
        if wanted == READ:
            await wait_readable(fileno)
            return _READY_READ
        if wanted == WRITE:
            await wait_writable(fileno)
            return _READY_WRITE
        return await _until_either(fileno)
    except (OSError, trio.ClosedResourceError) as error:
        raise psycopg.OperationalError("connection socket closed") from error


async def _until_either(fileno: int) -> int:
    ready = 0
    failure: Exception | None = None

    async def until(becomes_ready: Callable[[int], Awaitable[None]], state: int) -> None:
        nonlocal ready, failure
        try:
            await becomes_ready(fileno)
        except (OSError, trio.ClosedResourceError) as error:
            # Raised here, the error would come out of the nursery in a group.
            failure = error
        else:
            ready |= state
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(until, wait_readable, _READY_READ)
        nursery.start_soon(until, wait_writable, _READY_WRITE)
    if failure is not None:
        raise failure
    return ready


if hasattr(select, "poll"):

    def make_look(fileno: int) -> Callable[[int], int]:
        """Make a function that tells for what of the wanted a socket is ready, without waiting."""
        poll = select.poll()
        masks = {
            READ: select.POLLIN,
            WRITE: select.POLLOUT,
            READ | WRITE: select.POLLIN | select.POLLOUT,
        }
        watched = READ
        poll.register(fileno, masks[READ])

        def look(wanted: int) -> int:
            nonlocal watched
            if wanted != watched:
                poll.modify(fileno, masks[wanted])
                watched = wanted
            for _, event in poll.poll(0):
                if event & select.POLLNVAL:
                    raise psycopg.OperationalError("connection socket closed") from OSError(
                        errno.EBADF, os.strerror(errno.EBADF)
                    )
                # An error or a hang-up counts as ready: reading or writing will raise it.
                return (wanted & READ if event & ~select.POLLOUT else 0) | (
                    wanted & WRITE if event & ~select.POLLIN else 0
                )
            return 0

        return look

else:

    def make_look(fileno: int) -> Callable[[int], int]:
        """Make a function that tells for what of the wanted a socket is ready, without waiting."""

        def look(wanted: int) -> int:
            readable, writable, _ = select.select(
                [fileno] if wanted & READ else [], [fileno] if wanted & WRITE else [], [], 0
            )
            return (_READY_READ if readable else 0) | (_READY_WRITE if writable else 0)

        return look


async def connecting(steps: PQGenConn[T], timeout: float | None = None) -> T:
    """Run the steps that make a connection, or a cancel request; they name the socket each time.

    Raises:
        psycopg.errors._WaitTimeout: it took longer than `timeout` seconds.
        psycopg.OperationalError: it failed, or the socket was closed.
    """
    with trio.move_on_after(math.inf if timeout is None else timeout):
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            fileno, wanted = next(steps)
            while True:
                ready: Any = await until_ready(fileno, wanted)
                fileno, wanted = steps.send(ready)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            # A half-made connection is closed now, not when the last traceback is dropped.
            steps.close()
    raise errors._WaitTimeout("wait timeout expired")
