"""psycopg's async connection, waiting by Trio; long, since it is one class."""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from time import monotonic
from types import TracebackType
from typing import Any, ClassVar, Final, Self, cast

import psycopg
import trio
from psycopg import errors, generators, pq, sql
from psycopg.abc import (
    RV,
    AdaptContext,
    ConnDict,
    ConnParam,
    PQGen,
    PQGenConn,
)
from psycopg.adapt import AdaptersMap, Transformer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import AsyncRowFactory, Row, tuple_row

from ._background import check_in_trio
from ._conninfo import (
    LIVENESS,
    SERVER_LIVENESS,
    may_refuse,
    normalize,
    with_liveness,
    with_server_liveness,
)
from ._cursor import AsyncCursor, AsyncServerCursor
from ._errors import OutcomeUnknown
from ._fifo_lock import FifoLock
from ._hosts import none_accepts, note_silent, timed_attempts
from ._pipeline import PipelineBlock, not_committed
from ._transaction import Transaction
from ._wait import connecting
from ._wire import CLEAN_UP, INTERRUPTIONS, Wire, check_libpq, command_steps

_ACTIVE: Final = pq.TransactionStatus.ACTIVE

#: How long `close` may take to have the server cancel the query under way, in seconds.
_CANCEL_TIMEOUT: Final = 1.0


