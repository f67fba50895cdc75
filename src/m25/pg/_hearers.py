"""Who hears what is notified, by way of a listener: called at once, or in a task of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import attrs
import trio

from ._wakeup import Wakeup

#: How many payloads of a channel are kept for a subscriber that is busy.
_MOST_PAYLOADS: Final = 1000


@attrs.frozen
class Notification:
    """Somebody notified this channel, once or more often since the last one was received."""

    channel: str
    #: The payloads, each once, in the order in which they were received last.
    payloads: tuple[str, ...]

    @property
    def payload(self) -> str:
        """The latest payload."""
        return self.payloads[-1]


@attrs.frozen
class Gap:
    """Notifications may have been missed before this, on any channel of the subscriber.

    It is the first event that a subscriber receives, once its channels are listened to; it comes
    again after each reconnection, when listening is found to be silent, and when more payloads came
    than are kept.
    """


Event = Notification | Gap


class Hearer(Protocol):
    """Whoever is to hear what is notified on some channels."""

    channels: frozenset[str]
    #: Whether it has yet to be told, by a gap, that its channels are listened to.
    is_new: bool

    def offer_gap(self) -> None: ...

    def offer(self, channel: str, payload: str) -> None: ...


@attrs.define(eq=False)
class Called:
    """A hearer that is called in the listener's own task, as soon as something has come."""

    channels: frozenset[str]
    call: Callable[[Event], None]
    is_new: bool = True

    def offer_gap(self) -> None:
        self.is_new = False
        self.call(Gap())

    def offer(self, channel: str, payload: str) -> None:
        self.call(Notification(channel, (payload,)))


@attrs.define(eq=False)
class Subscriber:
    """A hearer that receives in a task of its own, whenever it comes to it."""

    channels: frozenset[str]
    send: trio.MemorySendChannel[Event]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    is_new: bool = True
    _has_gap: bool = False
    _payloads: dict[str, dict[str, None]] = attrs.field(factory=dict[str, dict[str, None]])
    _offered: Wakeup = attrs.field(factory=Wakeup)

    def offer_gap(self) -> None:
        self.is_new = False
        self._has_gap = True
        self._offered.set()

    def offer(self, channel: str, payload: str) -> None:
        if not (self._has_gap or self._payloads):
            # A receiver that waits has it at once.
            with suppress(trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
                self.send.send_nowait(Notification(channel, (payload,)))
                return
        payloads = self._payloads.setdefault(channel, {})
        # The latest is the last.
        payloads.pop(payload, None)
        payloads[payload] = None
        if len(payloads) > _MOST_PAYLOADS:
            del self._payloads[channel]
            self._has_gap = True
        self._offered.set()

    def pop_next(self) -> Event | None:
        """What to receive next: a gap before the notifications that came after it."""
        if self._has_gap:
            self._has_gap = False
            return Gap()
        for channel in self._payloads:
            return Notification(channel, tuple(self._payloads.pop(channel)))
        return None

    async def pass_on(self) -> None:
        """Send what gathered while the receiver was busy, as fast as it is received."""
        # The receiver may be closed before the subscription ends.
        with suppress(trio.BrokenResourceError), self.scope:
            async with self.send:
                while True:
                    await self._offered.wait()
                    while (event := self.pop_next()) is not None:
                        await self.send.send(event)
