"""Runs one claimed job, in a scope with its deadline; long, since it is all of one attempt.

In the end `result` is the `Outcome` to write, or says why there is none.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from .._cancelling import cancel
from .._codec import Undecodable
from .._crash import type_name
from .._errors import AroundSwallowed, CutShort, SetupSwallowed, SetupTooSlow, UsageError
from .._events import (
    ClaimFenced,
    Event,
    HandlerHeldUp,
    JobStarted,
    LeaseOutrun,
    RaisedWhileCancelled,
    ResultDiscarded,
    SetupExitTimedOut,
    SetupFailed,
    SetupTimedOut,
    ThreadAbandoned,
    ThreadOverran,
    TooManyWaiting,
)
from .._handler import (
    NotBegun,
    being_cancelled,
    is_cancellation,
    kept_of,
    request_of,
    sort_raised,
)
from .._handler_errors import Snooze
from .._progress import ProgressNotes
from .._queue import Queue
from .._record import decode_fields
from .._remote import UndecodedElsewhere
from .._retry import Retry
from .._running_job import RunningJob, current_attempt
from .._runtime import Runtime
from .._steps import JobSteps
from .._store.failures import RowRefused
from .._store.protocol import (
    CancelRequest,
    ClaimedJob,
    JobRow,
    Locked,
    Outcome,
    SetAside,
    Started,
)
from .._waits import JobWaits
from . import outcomes, plan
from .endings import (
    KEPT,
    CancelReason,
    InThread,
    LeftToNewer,
    Result,
    Snoozed,
    Unfinished,
    words_of,
)
from .environment import Environment
from .kept_scope import KeptScope
from .lease import LEASE_OVER, Lease
from .slots import Slots
from .starter import NotOurs
from .transactions import AttemptTransaction

if TYPE_CHECKING:
    from .._family import NurseryNames


#: After so many losses of its session in a row, the attempt of a transactional handler counts as
#: lost: the handler may be what ends the session, or the whole server.
_MOST_SESSION_LOSSES: Final = 3


class _State:
    """What may become of an attempt. Of most attempts little does: a new executor has it from here,
    and need not set it.
    """

    #: Whether this attempt may have started jobs that it waits for.
    starts_children: bool = False
    #: The names of the nurseries of jobs that the handler has opened, if it has opened any.
    nurseries: NurseryNames | None = None
    #: How many of these are open.
    open_nurseries: int = 0
    #: Whether the handler was called.
    has_begun: bool = False
    #: Whether `setup` failed or took too long.
    setup_failed: bool = False
    #: Whether another job of its batch has told of the exception by which all of them fail.
    is_told: bool = False
    result: Result | None = None
    cancel_reason: CancelReason | None = None
    #: That somebody has asked for the cancel, where this process knows of it.
    cancel_request: CancelRequest | None = None
    #: Heartbeats in a row that were not answered.
    misses: int = 0
    misses_when_cancelled: int = 0
    _heartbeats: trio.MemorySendChannel[None] | None = None
    #: Where it runs, or was cancelled. Where it has ended otherwise, the scope is the next job's.
    _scope: trio.CancelScope | None = None
    #: What the handler returned, and when by Trio's clock, where `setup` is left afterwards.
    _has_returned: bool = False
    _output: Any = None
    _returned_at: float = math.inf
    #: Whether the handler has returned `_output`, and one of `around` is left next.
    _has_returned_within_around: bool = False
    _in_thread: InThread = InThread.NO
    #: Whether its deadline had passed, its handler in a thread, when its cancel was asked for.
    _was_late: bool = False
    #: Whether an event has said that it goes on past its deadline, its queue being exclusive.
    _is_overdue: bool = False
    #: What its handler is told; where nobody cancelled it, that it is late.
    _why_cancelled: str = "its deadline has passed"
    #: The answer to the start, until the row is asked for and has it.
    _started: Started | None = None
    #: Made when it is first asked for.
    _running_job: RunningJob[Any, Any, Any] | None = None
    _notes: ProgressNotes | None = None
    _steps: JobSteps | None = None
    _waits: JobWaits | None = None
    #: How the job is set aside, once its handler waits for that.
    _aside: SetAside | None = None
    #: That of its handler, if its queue is transactional.
    transaction: AttemptTransaction | None = None


@attrs.frozen(eq=False)
class Workplace:
    """What the executors of a queue have in common."""

    queue: Queue[Any, Any, Any]
    runtime: Runtime
    environment: Environment
    #: Moves a job from reserved to executing; called only if it is not `started` by its claim.
    start: Callable[[ClaimedJob], Awaitable[Started | Locked | NotOurs]]
    #: The same of a job whose row was locked, for as long as it takes.
    start_locked: Callable[[ClaimedJob], Awaitable[Started | NotOurs]]
    #: Called when a handler has noted how far it has come.
    noted: Callable[[ClaimedJob, ProgressNotes], None]
    #: Where a handler's slot is given back while it waits for jobs.
    slots: Slots
    #: Waits until the claim of a job is known to be committed.
    claimed: Callable[[ClaimedJob], Awaitable[None]]
    #: Whether a listener wants the events of an attempt that goes well.
    emits_all: bool


class Executor(_State):
    """One for each job that runs.

    Args:
        at: what it has in common with others.
        row: the job, as it was claimed.
        token: of its claim.
        deadline: when the handler must have ended, by Trio's clock; infinity until it has started.
        started: whether the job is executing by now, in the database's eyes.
        lease: of a job of an exclusive queue: until when its handler may run.
    """

    def __init__(
        self,
        at: Workplace,
        row: JobRow,
        token: str,
        deadline: float,
        *,
        started: bool,
        lease: Lease | None = None,
    ) -> None:
        self.at = at
        self.row = row
        self.job = ClaimedJob(row.id, token)
        self.started = started
        self.lease = lease
        self.deadline = deadline
        #: When setup, handler or setup's exit, whichever runs, must have ended, by Trio's clock.
        self.must_end_by = deadline

    @property
    def queue(self) -> Queue[Any, Any, Any]:
        """The job's queue."""
        return self.at.queue

    @property
    def runtime(self) -> Runtime:
        """The client's."""
        return self.at.runtime

    @property
    def environment(self) -> Environment:
        """What the jobs of the queue share."""
        return self.at.environment

    async def run(self, scopes: KeptScope) -> None:
        """Run the job to its end, in a scope of the task's.

        Raises:
            Cancelled, KeyboardInterrupt: these alone, or a group of them; whatever else is raised
                is the attempt's own failure.
        """
        before = current_attempt.set(self)
        try:
            if self.at.queue.transactional:
                self.result = await self._run_in_transaction(scopes)
            else:
                self.result = await self._run(scopes)
        except (trio.Cancelled, KeyboardInterrupt, BaseExceptionGroup):
            raise
        except BaseException as error:  # noqa: BLE001 - it must not end the queue's other jobs
            # A mistake in m25, as no step of its own should raise. This job's values may be what
            # leads to it, and so the job fails by it.
            self.result = outcomes.crash(self, error)
        finally:
            if self.result is None:
                self.result = self.cut_short()
            if self._heartbeats is not None:
                self._heartbeats.close()
            current_attempt.reset(before)

    @property
    def runs_in(self) -> object:
        """What its task has as `current_attempt`."""
        return self

    @property
    def _is_asked_for(self) -> bool:
        return self.cancel_reason is CancelReason.ASKED_FOR

    def cancel(self, reason: CancelReason) -> None:
        """Cancel the handler. The reason decides what is written, whatever the handler returns.

        The first reason counts; but where the claim is lost, nothing else does.
        """
        if self.cancel_reason is None or (
            self.cancel_reason in KEPT and reason is CancelReason.FENCED
        ):
            self.cancel_reason = reason
            self.misses_when_cancelled = self.misses
            self._cancel_scope(reason.value)

    def fence(self) -> None:
        """Cancel the handler: the database says that the claim is lost."""
        if self.cancel_reason is not CancelReason.FENCED:
            self.runtime.events.emit(ClaimFenced(**self.facts))
            self.cancel(CancelReason.FENCED)

    def cancel_as_asked(self, request: CancelRequest) -> None:
        """Cancel the handler as somebody asked, unless it has returned or is being cancelled."""
        self.cancel_request = request
        if self.cancel_reason is None and not (self._has_returned or self._scope_is_cancelled):
            self._was_late = trio.current_time() > self.deadline
            self.cancel_reason = CancelReason.ASKED_FOR
            self._cancel_scope(words_of(request))

    def _cancel_scope(self, why: str) -> None:
        self._why_cancelled = why
        self.at.slots.let_go(self)
        # A job that has not begun yet is cancelled when it does.
        if self._in_thread is InThread.NO and self._scope is not None:
            cancel(self._scope, why)

    @property
    def _scope_is_cancelled(self) -> bool:
        """Whether its scope was cancelled, for whatever reason, or its deadline has passed."""
        return self._scope is not None and self._scope.cancel_called

    @property
    def _was_cut_short(self) -> bool:
        """Whether its scope has ended it: a `Cancelled` came as far as that."""
        return self._scope is not None and self._scope.cancelled_caught

    def _end_by(self, deadline: float) -> None:
        self.must_end_by = deadline
        if self._scope is not None:
            self._scope.deadline = deadline

    def set_aside(self, aside: SetAside) -> None:
        """Cancel the handler, which waits, unless it is being cancelled already."""
        if self.cancel_reason is None and not self._scope_is_cancelled:
            self._aside = aside
            self.cancel_reason = CancelReason.SET_ASIDE
            self._cancel_scope(CancelReason.SET_ASIDE.value)

    def cut_off(self) -> None:
        """Leave the handler to itself: its attempt is ended without waiting for it."""
        self.cancel_reason = CancelReason.OVERRAN

    def overrun(self) -> Outcome:
        """End the attempt as timed out, although its handler goes on past the deadline."""
        self.cut_off()
        return outcomes.overran(self)

    @property
    def children_of(self) -> str | None:
        """The id of the job's first attempt, if the job may have started others."""
        if self.starts_children or self.row.has_children:
            return self.row.job_id
        return None

    @property
    def grace(self) -> float:
        """How long the handler may go on once it is cancelled, before its attempt is ended without
        it, in seconds.
        """
        if self.cancel_reason is None and self._scope_is_cancelled:
            return self.queue.heartbeat_interval.total_seconds()
        return self.queue.cancel_grace.total_seconds()

    @property
    def leaves_children(self) -> bool:
        """Whether what the handler has started is to go on although the handler is cancelled: the
        claim is not ours any more, or the job's next attempt is to find it.
        """
        return self.cancel_reason in (
            CancelReason.FENCED,
            CancelReason.UNRESPONSIVE,
            CancelReason.OVERRAN,
        )

    @property
    def is_cancelled_itself(self) -> bool:
        """Whether this very attempt was cancelled, or is late, and not what is around it."""
        return self.cancel_reason is not None or self._scope_is_cancelled

    @asynccontextmanager
    async def waiting(self) -> AsyncGenerator[None]:
        """A block in which a task of the handler waits for a job, if possible without a slot."""
        if not self.at.slots.give_back(self) and self.at.slots.tell_limit():
            self.runtime.events.emit(TooManyWaiting(most=self.runtime.waiting.most, **self.facts))
        try:
            yield
        finally:
            if not self.is_cancelled_itself:  # rule: a cancelled handler needs no slot
                turn = self.at.slots.want(self)
                if turn is not None:
                    # A handler whose own timeout has ended its wait goes on in a slot, too.
                    with trio.CancelScope(shield=True, deadline=self.deadline):
                        await turn.wait()

    @contextmanager
    def while_waiting_to_begin(self) -> Generator[None]:
        """A process for the handler starts in this block, or there is no connection for it yet: the
        time that takes is not the job's.
        """
        began = trio.current_time()
        self._end_by(math.inf)
        try:
            yield
        finally:
            self.deadline += trio.current_time() - began
            self._end_by(self.deadline)

    def returned_within_around(self, output: Any) -> None:
        """Note what the handler returned: a cancel that was asked for may cut `around` short."""
        self._has_returned_within_around = True
        self._output = output

    def enter_thread(self) -> None:
        """The handler is called in a thread: the deadline waits until that has ended."""
        self._in_thread = InThread.YES
        self._end_by(math.inf)

    def leave_thread(self) -> None:
        """The thread has ended, or was abandoned: the deadline holds again."""
        if self._in_thread is not InThread.ABANDONED:
            self._in_thread = InThread.NO
        self._end_by(self.deadline)
        if self._scope is not None and (
            self.cancel_reason is not None or trio.current_time() > self.deadline
        ):
            cancel(self._scope, self._why_cancelled)

    def abandon_thread(self) -> None:
        """The thread is left to itself: the attempt must not be run again beside it uncounted."""
        self._in_thread = InThread.ABANDONED
        self.runtime.events.emit(ThreadAbandoned(**self.facts))

    def look_at_thread(self, now: float) -> None:
        """Say so once, where a thread goes on past the deadline."""
        if self._in_thread is InThread.YES and self.deadline < now:
            self._in_thread = InThread.LATE
            self.runtime.events.emit(ThreadOverran(timeout=float(self.row.timeout), **self.facts))

    def look_at_lease(self, now: float) -> None:
        """Say so once, where the handler of an exclusive queue goes on past its lease."""
        if self.lease is not None and self.lease.is_outrun(now):
            self.runtime.events.emit(LeaseOutrun(**self.facts))

    def look_at_deadline(self) -> None:
        """Say so once, where the handler of an exclusive queue goes on past its deadline."""
        if not self._is_overdue:
            self._is_overdue = True
            self.runtime.events.emit(HandlerHeldUp(timeout=float(self.row.timeout), **self.facts))

    def send_heartbeat(self) -> trio.MemoryReceiveChannel[None] | None:
        """Send a heartbeat; for the first, return the channel on which `respond` is to run."""
        first: trio.MemoryReceiveChannel[None] | None = None
        if self._heartbeats is None:
            self._heartbeats, first = trio.open_memory_channel[None](1)
        # WouldBlock: the heartbeat before this has not been received yet. BrokenResourceError: the
        # responder is gone.
        with contextlib.suppress(trio.WouldBlock, trio.BrokenResourceError):
            self._heartbeats.send_nowait(None)
        return first

    async def respond(
        self,
        heartbeats: trio.MemoryReceiveChannel[None],
        answers: trio.MemorySendChannel[Executor],
    ) -> None:
        """Answer heartbeats until the handler has ended."""
        async for _ in heartbeats:
            await answers.send(self)

    async def _run_in_transaction(self, scopes: KeptScope) -> Result:
        losses = self.row.session_losses or 0
        if losses >= _MOST_SESSION_LOSSES:  # rule: sessions are not lost for ever
            if not self.started and not await self._start(begins=False):
                return self._fenced()
            return outcomes.sessions_lost(self, losses)
        async with AttemptTransaction(self) as self.transaction:
            # After all around the handler: what `setup` or one of `around` raises is its failure.
            return await self.transaction.end(await self._run(scopes))

    async def _run(self, scopes: KeptScope) -> Result:
        if self.cancel_reason is CancelReason.ASKED_FOR:
            return Unfinished.CANCELLED
        handler = self.at.environment.handler
        try:
            value = handler.decode_input(self.row.input)
        except Undecodable as error:  # rule: an input fails its own attempt
            return await self._refuse_input(error)
        output: Any = None
        raised: BaseException | None = None
        if self.lease is not None and self.lease.is_over():  # rule: a handler does not begin late
            return Unfinished.TOO_LATE
        if self.started:
            self._note_begun()
        else:
            seconds = self.at.queue.executor_init_timeout.total_seconds()
            self.must_end_by = trio.current_time() + seconds
        try:
            with scopes.until(self.must_end_by) as self._scope:
                if self.cancel_reason is not None:
                    cancel(self._scope, self._why_cancelled)
                try:
                    if self.lease is None:
                        output = await handler.run(value, self._start, self._returned)
                    else:
                        run = partial(handler.run, value, self._start, self._returned)
                        output = await self.lease.hold(run)
                finally:
                    if self._notes is not None:
                        await self._notes.close()
        except BaseException as error:  # noqa: BLE001 - `_own` sorts it
            raised = self._own(error)
        else:
            if scopes.scope is not None:
                self._scope = None  # rule: who has ended cancels no other
        try:
            result = self._result_of(output, raised)
            if result is Unfinished.NOT_INITIALISED:
                return await self._not_initialised(raised)
            return result
        finally:
            # Its traceback has this frame, and this frame has it: a cycle that the garbage
            # collector would have to find, for each attempt that fails.
            del raised

    def _result_of(self, output: Any, raised: BaseException | None) -> Result:
        """The result of a handler that has returned `output`, or raised."""
        if self.cancel_reason is CancelReason.SET_ASIDE:
            return self._as_set_aside(output, raised)
        if self.cancel_reason is not None:
            return self._as_asked(output, raised) if self._is_asked_for else self._cancelled(raised)
        # A scope that the next job has was not cancelled.
        if self._scope is not None and self._scope.cancel_called and not self._has_returned:
            if not self.started:
                return Unfinished.NOT_INITIALISED
            return outcomes.timed_out(self, raised)
        if self.lease is not None and self.lease.has_cancelled and not self._has_returned:
            if not self.has_begun:
                return Unfinished.TOO_LATE
            # As ever, who returns although cancelled has succeeded, and a declared error counts:
            # the claim's token decides whether either is written.
            if output is LEASE_OVER or (raised is not None and not self._is_declared(raised)):
                return outcomes.lease_over(self, raised)
        if isinstance(output, NotBegun):
            return self._fenced()
        if raised is None:
            return self._finished(output)
        request = request_of(raised)
        # In this order: to look whether it is cancelled is to go through all scopes around it.
        if not self._is_declared(raised) and being_cancelled():
            # The handler turned its cancellation into another exception. The attempt was cut short
            # by us, and is not counted. Only a declared error is an outcome all the same.
            self._emit_raised_while_cancelled(raised)
            return self.cut_short()
        if not self.started:
            return Unfinished.NOT_INITIALISED
        if isinstance(request, Snooze):
            return outcomes.snoozed(self, request)
        if isinstance(raised, UndecodedElsewhere) and self._is_for_newer(raised):
            return LeftToNewer(raised.path, raised.reason)
        if request is None and self._has_lost_connection(raised) and not self._is_declared(raised):
            return self.lost_connection()
        return outcomes.raised(self, raised, request)

    def _is_declared(self, raised: BaseException) -> bool:
        """Whether what the handler has raised, or its cause, is an error of its queue's."""
        kept = kept_of(raised, request_of(raised))
        return self.queue.handler.declared(kept) is not None

    def _has_lost_connection(self, raised: BaseException) -> bool:
        # rule: an outage within a transaction is not counted
        return self.transaction is not None and self.transaction.is_lost_by(raised)

    async def _start(self, *, begins: bool = True) -> bool:
        """Start the job, between setup and handler; return whether its claim still holds.

        Unless it `begins`, its handler is not called.
        """
        lease = self.lease
        if begins and self._scope is not None:
            # Else its time may be over before the answer is there, and the handler begins late.
            self._end_by(math.inf)  # rule: the start is not on the clock of setup
        sent = math.inf if lease is None else trio.current_time()
        started = await self.at.start(self.job)
        if isinstance(started, Locked):
            started = await self.at.start_locked(self.job)
        if isinstance(started, NotOurs):
            return False
        self.started = True
        if lease is not None:
            lease.started(sent)
        self._started = started
        self._running_job = None
        self.deadline = trio.current_time() + float(self.row.timeout)
        self._end_by(self.deadline)
        if begins:
            if lease is not None and lease.is_over():
                return False
            self._note_begun()
        return True

    def _returned(self, output: Any) -> None:
        """Note what the handler returned; `setup` is left next, within a time of its own."""
        self._has_returned = True
        self._output = output
        self._returned_at = trio.current_time()
        self._end_by(self._returned_at + self.at.queue.executor_init_timeout.total_seconds())

    def _finished(self, output: Any) -> Outcome:
        """The outcome of a handler that returned; perhaps too late, if it blocked Trio's loop."""
        if not self._has_returned:
            # A scope that is kept for the next job was left in time.
            returned_at = -math.inf if self._scope is None else trio.current_time()
        else:
            output, returned_at = self._output, self._returned_at
            is_late = self._scope_is_cancelled and self.cancel_reason is None
            if is_late and returned_at <= self.deadline:
                seconds = self.queue.executor_init_timeout.total_seconds()
                self.runtime.events.emit(SetupExitTimedOut(seconds=seconds, **self.facts))
        if returned_at > self.deadline:
            return outcomes.timed_out(self, None)
        return outcomes.returned(self, output)

    def cut_short(self) -> Outcome | Unfinished | SetAside:
        """Why a cut short attempt has no outcome; or its failure, if it must not begin again."""
        if self._aside is not None and self.cancel_reason is CancelReason.SET_ASIDE:
            return self._aside
        if self._is_asked_for:
            return Unfinished.CANCELLED  # rule: a stop does not outdo a cancel
        if self._in_thread is InThread.ABANDONED:
            # rule: a thread that goes on is not released
            return outcomes.crash(
                self,
                CutShort(
                    "the queue was stopped, and the handler's thread, which nothing can end, goes"
                    " on by itself"
                ),
            )
        if self.has_begun and self.queue.allowed_losses == 0:
            return outcomes.crash(
                self,
                CutShort(
                    "the handler was cut short, and with allowed_losses=0 its attempt does not"
                    " begin again"
                ),
            )
        return Unfinished.CUT_SHORT

    def lost_connection(self) -> Outcome | Unfinished | SetAside:
        """Why an attempt has no outcome whose transaction was lost with its connection; or its
        failure, if it must not begin again.
        """
        result = self.cut_short()
        return Unfinished.LOST_CONNECTION if result is Unfinished.CUT_SHORT else result

    async def _refuse_input(self, error: Undecodable) -> Outcome | Unfinished | LeftToNewer:
        """Leave the job to newer workers, or fail the attempt, and no other, since its input cannot
        be decoded.
        """
        if self._is_for_newer(error):
            return LeftToNewer(error.path, error.reason)
        if not self.started and not await self._start():
            return self._fenced()
        return outcomes.undecodable(self, error)

    def _is_for_newer(self, error: Undecodable) -> bool:
        """Whether newer workers are waited for that may know what was not known in the input."""
        return (
            error.is_newer
            and self.queue.unknown_fields != "refuse"
            # rule: newer workers are not waited for for ever
            and not plan.has_waited_for_newer(self.row)
        )

    def _own(self, error: BaseException) -> BaseException | None:
        """The part of an exception that the handler raised by itself, if there is one.

        Raises:
            BaseException: the part that only passed through the handler, if there is one:
                `KeyboardInterrupt`, and cancellation from outside.
        """
        raised = sort_raised(error)
        if raised.passing is None:
            return raised.own
        if raised.own is not None:
            self._emit_raised_while_cancelled(raised.own)
        if raised.is_interrupt and self.has_begun:
            self.result = outcomes.interrupted(self, raised.passing)
        raise raised.passing

    def _as_asked(self, output: Any, raised: BaseException | None) -> Outcome | Unfinished:
        """What becomes of an attempt whose cancel was asked for: that is its handler's to say."""
        if isinstance(output, NotBegun):
            return self._fenced()
        if not self.started:
            if raised is not None:
                self._emit_raised_while_cancelled(raised)
            return Unfinished.CANCELLED
        if raised is not None and isinstance(request_of(raised), Snooze):
            return Unfinished.CANCELLED
        if self._was_late:
            return outcomes.timed_out(self, raised)
        if isinstance(raised, AroundSwallowed | SetupSwallowed) and is_cancellation(
            raised.__cause__
        ):
            return Unfinished.CANCELLED
        if raised is not None:  # rule: who raises while being cancelled has failed
            return outcomes.raised(self, raised, request_of(raised))
        if self._was_cut_short and not self._has_returned:
            if not self._has_returned_within_around:
                return Unfinished.CANCELLED
            output = self._output
        return self._finished(output)  # rule: who returns although cancelled has succeeded

    def _as_set_aside(
        self, output: Any, raised: BaseException | None
    ) -> Outcome | Snoozed | SetAside:
        """What becomes of an attempt that was set aside: that is its handler's to say, too."""
        assert self._aside is not None
        if isinstance(raised, AroundSwallowed | SetupSwallowed) and is_cancellation(
            raised.__cause__
        ):
            return self._aside
        if raised is not None:
            request = request_of(raised)
            if isinstance(request, Snooze):
                return outcomes.snoozed(self, request)
            return outcomes.raised(self, raised, request)
        if self._was_cut_short and not self._has_returned:
            return self._aside
        return self._finished(output)

    def _cancelled(self, raised: BaseException | None) -> Outcome | Unfinished:
        if raised is not None:
            self._emit_raised_while_cancelled(raised)
        if self.cancel_reason is CancelReason.UNRESPONSIVE:
            return outcomes.unresponsive(self)
        # A handler that was just cancelled has left no result.
        if raised is not None or not self._was_cut_short:
            self.runtime.events.emit(ResultDiscarded(**self.facts))
        return Unfinished.FENCED

    def _fenced(self) -> Unfinished:
        self.runtime.events.emit(ClaimFenced(**self.facts))
        return Unfinished.FENCED

    async def _not_initialised(self, raised: BaseException | None) -> Outcome | Unfinished:
        """Setup failed, or took too long: the job is released, or fails once that is too often."""
        self.setup_failed = True
        seconds = self.queue.executor_init_timeout.total_seconds()
        in_a_row = (self.row.setup_failures or 0) + 1
        if in_a_row >= self.queue.max_setup_failures:  # rule: a setup does not fail for ever
            if not await self._start(begins=False):
                return self._fenced()
            return outcomes.setup_failed(
                self, raised or SetupTooSlow(f"setup took longer than {seconds:g} s"), in_a_row
            )
        kind = "" if raised is None else type_name(type(raised))
        failures = self.runtime.setup_failures.count(self.queue.name, kind)
        if failures is None:
            return Unfinished.NOT_INITIALISED
        if raised is None:
            event: Event = SetupTimedOut(seconds=seconds, failures=failures, **self.facts)
        else:
            event = SetupFailed(error=raised, failures=failures, **self.facts)
        self.runtime.events.emit(event)
        return Unfinished.NOT_INITIALISED

    def _note_begun(self) -> None:
        self.has_begun = True
        if self.at.emits_all:
            self.runtime.events.emit(JobStarted(**self.facts))

    def _emit_raised_while_cancelled(self, error: BaseException) -> None:
        self.runtime.events.emit(RaisedWhileCancelled(error=error, **self.facts))

    @property
    def retry(self) -> Retry | None:
        """What the queue says of retries, unless the job was given numbers of its own."""
        return plan.retry_of(self.row, self.queue.retry)

    @property
    def max_attempts(self) -> int:
        """How many attempts the job has at most."""
        return plan.max_attempts(self.row, self.queue.retry)

    @property
    def facts(self) -> dict[str, Any]:
        """The fields that every event of this attempt has."""
        return {
            "queue": self.queue.name,
            "job_id": self.row.id,
            "attempt": self.row.attempt,
            "max_attempts": self.max_attempts,
            "losses": self.row.losses,
        }

    def running_job(self) -> RunningJob[Any, Any, Any]:
        """The job, as its handler sees it."""
        if (started := self._started) is not None:
            self._started = None
            self.row = self.row._replace(
                status="executing", started_at=started.started_at, deadline=started.deadline
            )
        if self._running_job is None:
            self._running_job = RunningJob(
                **decode_fields(self.row, self.queue),
                stopping=self.environment.stopping,
                m=self.environment.m,
                notes=self._progress_notes,
                steps=self._job_steps,
                waits=self._job_waits,
                cancelled=self.is_cancelled,
            )
        return self._running_job

    def running_jobs(self) -> list[RunningJob[Any, Any, Any]]:
        """The same, as a list."""
        return [self.running_job()]

    def is_cancelled(self) -> bool:
        """Whether the handler was cancelled; also where it is in a thread, and does not feel it."""
        return self.cancel_reason is not None or self._in_thread in (
            InThread.LATE,
            InThread.ABANDONED,
        )

    @property
    def has_ended(self) -> bool:
        """Whether the handler has ended, and all around it."""
        return self.result is not None

    async def until_claimed(self) -> None:
        """Wait until the claim is known to be committed: before that all writes are fenced."""
        await self.at.claimed(self.job)

    def _job_steps(self) -> JobSteps:
        if not self.started:
            raise UsageError("a job keeps no steps before its handler has begun: not in `setup`")
        if self._steps is None:
            job_id = self.row.job_id
            self._steps = JobSteps(self, job_id, self.runtime)
        return self._steps

    @property
    def must_stay(self) -> bool:
        """Whether the handler cannot be set aside now, and waits where it is: its jobs would be
        left alone, or its own timeout would be forgotten.
        """
        return (
            self.open_nurseries > 0  # rule: who waits for jobs is not set aside
            or self._has_own_deadline()  # rule: who waits in a scope that ends is not set aside
        )

    @property
    def is_shielded(self) -> bool:
        """Whether the running task would not feel a cancel of the handler: then it would not feel
        the attempt's deadline either.
        """
        return trio.current_effective_deadline() > self.must_end_by

    def _has_own_deadline(self) -> bool:
        """Whether the running task is in a scope of the handler's that ends before the attempt."""
        ends = [self.environment.must_end_by, self.must_end_by]
        if self.lease is not None:
            ends.append(self.lease.must_end_by)
        return trio.current_effective_deadline() < min(ends)

    def _job_waits(self) -> JobWaits:
        if self._waits is None:
            self._waits = JobWaits(self, self._job_steps())
        return self._waits

    async def write_progress(self) -> None:
        """Write what the handler has reported last, before its success is.

        Raises:
            StatementFailed: the database did not answer.
        """
        if self._notes is not None:
            # What the database does not take is told with the next heartbeat.
            with contextlib.suppress(RowRefused):
                await self.runtime.store.report([self.job], [self._notes.text])

    def _progress_notes(self) -> ProgressNotes:
        if self._notes is None:
            self._notes = ProgressNotes(self.row, lambda notes: self.at.noted(self.job, notes))
        return self._notes


def is_in_job_of(runtime: Runtime) -> bool:
    """Whether the caller is a job of this client: its handler or setup, or a task of these."""
    attempt = current_attempt.get(None)
    return attempt is not None and attempt.runtime is runtime and not attempt.has_ended
