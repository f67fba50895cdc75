"""Who listens to notifications in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager

import attrs
import trio


@attrs.frozen(eq=False)
class _Listener:
    queue_names: frozenset[str]
    channel: trio.MemorySendChannel[str | None]

    def notify(self, name: str) -> None:
        # What was not taken in yet is summed up, so that nothing is lost and nothing grows: behind
        # a name that waits goes one `None`, which says "any queue", and behind that nothing more.
        waiting = self.channel.statistics().current_buffer_used
        if name in self.queue_names and waiting < 2:
            self.channel.send_nowait(None if waiting else name)


class Listeners:
    """All listeners of a store."""

    def __init__(self) -> None:
        self._all: list[_Listener] = []

    def notify(self, queue_names: Sequence[str]) -> None:
        """Let all know whom it concerns that there may be work on these queues."""
        for listener in self._all:
            for name in queue_names:
                listener.notify(name)

    @contextmanager
    def add(self, queue_names: Sequence[str]) -> Generator[AsyncIterator[str | None]]:
        """Listen; the first that comes is `None`, as nobody knows what was missed before."""
        send, receive = trio.open_memory_channel[str | None](2)
        listener = _Listener(frozenset(queue_names), send)
        send.send_nowait(None)
        self._all.append(listener)
        try:
            with send, receive:
                yield receive
        finally:
            self._all.remove(listener)
