"""Runs a service again when it fails: what fails inside m25 ends no program."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from ._events import ServiceFailed
from ._runtime import Runtime
from .pg._backoff import Backoff

#: A service that ran this long, in seconds, did not fail in a row with its run before.
_RAN_WELL: Final = 25.0


async def keep_running(
    service: str, run: Callable[[], Awaitable[None]], runtime: Runtime, *, queue: str | None = None
) -> None:
    """Run a service until it returns or is cancelled, again and again where it fails.

    Args:
        service: what it is, in words, for the event.
        run: one run of it.
        queue: the queue that it belongs to, if it belongs to one.
    """
    backoff = Backoff(rng=runtime.rng)
    while True:
        began = trio.current_time()
        try:
            await run()
            return
        except Exception as error:  # noqa: BLE001 - told, and tried again
            if trio.current_time() - began > _RAN_WELL:
                backoff.worked()
            pause = backoff.failed()
            runtime.events.emit(
                ServiceFailed(service=service, queue=queue, error=error, pause=pause)
            )
            await trio.sleep(pause)
