"""The way from what happens to those who want to know: an event goes to each listener.

A listener is somebody else's code, and it is called in the midst of m25's own steps. So whatever
one raises stays here; it is told to `sys.unraisablehook`, as Python does for `__del__`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ._events import Event


class Listener(Protocol):
    """Whoever is told of events. It is called in Trio's thread, and must not block."""

    def wants(self, event_class: type[Event], /) -> bool:
        """Whether events of this class are wanted now; asked for each one, so it must be quick."""
        ...

    def __call__(self, event: Event, /) -> None:
        """Hear of an event."""
        ...


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
        """Tell every listener that wants it; nothing but `KeyboardInterrupt` is raised."""
        for listener in self.listeners:
            try:
                if listener.wants(type(event)):
                    listener(event)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - the same
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