class AsyncConnection(psycopg.AsyncConnection[Row]):
    """A connection to PostgreSQL, for Trio programs; else it is `psycopg.AsyncConnection`.

    Every call can be cancelled: a query under way is then cancelled on the server too, and the
    connection is either usable or closed afterwards. Tasks that share a connection take turns, in
    the order in which they come.
    """

    __module__ = "m25.pg"

    #: Connection parameters that are used where the address does not give them: see `LIVENESS`.
    liveness: ClassVar[Mapping[str, str]] = LIVENESS
    #: Settings of the server's session that are asked for likewise: see `SERVER_LIVENESS`.
    server_liveness: ClassVar[Mapping[str, str]] = SERVER_LIVENESS

    def __init__(
        self,
        pgconn: pq.abc.PGconn,
        row_factory: AsyncRowFactory[Row] = cast("AsyncRowFactory[Row]", tuple_row),  # noqa: B008
    ) -> None:
        super().__init__(pgconn, row_factory)
        self._wire = Wire(pgconn)
        #: Whether a stream or a copy was left early since the last block of a pool ended.
        self._was_left_early = False
        #: The names of the `Prepared` statements that the session has.
        self._statements: set[bytes] = set()
        #: Reads the rows of `Prepared` statements.
        self._transformer = Transformer(self)
        # psycopg declares asyncio's lock, of which it uses `async with` alone.
        self.lock: Any = FifoLock(self._wire)
        self.cursor_factory: type[psycopg.AsyncCursor[Row]] = cast(
            "type[psycopg.AsyncCursor[Row]]", AsyncCursor
        )
        self.server_cursor_factory: type[psycopg.AsyncServerCursor[Row]] = cast(
            "type[psycopg.AsyncServerCursor[Row]]", AsyncServerCursor
        )

    @classmethod
    async def connect(
        cls,
        conninfo: str = "",
        *,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Row] | None = None,
        cursor_factory: type[psycopg.AsyncCursor[Row]] | None = None,
        **kwargs: ConnParam,
    ) -> Self:
        """Connect to the first host that accepts, in order or, if `load_balance_hosts` says so, at
        random. Each has the `connect_timeout` that the address gives; without one, all of them
        share that of `liveness`. A name that stands for several addresses is several hosts. One
        that did not answer in its time is tried last for some seconds.

        Timeouts and keepalives that the address does not give are those of `liveness` and
        `server_liveness`. Behind a pooler, where the session may be another one each time, no
        statement is prepared, whatever `prepare_threshold` says.

        Raises:
            psycopg.OperationalError: no host accepted; the message names each and says why.
            psycopg.ProgrammingError: libpq does not understand the address.
            psycopg.NotSupportedError: libpq is older than 14.
            RuntimeError: it is not called in a Trio task.
        """
        check_in_trio("m25.pg.AsyncConnection")
        check_libpq()
        params = await cls._get_connection_params(conninfo, **kwargs)
        connection = await cls._connect_to_any(params)
        connection._autocommit = bool(autocommit)
        connection.prepare_threshold = prepare_threshold
        if prepare_threshold is not None and not await connection._wire.is_direct():
            connection.prepare_threshold = None
        if row_factory:
            connection.row_factory = row_factory
        if cursor_factory:
            connection.cursor_factory = cursor_factory
        if context:
            connection._adapters = AdaptersMap(context.adapters)
        return connection

    @classmethod
    async def _connect_to_any(cls, params: ConnDict) -> Self:
        failures: list[tuple[ConnDict, psycopg.Error]] = []
        hosts, timeout = await timed_attempts(params, cls.liveness)
        for attempt in hosts:
            try:
                return await connecting(cls._connect_gen(make_conninfo("", **attempt)), timeout)
            except errors._WaitTimeout:
                note_silent(attempt)
                failures.append((attempt, errors.ConnectionTimeout("connection timeout expired")))
            except psycopg.Error as error:
                failures.append((attempt, error))
        raise none_accepts(failures)

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        params = with_liveness(conninfo_to_dict(conninfo), cls.liveness)
        lively = with_server_liveness(params, cls.server_liveness)
        try:
            return (yield from super()._connect_gen(make_conninfo("", **lively)))
        except psycopg.OperationalError as error:
            if not may_refuse(cls.server_liveness, error):
                raise
        # An old server, a connection pooler or a proxy does not take these settings.
        return (yield from super()._connect_gen(make_conninfo("", **params)))

    @classmethod
    async def _get_connection_params(cls, conninfo: str, **kwargs: Any) -> ConnDict:
        return conninfo_to_dict(normalize(conninfo), **kwargs)

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = 0.1,  # noqa: ARG002 - psycopg's signature; Trio has no need to poll
        timeout: float | None = None,
    ) -> RV:
        """Run the steps of an operation on this connection, and return its result.

        Nothing is begun for a task that is cancelled. Interrupted later, it cancels the query on
        the server and reads the connection to the query's end, or closes it, in a shielded scope of
        at most `CLEAN_UP` seconds.

        Raises:
            psycopg.errors._WaitTimeout: it took longer than `timeout` seconds.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        wire = self._wire
        try:
            if timeout is None:
                return await wire.run(gen)
            return await wire.run_for(timeout, gen)
        except INTERRUPTIONS:
            if wire.pgconn.transaction_status == _ACTIVE:
                if self._tpc and self._tpc[1]:
                    # Only `tpc_recover`, on another connection, can tell whether it is prepared, or
                    # has ended.
                    wire.finish()
                else:
                    await wire.settle(gen)
            if wire.pgconn.pipeline_status and self._pipeline is None:
                # Steps of ours that were in the midst of a pipeline of their own.
                wire.finish()
            raise

    def _exec_command(
        self, command: Any, result_format: pq.Format = pq.Format.TEXT
    ) -> PQGen[pq.abc.PGresult | None]:
        # psycopg calls it for `BEGIN`, `COMMIT` and the like; for `COMMIT PREPARED` with its name.
        if isinstance(command, sql.Composable):
            command = command.as_bytes(self)
        if self._pipeline is not None or not isinstance(command, bytes) or result_format:
            return (yield from super()._exec_command(command, result_format))
        self._check_connection_ok()
        return (yield from command_steps(self.pgconn, command))

    async def commit(self) -> None:
        """Commit the transaction under way, if there is one.

        A cancellation that comes once the server was asked to commit waits for the answer, for
        `CLEAN_UP` seconds at most; then `commit` ends as the answer says, and the task is cancelled
        at its next checkpoint.

        Raises:
            OutcomeUnknown: there was no answer.
        """
        async with self.lock:
            await self._wait_for_commit(self._commit_gen())

    async def _commit_block(self) -> None:
        """Commit at the end of a pool's block.

        Raises:
            psycopg.errors.InFailedSqlTransaction: it is rolled back, as a statement has failed.
        """
        has_failed = self.pgconn.transaction_status == pq.TransactionStatus.INERROR
        if has_failed and not self._was_left_early:
            await self.rollback()
            raise not_committed()
        self._was_left_early = False
        await self.commit()

    async def _try_cancel(self, *, timeout: float = 5.0) -> None:
        # psycopg's streams and copies call it when they are left early. That aborts a transaction,
        # but there is no error of which anybody was to be told.
        self._was_left_early = True
        await super()._try_cancel(timeout=timeout)

    async def _wait_for_commit(self, gen: PQGen[RV]) -> RV:
        """Run the steps of a commit, as `wait` does, but for a cancellation: see `commit`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        wire = self._wire
        try:
            try:
                return await wire.run(gen)
            except trio.Cancelled:
                with trio.move_on_after(CLEAN_UP, shield=True):
                    return await wire.run(gen)
                wire.finish()
                raise OutcomeUnknown(
                    f"the server did not answer to a commit within {CLEAN_UP:g} s"
                ) from None
            except INTERRUPTIONS:
                await wire.settle(gen)
                raise
        except psycopg.OperationalError as error:
            raise self._unknown_if_lost(error) from error.__cause__

    def _unknown_if_lost(self, error: psycopg.OperationalError) -> psycopg.OperationalError:
        """The error of a commit; one without an answer of the server's leaves the outcome open."""
        # What a pooler says that has lost its server is no word of the server's.
        is_poolers = (error.sqlstate or "").startswith("08")  # rule: a pooler knows no outcome
        is_answer = error.sqlstate and not is_poolers
        if isinstance(error, OutcomeUnknown) or is_answer or not (is_poolers or self.closed):
            return error
        return OutcomeUnknown(f"the connection was lost at a commit: {error}")

    def _deallocate(self, name: bytes | None) -> PQGen[None]:
        if name is None:  # all, also one that this last one has prepared just now
            self._prepared._counts.clear()
            self._prepared._names.clear()
        yield from super()._deallocate(name)
        if name is None and self._pipeline is None:  # one that has failed passes over it
            self._statements.clear()

    async def close(self) -> None:
        """Close the connection. A task that waits for it has an `OperationalError` raised, and the
        query under way is cancelled on the server, if that takes no longer than a second.
        """
        if not self.closed:
            if self._wire.pgconn.transaction_status == _ACTIVE:
                with (
                    trio.move_on_after(_CANCEL_TIMEOUT, shield=True),
                    suppress(psycopg.Error),
                ):
                    await self._wire.cancel(_CANCEL_TIMEOUT)
            self._wire.notify_closing()
        await super().close()
        await trio.lowlevel.checkpoint()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        try:
            if exc_type is None:
                if not self.closed:
                    await self.commit()
                # What is committed is not to be reported as cancelled.
                with trio.CancelScope(shield=True):
                    await self.close()
            else:
                with trio.move_on_after(CLEAN_UP, shield=True):
                    await super().__aexit__(exc_type, exc_val, exc_tb)
        finally:
            if not self.closed:
                self._wire.finish()

    async def notifies(
        self, *, timeout: float | None = None, stop_after: int | None = None
    ) -> AsyncGenerator[psycopg.Notify]:
        """Yield notifications as they come, as psycopg's.

        Those that have arrived and were not yielded, as the generator was left before, are kept for
        the next call.

        Args:
            timeout: the longest to wait for more, in seconds.
            stop_after: end after as many, and those that came together with the last of them.
        """
        if self._notify_handlers:
            warnings.warn(
                "notify handlers of the connection are called as well as notifies()",
                RuntimeWarning,
                stacklevel=2,
            )
        deadline = None if timeout is None else monotonic() + timeout
        received = 0
        async with self.lock:
            backlog = self._notifies_backlog
            assert backlog is not None
            while True:
                if not backlog:
                    left = None if deadline is None else max(0.0, deadline - monotonic())
                    try:
                        arrived = await self.wait(generators.notifies(self.pgconn), timeout=left)
                    except errors._WaitTimeout:
                        return
                    if self._notify_handlers:
                        # Without handlers psycopg has put them into the backlog.
                        backlog.extend(self._decoded(each) for each in arrived)
                while backlog:
                    await self._wire.checkpoint_if_due()
                    received += 1
                    yield backlog.popleft()
                if stop_after is not None and received >= stop_after:
                    return
                # After the first look, so that a timeout of 0 has one.
                if deadline is not None and monotonic() > deadline:
                    return

    def _decoded(self, notify: pq.PGnotify) -> psycopg.Notify:
        encoding = self.pgconn._encoding
        return psycopg.Notify(
            notify.relname.decode(encoding), notify.extra.decode(encoding), notify.be_pid
        )

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Ask the server to cancel the query under way; as psycopg's, in at most `timeout` seconds.

        Raises:
            psycopg.errors.CancellationTimeout: the request was not taken in time.
            psycopg.OperationalError: the server cannot be reached.
        """
        if not self._should_cancel():
            return
        try:
            await self._wire.cancel(timeout or None)
        except errors._WaitTimeout:
            raise errors.CancellationTimeout("cancellation timeout expired") from None

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncGenerator[psycopg.AsyncTransaction]:
        """A block in a transaction or, nested in one, in a savepoint; as psycopg's.

        Left by an exception, a cancellation too, it is rolled back, in a shielded scope of at most
        `CLEAN_UP` seconds; the connection is closed where that does not succeed. A cancellation
        that comes once the server was asked to commit waits for the answer; see `commit`.

        Raises:
            OutcomeUnknown: the server was asked to commit, and did not answer.
            psycopg.errors.InFailedSqlTransaction: the end of the block was reached, but nothing was
                committed, as a statement had failed and its error was caught inside.
        """
        transaction = Transaction(self, savepoint_name, force_rollback)
        if self._pipeline:
            block = PipelineBlock(self, self._wire, commits=True)
            async with block, transaction, self.pipeline():
                yield transaction
        else:
            async with transaction:
                yield transaction

    @asynccontextmanager
    async def pipeline(self) -> AsyncGenerator[psycopg.AsyncPipeline]:
        """A block in pipeline mode; as psycopg's.

        Left by an exception, a cancellation too, it is ended in a shielded scope of at most
        `CLEAN_UP` seconds; the connection is closed where that does not succeed.
        """
        async with PipelineBlock(self, self._wire) as pipeline:
            yield pipeline

    @asynccontextmanager
    async def _pipeline_nolock(self) -> AsyncGenerator[psycopg.AsyncPipeline]:
        # For `executemany`, which holds the lock already.
        async with PipelineBlock(self, self._wire, is_locked=True) as pipeline:
            yield pipeline
