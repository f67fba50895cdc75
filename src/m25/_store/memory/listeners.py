"""Who listens to notifications in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterable
from contextlib import contextmanager
from typing import Generic, TypeVar

import trio

from ...pg._wakeup import Wakeup
from ..protocol import CancelAsked, Hinted, QueueChanged, StackAsked

T = TypeVar("T")


class _Listener(AsyncIterator[T | None], Generic[T]):
    """What has come and was not taken in yet, each once: so nothing is lost and nothing grows."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._wakeup = Wakeup()
        # `None` is the first that comes, as nobody knows what was missed before.
        self._waiting: dict[T | None, None] = {None: None}
        self._wakeup.set()

    def notify(self, name: str, what: T) -> None:
        if name in self._names:
            self._waiting[what] = None
            self._wakeup.set()

    async def __anext__(self) -> T | None:
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            await self._wakeup.wait()
        what = next(iter(self._waiting))
        del self._waiting[what]
        return what


class Listeners:
    """All listeners of a store."""

    def __init__(self) -> None:
        self._workers: list[_Listener[Hinted]] = []
        self._waiters: list[_Listener[str]] = []

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

    @contextmanager
    def add(self, queue_names: Iterable[str]) -> Generator[AsyncIterator[Hinted | None]]:
        """Listen as the workers of these queues do."""
        listener = _Listener[Hinted](queue_names)
        with _among(self._workers, listener):
            yield listener

    @contextmanager
    def add_waiter(self, channels: Iterable[str]) -> Generator[AsyncIterator[str | None]]:
        """Listen on these channels for the ends of chains."""
        listener = _Listener[str](channels)
        with _among(self._waiters, listener):
            yield listener


@contextmanager
def _among(listeners: list[_Listener[T]], listener: _Listener[T]) -> Generator[None]:
    listeners.append(listener)
    try:
        yield
    finally:
        listeners.remove(listener)
