"""An executor: one running job. A cancel scope with the job's deadline, the answers to its
manager's heartbeats, the user's handler, and what became of it.

    executor
    ├─ handler      inside the scope, with its own nursery if it asks
    └─ responder    from the first heartbeat on: most jobs end before, and never need one
"""

from __future__ import annotations

import contextlib
import contextvars
import enum
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import attrs
import trio

from .._codec import Undecodable
from .._crash import Crash, describe_crash, type_name
from .._errors import JobRecordFetchJsonDecodeError, NotInJob, ValueRefused
from .._groups import only_leaf
from .._job import FailureReason, JobId, JobRecord
from .._queue import Queue
from .._record import decode_record
from .._store.protocol import ClaimedJob, JobRow, Outcome, Started

_logger = logging.getLogger("m25.executor")

_current: Final[contextvars.ContextVar[Executor]] = contextvars.ContextVar("m25_current_job")


class Ending(enum.Enum):
    """How an executor ended, where there is no outcome to write."""

    #: Cancelled from outside, or not initialised: the job goes back to pending.
    HANDED_BACK = "handed back"
    #: Its setup failed or took too long: the same, and the manager waits before it tries again.
    NOT_INITIALISED = "not initialised"
    #: The claim was lost, or the attempt already ended on its behalf: nothing to write.
    LOST = "lost"


class Verdict(enum.Enum):
    """Why a manager cancelled an executor."""

    #: It left too many heartbeats unanswered.
    UNRESPONSIVE = "unresponsive"
    #: The database says that somebody else has the attempt.
    LOST = "lost"
    #: It did not end at its deadline, and was settled without it.
    OVERDUE = "overdue"


@attrs.frozen
class Lost:
    """The answer to a promotion that came too late: the claim was lost."""


