"""Who listens to notifications in memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from ..protocol import CancelAsked, Hinted, QueueChanged, StackAsked

T = TypeVar("T")

#: The channel of all who wait for places of limits outside of jobs.
_ROOM: Final = "room"


class _Listener(Generic[T]):
    def __init__(self, names: Iterable[str], heard: Callable[[T | None], None]) -> None:
        self._names = frozenset(names)
        self._heard = heard
        # Nobody knows what was missed before.
        heard(None)

    def notify(self, name: str, what: T) -> None:
        if name in self._names:
            self._heard(what)


class Listeners:
    """All listeners of a store."""

    def __init__(self) -> None:
        self._workers: list[_Listener[Hinted]] = []
        self._waiters: list[_Listener[str]] = []
        self._room: list[_Listener[str]] = []

    def notify(self, queue_names: Iterable[str]) -> None:
        """Let all know whom it concerns that there may be work on these queues."""
        for listener in self._workers:
            for name in queue_names:
                listener.notify(name, name)

    def ask_to_cancel(self, asked: CancelAsked) -> None:
        """Let all know whom it concerns that a job is to be cancelled."""
        for listener in self._workers:
            listener.notify(asked.queue_name, asked)

    def ask_for_stack(self, asked: StackAsked) -> None:
        """Let all know whom it concerns that a job's stack is asked for."""
        for listener in self._workers:
            listener.notify(asked.queue_name, asked)

    def change_queue(self, queue_name: str) -> None:
        """Let its workers know that a queue was paused or resumed."""
        for listener in self._workers:
            listener.notify(queue_name, QueueChanged(queue_name))

    def chain_ended(self, waiter: str, first_id: str) -> None:
        """Let all know that wait on this channel that a chain has ended."""
        for listener in self._waiters:
            listener.notify(waiter, first_id)

    def has_room(self, limiter: str) -> None:
        """Let all know who wait outside of jobs that a limit may have room."""
        for listener in self._room:
            listener.notify(_ROOM, limiter)

    @contextmanager
    def add_for_room(self, heard: Callable[[str | None], None]) -> Generator[None]:
        """Listen for limits that may have room."""
        with _among(self._room, _Listener[str]((_ROOM,), heard)):
            yield

    @contextmanager
    def add(
        self, queue_names: Iterable[str], heard: Callable[[Hinted | None], None]
    ) -> Generator[None]:
        """Listen as the workers of these queues do."""
        with _among(self._workers, _Listener[Hinted](queue_names, heard)):
            yield

    @contextmanager
    def add_waiter(
        self, channels: Iterable[str], heard: Callable[[str | None], None]
    ) -> Generator[None]:
        """Listen on these channels for the ends of chains."""
        with _among(self._waiters, _Listener[str](channels, heard)):
            yield


@contextmanager
def _among(listeners: list[_Listener[T]], listener: _Listener[T]) -> Generator[None]:
    listeners.append(listener)
    try:
        yield
    finally:
        listeners.remove(listener)
