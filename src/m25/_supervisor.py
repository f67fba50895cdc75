"""Runs a service again after a failure, so that no failure inside m25 ends the program."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from ._cancelling import forget_reasons
from ._events import ServiceFailed
from ._runtime import Runtime
from .pg._backoff import Backoff

#: A run of at least this many seconds went well: a failure after it is the first in a row again.
RAN_WELL: Final = 25.0


async def keep_running(
    service: str, run: Callable[[], Awaitable[None]], runtime: Runtime, *, queue: str | None = None
) -> None:
    """Run a service until it returns or is cancelled; where it fails, run it again after a pause.

    Args:
        service: the service's name, in words, for the event.
        run: runs the service once.
        queue: the name of the queue that the service belongs to, if it belongs to one.
    """
    backoff = Backoff(rng=runtime.rng)
    while True:
        began = trio.current_time()
        try:
            await run()
            return
        except Exception as error:  # noqa: BLE001 - it is emitted, and tried again
            if trio.current_time() - began > RAN_WELL:
                backoff.worked()
            pause = backoff.failed()
            forget_reasons(error)
            runtime.events.emit(
                ServiceFailed(service=service, queue=queue, error=error, pause=pause)
            )
            await trio.sleep(pause)
