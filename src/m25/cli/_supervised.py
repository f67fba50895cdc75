"""What a worker's process and its supervisor have between them: a pipe, and the process's stdin."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Final

import trio

#: What a process says on the pipe, again and again.
READY: Final = b"+"
NOT_READY: Final = b"-"
#: How often it does, in seconds.
_PULSE: Final = 1.0


async def report(is_ready: Callable[[], bool], pipe: int) -> None:
    """Tell the supervisor how this process is, until cancelled."""
    async with trio.lowlevel.FdStream(pipe) as stream:
        # Without a supervisor this process stops by itself.
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(READY if is_ready() else NOT_READY)
                await trio.sleep(_PULSE)


async def wait_until_alone(alone: trio.Event) -> None:
    """Set an event at the end of stdin: the supervisor has closed it, or is gone."""
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        while await stdin.receive_some(100):
            pass
    alone.set()
