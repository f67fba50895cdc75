"""A runtime for one part of m25 by itself: a store in memory, and a list of what is told."""

from __future__ import annotations

import random

from m25._emitter import Emitter
from m25._events import Event
from m25._runtime import Runtime
from m25._store.memory import MemoryStore
from m25._store.protocol import Store


class Heard(list[Event]):
    """A listener that wants every event, and keeps it."""

    def wants(self, event_class: type[Event], /) -> bool:
        return True

    def __call__(self, event: Event, /) -> None:
        self.append(event)


def a_runtime(heard: Heard | None = None, store: Store | None = None) -> Runtime:
    """A runtime that tells `heard`, with the same waits each time."""
    listeners = [] if heard is None else [heard]
    return Runtime(store or MemoryStore(), Emitter(listeners), random.Random(25))
