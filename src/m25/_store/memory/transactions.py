"""A handler's transaction where the job table is in memory, and its connection is a test's."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import psycopg

from ..protocol import Fenced, Kept, Locked, NewStep, Outcome, WriteResult
from .way import Way


@attrs.frozen
class Writes:
    """What a transaction writes to the store; told to only look, the first two write nothing."""

    keep_step: Callable[[NewStep, int, bool], Kept | Locked | Fenced]
    settle: Callable[[Outcome, int, int, bool], WriteResult]
    lock: Callable[[str], None]
    unlock: Callable[[str], None]


class MemoryTransaction:
    """See `Transaction` in the protocol.

    What it writes is written at the commit. Until then its row is locked, as a database has it.
    """

    def __init__(self, connection: Any, block: Any, store: Writes, way: Way) -> None:
        self._connection = connection
        self._block = block
        self._store = store
        self._way = way
        self._writes: list[Callable[[int], object]] = []
        self._locked: set[str] = set()
        self._has_ended = False

    @property
    def connection(self) -> Any:
        """The test's connection."""
        return self._connection

    @property
    def is_lost(self) -> bool:
        """See `Transaction` in the protocol. A test's connection is the test's to look after."""
        return False

    async def keep_step(self, step: NewStep) -> Kept | Locked | Fenced:
        """See `Transaction` in the protocol."""
        async with self._way.call("keep_steps") as now:
            answer = self._store.keep_step(step, now, True)
            if isinstance(answer, Kept) and answer.is_new:
                self._lock(step.id)
                self._writes.append(lambda now: self._store.keep_step(step, now, False))
        return answer

    async def settle(self, outcome: Outcome, allowed_losses: int) -> WriteResult:
        """See `Transaction` in the protocol."""
        async with self._way.call("settle") as now:
            answer = self._store.settle(outcome, allowed_losses, now, True)
            if answer is WriteResult.SETTLED:
                self._lock(outcome.id)
                self._writes.append(
                    lambda now: self._store.settle(outcome, allowed_losses, now, False)
                )
        return answer

    async def commit(self) -> None:
        """See `Transaction` in the protocol."""
        try:
            async with self._way.call("commit", is_awaited=True) as now:
                self._unlock()
                for write in self._writes:
                    write(now)
                self._has_ended = True
        finally:
            if self._has_ended:
                await self._block.__aexit__(None, None, None)

    async def roll_back(self) -> None:
        """Roll back, unless it has ended."""
        if not self._has_ended:
            self._has_ended = True
            self._unlock()
            await self._block.__aexit__(psycopg.Rollback, psycopg.Rollback(), None)

    def _lock(self, id: str) -> None:
        self._store.lock(id)
        self._locked.add(id)

    def _unlock(self) -> None:
        for id in self._locked:
            self._store.unlock(id)
        self._locked.clear()


@asynccontextmanager
async def open_transaction(
    connection: Any, store: Writes, way: Way
) -> AsyncGenerator[MemoryTransaction]:
    """A savepoint in the test's transaction; on a connection with autocommit, one of its own."""
    if isinstance(connection, psycopg.AsyncConnection) and not connection.autocommit:
        # The transaction is the test's to end, also where it has not begun yet.
        await connection.execute("select")
    block = connection.transaction()
    await block.__aenter__()
    transaction = MemoryTransaction(connection, block, store, way)
    try:
        yield transaction
    finally:
        await transaction.roll_back()
