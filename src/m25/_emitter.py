"""The way from what happens to those who want to know: an event goes to each listener.

A listener is somebody else's code, and it is called in the midst of m25's own steps. So whatever
one raises stays here; it is told to `sys.unraisablehook`, as Python does for `__del__`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any, Protocol

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
                _report(error, listener, event_class)
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
                _report(error, listener, type(event))


def _report(error: BaseException, listener: Listener, event_class: type[Event]) -> None:
    # Python's own hook takes an instance of this class and nothing else; typeshed does not say that
    # the class can be called.
    make_args: Any = sys.UnraisableHookArgs  # pyright: ignore[reportGeneralTypeIssues]
    message = f"A listener failed to hear of {event_class.__name__}"
    args = make_args((type(error), error, error.__traceback__, message, listener))
    # The hook can be anybody's, too.
    with contextlib.suppress(Exception):
        sys.unraisablehook(args)
