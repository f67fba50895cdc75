"""Gives each event to each listener that wants it.

A listener is somebody else's code, and it is called in the midst of m25's own steps. So whatever a
listener raises goes no further; it is reported to `sys.unraisablehook`, as Python does for
`__del__`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from ._events import Event


class Listener(Protocol):
    """An object that is given events. It is called in Trio's thread, and must not block."""

    def wants(self, event_class: type[Event], /) -> bool:
        """Whether events of this class are wanted now; asked for each one, so it must be quick."""
        ...

    def __call__(self, event: Event, /) -> None:
        """Take an event."""
        ...


def check_listeners(listeners: object) -> None:
    """Check what is to be given events.

    Raises:
        TypeError: it is no sequence of listeners.
    """
    if not isinstance(listeners, Sequence) or isinstance(listeners, str):
        raise TypeError(f"listeners must be a sequence of listeners, not {listeners!r:.80}")
    for number, each in enumerate(cast("Sequence[object]", listeners)):
        if not (callable(each) and callable(getattr(each, "wants", None))):
            raise TypeError(
                f"listeners[{number}] must be called with an event and have a method wants(), as"
                f" m25.instrumentation.Listener has it: {each!r:.80} is not so"
            )


class Emitter:
    """One for each client."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = listeners

    def wants(self, event_class: type[Event]) -> bool:
        """Whether any listener wants events of this class: where none does, none need be made."""
        for listener in self.listeners:
            try:
                if listener.wants(event_class):
                    return True
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a listener is anybody's code
                _ListenerFailure(error)
        return False

    def emit(self, event: Event) -> None:
        """Give an event to the listeners that want it; only `KeyboardInterrupt` is raised."""
        for listener in self.listeners:
            try:
                if listener.wants(type(event)):
                    listener(event)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a listener is anybody's code
                _ListenerFailure(error)


class _ListenerFailure:
    """Has Python report an exception: it calls `sys.unraisablehook` with what `__del__` raises.

    The hook cannot be called from here: Python's own takes arguments of a class that only the
    interpreter can make. And should the hook fail as well, Python sees to that, too.
    """

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __del__(self) -> None:
        raise self._error
