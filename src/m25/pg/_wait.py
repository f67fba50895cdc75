"""Who waits: psycopg's protocol steps are generators that ask for a socket to be ready, and here
Trio sees to it.

A step that can go on without waiting does, so that a reply that is there already costs no task
switch; but not for longer than `_BUSY` at a time, or a large copy would starve the other tasks.
"""

from __future__ import annotations

import math
import select
from typing import Final, TypeVar

import psycopg
import trio
from psycopg import errors
from psycopg.abc import PQGen, PQGenConn
from psycopg.waiting import Ready, Wait

T = TypeVar("T")

#: How long a step may keep the other tasks waiting, in seconds.
_BUSY: Final = 0.005


async def wait(steps: PQGen[T], fileno: int, timeout: float | None = None) -> T:
    """Run the steps of one operation on a connection's socket to their result.

    Raises:
        psycopg.errors._WaitTimeout: it took longer than `timeout` seconds.
        psycopg.OperationalError: the socket was closed.
    """
    if timeout is None:
        return await _run(steps, fileno)
    with trio.move_on_after(timeout):
        return await _run(steps, fileno)
    raise _timed_out()


async def wait_connecting(steps: PQGenConn[T], timeout: float | None = None) -> T:
    """The same for steps that name the socket each time, which may change as they go.

    Raises:
        psycopg.errors._WaitTimeout: it took longer than `timeout` seconds.
    """
    with trio.move_on_after(math.inf if timeout is None else timeout):
        try:
            fileno, wanted = next(steps)
            while True:
                fileno, wanted = steps.send(await _ready(fileno, wanted))
        except StopIteration as done:
            await trio.lowlevel.checkpoint()
            result: T = done.value
            return result
        except (OSError, trio.ClosedResourceError) as error:
            raise psycopg.OperationalError("connection socket closed") from error
    raise _timed_out()


async def _run(steps: PQGen[T], fileno: int) -> T:
    busy_until = -math.inf
    try:
        wanted = next(steps)
        while True:
            # The first thing waited for is mostly an answer that cannot be there yet; what follows
            # often is.
            ready = Ready.NONE
            if busy_until > -math.inf or wanted & Wait.W:
                ready = _poll(fileno, wanted)
                if ready and trio.current_time() > busy_until > -math.inf:
                    await trio.lowlevel.checkpoint()
                    busy_until = trio.current_time() + _BUSY
            if not ready:
                ready = await _ready(fileno, wanted)
                busy_until = trio.current_time() + _BUSY
            elif busy_until == -math.inf:
                busy_until = trio.current_time() + _BUSY
            wanted = steps.send(ready)
    except StopIteration as done:
        if busy_until == -math.inf:
            # Nothing had to be waited for; but every call is a checkpoint.
            await trio.lowlevel.checkpoint()
        result: T = done.value
        return result
    except (OSError, trio.ClosedResourceError) as error:
        raise psycopg.OperationalError("connection socket closed") from error


async def _ready(fileno: int, wanted: Wait) -> Ready:
    if wanted == Wait.R:
        await trio.lowlevel.wait_readable(fileno)
        return Ready.R
    if wanted == Wait.W:
        await trio.lowlevel.wait_writable(fileno)
        return Ready.W
    ready = Ready.NONE

    async def become(state: Ready) -> None:
        nonlocal ready
        if state is Ready.R:
            await trio.lowlevel.wait_readable(fileno)
        else:
            await trio.lowlevel.wait_writable(fileno)
        ready |= state
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(become, Ready.R)
        nursery.start_soon(become, Ready.W)
    return ready


if hasattr(select, "poll"):

    def _poll(fileno: int, wanted: Wait) -> Ready:
        """What of it the socket is ready for now."""
        poll = select.poll()
        mask = (select.POLLIN if wanted & Wait.R else 0) | (
            select.POLLOUT if wanted & Wait.W else 0
        )
        poll.register(fileno, mask)
        ready = Ready.NONE
        for _, event in poll.poll(0):
            if event & select.POLLOUT:
                ready |= Ready.W
            # An error or a hang-up is for the one who reads to find.
            if event & ~select.POLLOUT and wanted & Wait.R:
                ready |= Ready.R
        return ready

else:

    def _poll(fileno: int, wanted: Wait) -> Ready:
        """What of it the socket is ready for now."""
        readable, writable, _ = select.select(
            [fileno] if wanted & Wait.R else [], [fileno] if wanted & Wait.W else [], [], 0
        )
        return (Ready.R if readable else Ready.NONE) | (Ready.W if writable else Ready.NONE)


def _timed_out() -> Exception:
    return errors._WaitTimeout("wait timeout expired")
