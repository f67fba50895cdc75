"""A link between a client and the store in memory, which can be cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from m25._store.memory import MemoryStore


class Link:
    """The store, as a client sees it whose link to it may be silent for a while.

    What is asked meanwhile arrives when that is over, and so do the answers to what arrived before.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._open = trio.Event()
        self._open.set()

    def cut(self) -> None:
        """From now on nothing arrives."""
        self._open = trio.Event()

    def mend(self) -> None:
        """All that was held back arrives."""
        self._open.set()

    def __getattr__(self, name: str) -> Any:
        call: Callable[..., Any] = getattr(self._store, name)
        if name in ("listen", "listen_for_ends", "working"):
            return call

        async def asked(*arguments: Any, **options: Any) -> Any:
            await self._open.wait()
            answer = await call(*arguments, **options)
            await self._open.wait()
            return answer

        return asked
