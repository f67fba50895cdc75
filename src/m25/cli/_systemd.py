"""What systemd is told of a service of `Type=notify`; nothing where there is no systemd.

The protocol is that of sd_notify(3): a datagram to the socket that the environment names.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final

import trio

#: What systemd gives to one process, and is not for those that it starts.
VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


def notify(state: str) -> None:
    """Say how this service is: `READY=1`, `STOPPING=1` or `WATCHDOG=1`."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # It has begun with an @ where the address is one without a file.
    address = "\0" + address[1:] if address.startswith("@") else address
    # A service goes on whether it is heard or not.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_systemd,
    ):
        to_systemd.setblocking(False)
        to_systemd.sendto(state.encode(), address)


async def feed_watchdog() -> None:
    """Say that this service is alive, twice in the time after which it would be started again."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    await trio.lowlevel.checkpoint()
    if microseconds.isdecimal() and int(microseconds):
        while True:
            notify("WATCHDOG=1")
            await trio.sleep(int(microseconds) / 2_000_000)


def without(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what is for this process alone."""
    return {name: value for name, value in environment.items() if name not in VARIABLES}
