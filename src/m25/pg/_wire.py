"""The wire of one connection: runs psycopg's steps on its socket, and ends what was interrupted.

Trio's way to wait for a socket costs a pass of its loop and three system calls. So nothing is
waited for that is there already: once an answer has begun to arrive, and whenever there is
something to send, the socket is looked at first. Only the first thing that is read is waited for
without a look, since the server has hardly had the time to answer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Final, TypeVar

import psycopg
import trio
from psycopg import errors, generators, pq
from psycopg._capabilities import capabilities
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint,
    checkpoint_if_cancelled,
    wait_readable,
)

from ._wait import READ, connecting, looker, until_ready

T = TypeVar("T")

_logger = logging.getLogger("m25.pg")

#: How long, in seconds, ending what was interrupted may take; then the connection is closed.
CLEAN_UP: Final = 5.0
#: How long, in seconds, a query may take to end once the server was asked to cancel it.
_FIRST_PATIENCE: Final = 0.1
#: How long, in seconds, a task may go on with what needs no waiting before the others have a turn.
BUSY: Final = 0.005
#: What ends a task, and is not about the query that it interrupts.
INTERRUPTIONS: Final = (trio.Cancelled, KeyboardInterrupt, SystemExit)

_ACTIVE: Final = pq.TransactionStatus.ACTIVE
_BAD: Final = pq.ConnStatus.BAD


class Wire:
    """What a connection and its lock share: the socket, and when others last had a turn."""

    __slots__ = ("_gave_way_at", "_look", "pgconn")

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self.pgconn = pgconn
        self._gave_way_at = -math.inf
        self._look: Callable[[int], int] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the server is at work on something that nobody has seen the end of."""
        pgconn = self.pgconn
        return pgconn.transaction_status == _ACTIVE and not pgconn.pipeline_status

    def has_input(self) -> bool:
        """Whether there is something to read, be it the end, though nothing was asked."""
        if self._look is None:
            self._look = looker(self.pgconn.socket)
        return bool(self._look(READ))

    async def run(self, steps: PQGen[T], *, looking: bool = False) -> T:
        """Run the steps of an operation to their result.

        It does not ask whether the task is cancelled before it waits: who calls it has. So nothing
        that was done is lost to a cancellation.

        Args:
            looking: whether what is read first may well be there already.

        Raises:
            psycopg.OperationalError: the connection is closed, or is while it runs.
        """
        # It raises where the connection is closed.
        fileno = self.pgconn.socket
        gave_way = False
        try:
            wanted: Any = next(steps)
            if wanted == READ and not looking:
                # As `until_ready` does, but this is the path of every query.
                try:
                    await wait_readable(fileno)
                except (OSError, trio.ClosedResourceError) as error:
                    raise psycopg.OperationalError("connection socket closed") from error
                gave_way = True
                self._gave_way_at = monotonic()
                wanted = steps.send(Ready.R)
            look = self._look
            if look is None:
                look = self._look = looker(fileno)
            while True:
                ready: Any = look(wanted)
                if ready:
                    wanted = steps.send(ready)
                    if monotonic() - self._gave_way_at < BUSY:
                        continue
                    await checkpoint()
                    gave_way = True
                    self._gave_way_at = monotonic()
                else:
                    ready = await until_ready(fileno, wanted)
                    gave_way = True
                    self._gave_way_at = monotonic()
                    wanted = steps.send(ready)
        except StopIteration as done:
            if not gave_way:
                await self._give_way()
            result: T = done.value
            return result

    async def run_for(self, seconds: float, steps: PQGen[T]) -> T:
        """The same, for at most so many seconds; what is there already is taken even in none.

        Raises:
            psycopg.errors._WaitTimeout: it took longer.
        """
        with trio.move_on_after(seconds):
            return await self.run(steps, looking=True)
        raise errors._WaitTimeout("wait timeout expired")

    async def _give_way(self) -> None:
        # In the middle of a copy, a stream or a pipeline, calls with nothing to wait for are many
        # and small: there it is enough that others have a turn now and then.
        now = monotonic()
        if now - self._gave_way_at < BUSY and self.pgconn.transaction_status == _ACTIVE:
            return
        await cancel_shielded_checkpoint()
        self._gave_way_at = now

    async def breathe(self) -> None:
        """Be cancelled if that is due, and let others have a turn if they have waited for long."""
        await checkpoint_if_cancelled()
        if (now := monotonic()) - self._gave_way_at >= BUSY:
            await cancel_shielded_checkpoint()
            self._gave_way_at = now

    async def cancel(self, timeout: float | None) -> None:
        """Ask the server to end what it is doing; it may have ended by itself.

        Raises:
            psycopg.errors._WaitTimeout: the request was not taken within `timeout` seconds.
            psycopg.OperationalError: the server cannot be reached.
        """
        if capabilities.has_cancel_safe():
            request = self.pgconn.cancel_conn()
            request.start()
            await connecting(generators.cancel(request), timeout)
        else:
            # libpq before 17 can only do it blocking.
            await trio.to_thread.run_sync(self.pgconn.get_cancel().cancel, abandon_on_cancel=True)

    async def settle(self, steps: PQGen[Any] | None = None) -> None:
        """End what was interrupted: the connection is then usable, or closed.

        The server is asked to cancel it; `steps`, if given, see its end, as they keep psycopg's own
        books. It is shielded from cancellation, and takes `CLEAN_UP` seconds at most.
        """
        with trio.move_on_after(CLEAN_UP, shield=True) as scope:
            try:
                await self._end(steps)
            except psycopg.Error as error:
                _logger.warning(
                    "an interrupted query cannot be ended; its connection is closed",
                    extra={"error": type(error).__name__},
                )
                self.finish()
            except BaseException:
                self.finish()
                raise
        if scope.cancelled_caught or self.is_busy:
            _logger.warning("an interrupted query does not end; its connection is closed")
            self.finish()

    async def _end(self, steps: PQGen[Any] | None) -> None:
        # A request that overtakes the query finds nothing to cancel: so it is repeated.
        patience = _FIRST_PATIENCE
        while True:
            try:
                await self.cancel(CLEAN_UP)
            except psycopg.Error as error:
                # It may end by itself.
                _logger.warning(
                    "an interrupted query cannot be cancelled",
                    extra={"error": type(error).__name__},
                )
            # Steps that are left where they wait are taken up there again.
            with trio.move_on_after(patience):
                await self._see_the_end(steps)
                return
            patience *= 2

    async def _see_the_end(self, steps: PQGen[Any] | None) -> None:
        if steps is not None:
            # The error is mostly that it was cancelled; what matters is the state that is left.
            with suppress(psycopg.Error):
                await self.run(steps)
        if self.is_busy:
            await self.run(_to_the_end(self.pgconn))

    def notify_closing(self) -> None:
        """Wake who waits for the socket: it is about to be closed."""
        try:
            trio.lowlevel.notify_closing(self.pgconn.socket)
        except (RuntimeError, psycopg.Error):
            # Outside Trio nobody waits for it; and a socket that is gone is closed already.
            return

    def finish(self) -> None:
        """Close without a word to the server: the connection is in an unknown state."""
        if self.pgconn.status != _BAD:
            self.notify_closing()
        self.pgconn.finish()


def _to_the_end(pgconn: pq.abc.PGconn) -> PQGen[None]:
    """The steps that read, and drop, all that is left of an operation, be it a copy."""
    while (result := (yield from generators.fetch(pgconn))) is not None:
        if result.status in (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_BOTH):
            while pgconn.put_copy_end(b"interrupted") == 0:
                yield Wait.W
            while pgconn.flush() != 0:
                yield Wait.W
        elif result.status == pq.ExecStatus.COPY_OUT:
            while (size := pgconn.get_copy_data(1)[0]) >= 0:
                if size == 0:
                    yield Wait.R
                    pgconn.consume_input()
