"""The wire of one connection: runs psycopg's steps on its socket, and ends interrupted operations.

Waiting for a socket by Trio costs a pass of its loop and three system calls. So the socket is first
looked at, and waited for only if it is not ready: whenever there is something to send, and once an
answer has begun to arrive. Only the first byte of an answer is waited for without a look, since the
server has hardly had the time to answer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
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

from ._background import Background
from ._wait import READ, connecting, make_look, until_ready

T = TypeVar("T")

_logger = logging.getLogger("m25.pg")

#: How long ending an interrupted operation may take, in seconds; then the connection is closed.
CLEAN_UP: Final = 5.0
#: How long to wait for a query's end after the first cancel request, in seconds, before the next.
_FIRST_CANCEL_WAIT: Final = 0.1
#: How long a task may go on without waiting before other tasks run, in seconds.
LONGEST_RUN: Final = 0.005
#: Exceptions that end a task from outside, and say nothing of the query that they interrupt.
INTERRUPTIONS: Final = (trio.Cancelled, KeyboardInterrupt, SystemExit)

_ACTIVE: Final = pq.TransactionStatus.ACTIVE
_DONE: Final = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)
_BAD: Final = pq.ConnStatus.BAD


def command_steps(pgconn: pq.abc.PGconn, command: bytes) -> PQGen[pq.abc.PGresult]:
    """Run a command that has one result.

    The server, or a pooler with words of its own, may end the session right behind that. What was
    done is done all the same, and what was refused is so for the reason that came first; psycopg
    says no more of either than how many results there were.

    Raises:
        psycopg.Error: it was refused, or the connection is lost.
    """
    pgconn.send_query(command)
    results: list[pq.abc.PGresult] = yield from generators.execute(pgconn)
    if not results:
        raise psycopg.InternalError("a command had no result")
    first = results[0]  # rule: a commit that was answered is not undone by the end of its session
    if first.status not in _DONE:
        raise errors.error_from_result(first, encoding=pgconn._encoding)
    return first


class Wire:
    """What a connection and its lock share: the socket, and when other tasks last could run."""

    __slots__ = ("_look", "_yielded_at", "is_ending", "is_row_by_row", "pgconn")

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self.pgconn = pgconn
        #: Whether libpq may still be in the single-row or chunked mode of a `stream()`.
        self.is_row_by_row = False
        #: Whether an operation is being ended whose task was interrupted.
        self.is_ending = False
        self._yielded_at = -math.inf
        self._look: Callable[[int], int] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether an operation was sent whose end was not read."""
        pgconn = self.pgconn
        return pgconn.transaction_status == _ACTIVE and not pgconn.pipeline_status

    @property
    def refuses_writes(self) -> bool:
        """Whether the server last said that it takes no writes: as one does that was the primary,
        until another was made that. It says so with the answer to whatever it is asked next; before
        PostgreSQL 14, and through most poolers, not at all.
        """
        return self.pgconn.parameter_status(b"default_transaction_read_only") == b"on"

    def has_input(self) -> bool:
        """Whether there is something to read, or the connection has ended, without waiting."""
        if self._look is None:
            self._look = make_look(self.pgconn.socket)
        return bool(self._look(READ))

    async def run(self, steps: PQGen[T], *, looking: bool = False) -> T:
        """Run the steps of an operation to their result.

        Whether the task is cancelled is for the caller to ask before: here that is found out only
        where there is something to wait for. So a result that has arrived is not lost to a
        cancellation.

        Args:
            looking: whether the first byte of the answer may well have arrived already.

        Raises:
            psycopg.OperationalError: the connection is closed, or is while it runs.
        """
        # This raises where the connection is closed.
        fileno = self.pgconn.socket
        has_yielded = False
        try:
            wanted: Any = next(steps)
            if wanted == READ and not looking:
                # `until_ready` written out: every query comes here, and a call less is worth it.
                try:
                    await wait_readable(fileno)
                except (OSError, trio.ClosedResourceError) as error:
                    raise psycopg.OperationalError("connection socket closed") from error
                has_yielded = True
                self._yielded_at = monotonic()
                wanted = steps.send(Ready.R)
            look = self._look
            if look is None:
                look = self._look = make_look(fileno)
            while True:
                ready: Any = look(wanted)
                if ready:
                    wanted = steps.send(ready)
                    if monotonic() - self._yielded_at < LONGEST_RUN:
                        continue
                    await checkpoint()
                    has_yielded = True
                    self._yielded_at = monotonic()
                else:
                    ready = await until_ready(fileno, wanted)
                    has_yielded = True
                    self._yielded_at = monotonic()
                    wanted = steps.send(ready)
        except StopIteration as done:
            if not has_yielded:
                await self._yield_if_due()
            result: T = done.value
            return result

    async def run_for(self, seconds: float, steps: PQGen[T]) -> T:
        """Do the same for at most so many seconds; what has arrived is read even if they are 0.

        Raises:
            psycopg.errors._WaitTimeout: it took longer.
        """
        with trio.move_on_after(seconds):
            return await self.run(steps, looking=True)
        raise errors._WaitTimeout("wait timeout expired")

    async def _yield_if_due(self) -> None:
        # In the middle of a copy, a stream or a pipeline, calls with nothing to wait for are many
        # and small: there it is enough that other tasks run now and then.
        now = monotonic()
        if now - self._yielded_at < LONGEST_RUN and self.pgconn.transaction_status == _ACTIVE:
            return
        await cancel_shielded_checkpoint()
        self._yielded_at = now

    async def checkpoint_if_due(self) -> None:
        """Be cancelled if the task is, and let other tasks run if they have waited for long."""
        await checkpoint_if_cancelled()
        if (now := monotonic()) - self._yielded_at >= LONGEST_RUN:
            await cancel_shielded_checkpoint()
            self._yielded_at = now

    async def cancel(self, timeout: float | None) -> None:
        """Ask the server to cancel the query under way, which may end by itself before.

        Raises:
            psycopg.errors._WaitTimeout: the request was not taken within `timeout` seconds.
            psycopg.OperationalError: the server cannot be reached.
        """
        if capabilities.has_cancel_safe():
            request = self.pgconn.cancel_conn()
            request.start()
            await connecting(generators.cancel(request), timeout)
        else:
            # libpq before 17 has only a call that blocks.
            await trio.to_thread.run_sync(self.pgconn.get_cancel().cancel, abandon_on_cancel=True)

    async def keep_cancelling(self, give_up_at: float) -> None:
        """Ask the server to cancel what is under way, again and again: until this is cancelled.

        A request that overtakes its statement finds nothing to cancel. One that is under way is
        waited for, as it could meet the statement that comes next; at `give_up_at`, in seconds of
        Trio's clock, the caller closes the connection, and nothing comes next.
        """
        wait = _FIRST_CANCEL_WAIT
        while True:
            with trio.CancelScope(shield=True, deadline=give_up_at):
                try:
                    await self.cancel(CLEAN_UP)
                except psycopg.Error as error:
                    # The query may end by itself.
                    _logger.warning(
                        "an interrupted query cannot be cancelled",
                        extra={"error": type(error).__name__},
                    )
            await trio.sleep(wait)
            wait *= 2

    async def settle(self, steps: PQGen[Any] | None = None) -> None:
        """End an interrupted operation: the connection is then usable, or closed.

        The server is asked to cancel it. `steps`, if given, are the operation's own, and are run to
        their end, as psycopg's state follows from them. All of it is shielded from cancellation,
        and takes `CLEAN_UP` seconds at most.
        """
        with trio.move_on_after(CLEAN_UP, shield=True) as scope:
            self.is_ending = True
            try:
                async with Background() as nursery:
                    nursery.start_soon(self.keep_cancelling, scope.deadline)
                    await self._read_to_the_end(steps)
            except psycopg.Error as error:
                _logger.warning(
                    "an interrupted query cannot be ended; its connection is closed",
                    extra={"error": type(error).__name__},
                )
                self.finish()
            except BaseException:
                self.finish()
                raise
            finally:
                self.is_ending = False
        if scope.cancelled_caught or self.is_busy:
            _logger.warning("an interrupted query does not end; its connection is closed")
            self.finish()

    async def _read_to_the_end(self, steps: PQGen[Any] | None) -> None:
        if steps is not None:
            # Mostly the error that the query was cancelled; only the state matters here.
            try:
                await self.run(steps)
            except psycopg.Error:
                pass
            except Exception:
                # It must not take the place of the interruption.
                _logger.exception("an interrupted operation has failed")
        if self.is_busy:
            await self.run(_to_the_end(self.pgconn))

    async def is_direct(self) -> bool:
        """Whether the session is that which greeted us; else there is a pooler in between, and the
        next statement may come to another session.

        Where that cannot be found out, the connection is closed.
        """
        try:
            return await self.run(_ask_whether_direct(self.pgconn))
        except BaseException:
            self.finish()
            raise

    def notify_closing(self) -> None:
        """Wake the task that waits for the socket, which is about to be closed."""
        try:
            trio.lowlevel.notify_closing(self.pgconn.socket)
        except (RuntimeError, psycopg.Error):
            # Outside Trio no task waits for it, and a socket that is gone is closed already.
            return

    def finish(self) -> None:
        """Close at once, for a connection in an unknown state; a query of it may run on."""
        if self.pgconn.status != _BAD:
            self.notify_closing()
        self.pgconn.finish()


def check_libpq() -> None:
    """Refuse a libpq that has no pipelines.

    Raises:
        psycopg.NotSupportedError: it is older than 14.
    """
    if not capabilities.has_pipeline():
        raise psycopg.NotSupportedError(
            f"m25.pg needs libpq 14 or newer, and this is {pq.version_pretty(pq.version())}: "
            "install a newer one, or `pip install 'psycopg[binary]'`, which brings one"
        )


def _ask_whether_direct(pgconn: pq.abc.PGconn) -> PQGen[bool]:
    pgconn.send_query(b"select pg_catalog.pg_backend_pid()")
    result = (yield from generators.execute(pgconn))[0]
    # What cannot answer, as a pooler's own console, is no session of PostgreSQL's.
    return bool(result.ntuples) and result.get_value(0, 0) == b"%d" % pgconn.backend_pid


def _to_the_end(pgconn: pq.abc.PGconn) -> PQGen[None]:
    """The steps that read, and drop, all that is left of an operation, a copy too."""
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