@attrs.define(eq=False)
class Executor:
    """Runs one claimed job, and leaves in `ending` what is to be written of it."""

    queue: Queue[Any, Any, Any]
    row: JobRow
    claim: ClaimedJob
    #: When the handler must have ended, by Trio's clock; infinity until it has started.
    deadline: float
    #: Promotes the job from reserved to executing.
    promote: Callable[[ClaimedJob], Awaitable[Started | Lost]]
    make_id: Callable[[], str]
    started: bool = False
    ending: Outcome | Ending | None = None
    verdict: Verdict | None = None
    #: Heartbeats in a row that were not answered.
    misses: int = 0
    _scope: trio.CancelScope = attrs.field(
        init=False,
        default=attrs.Factory(
            # Made with its deadline: Trio does more where one is set later.
            lambda self: trio.CancelScope(deadline=self.deadline),
            takes_self=True,
        ),
    )
    _heartbeats: trio.MemorySendChannel[None] | None = None

    async def run(self) -> None:
        """Run the job to its ending; raises only what is not the handler's own."""
        _current.set(self)
        try:
            self.ending = await self._run()
        finally:
            if self.ending is None:
                self.ending = Ending.HANDED_BACK
            if self._heartbeats is not None:
                self._heartbeats.close()

    def cancel(self, verdict: Verdict) -> None:
        """Cancel the handler; the verdict decides what is written of it, not what it returns."""
        if self.verdict is None:
            self.verdict = verdict
            self._scope.cancel()

    def give_up(self) -> Outcome:
        """Settle the job as timed out, although its handler goes on past the deadline."""
        self.verdict = Verdict.OVERDUE
        return self._failure(FailureReason.JOB_TIMEOUT)

    def send_heartbeat(self) -> trio.MemoryReceiveChannel[None] | None:
        """Send a heartbeat; for the first, return the channel for a responder to be started on."""
        first: trio.MemoryReceiveChannel[None] | None = None
        if self._heartbeats is None:
            self._heartbeats, first = trio.open_memory_channel[None](1)
        # Full: the last one has not even been taken in. Broken: its responder is gone.
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

    async def _run(self) -> Outcome | Ending:
        queue = self.queue
        try:
            value = queue.input_codec.decode(self.row.input)
        except Undecodable as error:
            return await self._refuse(error)
        scope = self._scope
        output: Any = None
        raised: BaseException | None = None
        try:
            with scope:
                if queue.setup is None:
                    output = await queue.handler_function(value)  # type: ignore[call-arg]
                else:
                    scope.deadline = (
                        trio.current_time() + queue.executor_init_timeout.total_seconds()
                    )
                    async with queue.setup() as resource:
                        if not await self._start():
                            return Ending.LOST
                        scope.deadline = self.deadline
                        output = await queue.handler_function(value, resource)  # type: ignore[call-arg]
        except BaseException as error:  # noqa: BLE001 - told apart right here
            raised = self._own(error)
        if self.verdict is not None:
            return self._on_verdict(raised)
        if scope.cancel_called:
            if not self.started:
                return self._not_initialised(raised)
            crash = None if raised is None else describe_crash(raised)
            return self._failure(FailureReason.JOB_TIMEOUT, crash=crash)
        if raised is None:
            return self._success(output)
        if _being_cancelled() and declared(raised, queue.errors) is None:
            # It turned its cancellation into an error of its own. The attempt was cut short by us
            # and is not spent; only an error that the queue declares is an outcome all the same.
            self._log(logging.WARNING, "handler raised while being cancelled", raised)
            return Ending.HANDED_BACK
        if not self.started:
            return self._not_initialised(raised)
        return self._raised(raised)

    async def _start(self) -> bool:
        started = await self.promote(self.claim)
        if isinstance(started, Lost):
            return False
        self.started = True
        self.row = self.row._replace(
            status="executing", started_at=started.started_at, deadline=started.deadline
        )
        self.deadline = trio.current_time() + float(self.row.timeout)
        return True

    async def _refuse(self, error: Undecodable) -> Outcome | Ending:
        """The input cannot be read: that is this attempt's failure, and no one else's."""
        if not self.started and not await self._start():
            return Ending.LOST
        problem = JobRecordFetchJsonDecodeError(
            JobId(self.row.id), "input", error.path, error.reason
        )
        crash = Crash(type_name(type(problem)), str(problem), None)
        return self._failure(FailureReason.CRASH, crash=crash)

    def _own(self, error: BaseException) -> BaseException:
        """What of an exception is the handler's own.

        Raises:
            BaseException: the rest, where there is any: Ctrl-C, and cancellation from outside.
        """
        passes: tuple[type[BaseException], ...] = (KeyboardInterrupt,)
        if _being_cancelled():
            # Without that, a `Cancelled` is one that the handler kept from a scope of its own: to
            # let it pass would end the manager in silence.
            passes += (trio.Cancelled,)
        if isinstance(error, passes):
            raise error
        if not isinstance(error, BaseExceptionGroup):
            return error
        group = cast("BaseExceptionGroup[BaseException]", error)
        passing, own = group.split(passes)
        if passing is None:
            return group
        if own is not None:
            self._log(logging.WARNING, "handler raised while being cancelled", own)
        raise passing

    def _on_verdict(self, raised: BaseException | None) -> Outcome | Ending:
        if raised is not None:
            self._log(logging.WARNING, "handler raised while being cancelled", raised)
        if self.verdict is Verdict.UNRESPONSIVE:
            return self._failure(FailureReason.HEARTBEAT_TIMEOUT)
        return Ending.LOST

    def _not_initialised(self, raised: BaseException | None) -> Ending:
        if raised is None:
            self._log(logging.WARNING, "setup took longer than executor_init_timeout")
        else:
            self._log(logging.ERROR, "setup raised", raised)
        return Ending.NOT_INITIALISED

    def _success(self, output: Any) -> Outcome:
        try:
            text = self.queue.output_codec.encode(output, "output")
        except ValueRefused as error:
            return self._crashed(error)
        return Outcome(self.claim.id, self.claim.token, None, text, None, None, None, None, None)

    def _raised(self, raised: BaseException) -> Outcome:
        error = declared(raised, self.queue.errors)
        if error is None:
            return self._crashed(raised)
        try:
            text = self.queue.error_codec.encode(error, "error")
        except ValueRefused as refused:
            # Where it was raised says more than where it was found to be more than JSON.
            refused.__cause__ = error
            return self._crashed(refused)
        return self._failure(FailureReason.ERRORED, error_data=text)

    def _crashed(self, raised: BaseException) -> Outcome:
        self._log(logging.ERROR, "handler crashed", raised)
        return self._failure(FailureReason.CRASH, crash=describe_crash(raised))

    def _failure(
        self,
        reason: FailureReason,
        *,
        error_data: str | None = None,
        crash: Crash | None = None,
    ) -> Outcome:
        crash_type, message, trace = crash or (None, None, None)
        return Outcome(
            self.claim.id,
            self.claim.token,
            reason.value,
            None,
            error_data,
            crash_type,
            message,
            trace,
            self.make_id(),
        )

    def _log(self, level: int, event: str, error: BaseException | None = None) -> None:
        _logger.log(level, event, extra=self.facts, exc_info=error)

    @property
    def facts(self) -> dict[str, Any]:
        """What every log line about this job says."""
        return {
            "job_id": self.row.id,
            "queue": self.queue.name,
            "attempt": self.row.attempt,
        }

    def record(self) -> JobRecord[Any, Any, Any]:
        """The job's record, as it was when its handler started."""
        return decode_record(self.row, self.queue)


def _being_cancelled() -> bool:
    return trio.current_effective_deadline() == -math.inf


def declared(raised: BaseException, errors: tuple[type[Exception], ...]) -> Exception | None:
    """The declared error that was raised, if it was one: itself, or as the only leaf of a group."""
    if isinstance(raised, errors):
        return raised
    leaf = only_leaf(raised)
    return leaf if isinstance(leaf, errors) else None


def current_job() -> JobRecord[Any, Any, Any]:
    """The record of the job whose handler is calling, as it was when the handler started.

    It works in the handler's own task and in those that it starts in nurseries of its own.

    Raises:
        NotInJob: called outside a handler.
        JobRecordFetchDecodeErrors: the row holds a value that Python cannot.
    """
    executor = _current.get(None)
    if executor is None:
        raise NotInJob("current_job() can only be called from within a handler")
    return executor.record()
