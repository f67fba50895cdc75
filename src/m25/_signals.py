"""Waiting until the program is asked to end."""

from __future__ import annotations

import signal
from typing import Final

import trio

from ._in_trio import check_in_trio

#: Ctrl-C, and what a supervisor sends: systemd, Kubernetes, Heroku.
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


async def until_signal() -> signal.Signals:
    """Wait for Ctrl-C or SIGTERM, and return which it was.

    At the end of a service's `async with m25.open(...)` block: the block is then left in the
    orderly way, and running handlers have `shutdown_grace` to finish. A second Ctrl-C raises
    `KeyboardInterrupt`, as always with Trio, and ends the handlers at once.

    Raises:
        RuntimeError: called outside the main thread, where Python delivers no signals.
        UsageError: called outside of Trio.
    """
    check_in_trio("m25.until_signal")
    with trio.open_signal_receiver(*SIGNALS) as signals:
        async for number in signals:
            return signal.Signals(number)
    raise AssertionError("signals do not end")
