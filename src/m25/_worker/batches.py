"""Batches: handlers that are called with several jobs at once.

Each job keeps an executor of its own, a `Member`: its claim, its heartbeats, its cancel, its
outcome. What they share is the call of the handler, in one task, and the slot that the call takes.

    claim ──▶ batch of members ──▶ one call of the handler ──▶ an outcome for each member
                ╰─ one whose input cannot be read is left out, and fails alone

The handler is cancelled where that is meant for all of its jobs: at the first deadline, at the end
of a stop's grace, or once each of them was cancelled. One job alone is told, and nothing else: the
handler may have done its work already, and what it says of the job counts.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, cast

import attrs
import trio

from .._cancelling import cancel
from .._codec import Undecodable
from .._errors import NotInJob, UsageError
from .._events import TooManyWaiting
from .._handler import Raised, sort_raised
from .._queue import Queue
from .._running_job import RunningJob, current_attempt
from .._runtime import Runtime
from .._steps import JobSteps
from .._store.protocol import JobRow
from .._waits import JobWaits
from . import outcomes
from .endings import CancelReason, LeftToNewer, Unfinished
from .executor import Executor, Workplace

#: After so many outcomes others have a turn: to write an output as JSON takes its time.
_ENDED_IN_A_TURN: Final = 100

#: What a handler says of a job: an output, or an error to fail it with.
Answer: TypeAlias = Any


class Member(Executor):
    """One for each job of a batch. It never runs by itself.

    Args:
        batch: what runs it.
        row: the job, as it was claimed.
        token: of its claim.
    """

    def __init__(self, batch: RunningBatch, row: JobRow, token: str) -> None:
        deadline = trio.current_time() + float(row.timeout)
        super().__init__(batch.at, row, token, deadline, started=True)
        self.batch = batch

    @property
    def runs_in(self) -> object:
        return self.batch

    def decode(self) -> Any:
        """Read the input; where that cannot be read, or the job is not to run, it has a result."""
        if self.cancel_reason is CancelReason.ASKED_FOR:
            self.result = Unfinished.CANCELLED
        elif self.cancel_reason is not None:
            self.result = Unfinished.FENCED
        else:
            try:
                return self.environment.handler.decode_input(self.row.input)
            except Undecodable as error:  # rule: an input fails no other job of its batch
                self.result = (
                    LeftToNewer(error.path, error.reason)
                    if self._is_for_newer(error)
                    else outcomes.undecodable(self, error)
                )
        return None

    def begin(self, scope: trio.CancelScope, timeout: str, deadline: float) -> None:
        """The handler is called in this scope; with the shortest of all timeouts."""
        self._scope = scope
        # Of events and crashes it is this timeout that they tell of.
        self.row = self.row._replace(timeout=timeout)
        self.deadline = self.must_end_by = deadline
        self._note_begun()

    async def close(self) -> None:
        """Close what the handler has left open of the job."""
        if self._notes is not None:
            await self._notes.close()

    def left_in_time(self) -> None:
        """The handler has ended before its deadline: what comes now is not late."""
        self._scope = None

    def end(self, answer: Answer, raised: BaseException | None) -> None:
        """The handler has ended: with this answer, or by what it raised for all."""
        if raised is None and isinstance(answer, Exception):
            answer, raised = None, answer
        self.result = self._result_of(answer, raised)  # rule: each job has its own outcome

    def pass_through(self, raised: Raised) -> None:
        """The handler has ended by what only passed through it."""
        if raised.own is not None:
            self._emit_raised_while_cancelled(raised.own)
        if raised.is_interrupt and self.has_begun and raised.passing is not None:
            self.result = outcomes.interrupted(self, raised.passing)

    def leave(self) -> None:
        """The batch has ended: who has no result was cut short."""
        if self.result is None:
            self.result = self.cut_short()
        if self._heartbeats is not None:
            self._heartbeats.close()

    def _cancel_scope(self, why: str) -> None:
        self._why_cancelled = why
        self.batch.cancel_if_all_are(why)

    def _job_steps(self) -> JobSteps:
        raise UsageError(
            "a job of a batch keeps no steps, and does not wait for times or messages: its handler"
            " cannot be run again for this job alone"
        )

    def _job_waits(self) -> JobWaits:
        self._job_steps()
        raise AssertionError  # It has raised.


@attrs.define(eq=False)
class RunningBatch:
    """One call of a handler, and the jobs that it is called with."""

    #: What its jobs have in common with others.
    at: Workplace
    members: list[Member] = attrs.field(factory=list[Member])
    has_ended: bool = False
    #: Those that the handler is called with.
    _called: Sequence[Member] = ()
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    #: What the handler returned, once one of `around` is left next.
    _within_around: Any = None

    def add(self, row: JobRow, token: str) -> Member:
        """Add a job, before the batch begins."""
        member = Member(self, row, token)
        self.members.append(member)
        return member

    async def run(self) -> None:
        """Run the jobs to their ends.

        Raises:
            Cancelled, KeyboardInterrupt: as `Executor.run` does.
        """
        before = current_attempt.set(cast("Any", self))
        try:
            await self._run()
        except (trio.Cancelled, KeyboardInterrupt, BaseExceptionGroup):
            raise
        except BaseException as error:  # noqa: BLE001 - it must not end the queue's other jobs
            # As in `Executor.run`, a mistake in m25.
            for member in self.members:
                if member.result is None:
                    member.result = outcomes.crash(member, error)
        finally:
            self.has_ended = True
            for member in self.members:
                member.leave()
            current_attempt.reset(before)

    async def _run(self) -> None:
        values = [(member, member.decode()) for member in self.members]
        called = self._called = [member for member, _ in values if member.result is None]
        if not called:
            await trio.lowlevel.checkpoint()
            return
        timeout = min((member.row.timeout for member in called), key=float)
        deadline = trio.current_time() + float(timeout)
        self._scope.deadline = deadline  # rule: a batch ends at the first deadline of its jobs
        for member in called:
            member.begin(self._scope, timeout, deadline)
        inputs = [value for member, value in values if member.result is None]
        returned: Any = None
        raised: BaseException | None = None
        try:
            with self._scope:
                try:
                    returned = await self.at.environment.handler.function(inputs)
                finally:
                    for member in called:
                        await member.close()
                if not self._scope.cancel_called:
                    for member in called:
                        member.left_in_time()
        except BaseException as error:  # noqa: BLE001 - sorted
            raised = self._own(error)
        try:
            await self._end(returned, raised)
        finally:
            # Its traceback has this frame: see `Executor`.
            del raised

    async def _end(self, returned: Any, raised: BaseException | None) -> None:
        called = self._called
        answers: Sequence[Answer] = [None] * len(called)
        if raised is None:
            if self._scope.cancelled_caught:
                returned = self._within_around
            if returned is not None or not self._scope.cancelled_caught:
                answers, raised = self._answers(returned)
            if self._scope.cancelled_caught and self._within_around is not None:
                for member, answer in zip(called, answers, strict=True):
                    member.returned_within_around(answer)
        for number, (member, answer) in enumerate(zip(called, answers, strict=True), 1):
            # A thousand jobs may fail by one exception: the log has its traceback once.
            member.is_told = raised is not None and number > 1
            member.end(answer, raised)
            if number % _ENDED_IN_A_TURN == 0:
                # Not one where a stop could end it: the handler has done its work.
                await trio.lowlevel.cancel_shielded_checkpoint()

    def _answers(self, returned: Any) -> tuple[Sequence[Answer], BaseException | None]:
        """What the handler says of each job, in their order; or what all fail by."""
        count = len(self._called)
        if returned is None and self.queue.says_nothing:
            return [None] * count, None
        if isinstance(returned, list | tuple):
            answers = cast("Sequence[Answer]", returned)
            if len(answers) == count:  # rule: as many outcomes as jobs
                return answers, None
            what = f"{len(answers)} outcomes"
        else:
            what = repr(returned)[:80]
        error = UsageError(
            f"the handler of queue {self.queue.name!r:.80} was called with {count} jobs and must"
            f" return a list of as many outcomes, in the same order; it returned {what}"
        )
        return [None] * count, error

    def _own(self, error: BaseException) -> BaseException | None:
        """As `Executor` has it, for all of the jobs."""
        raised = sort_raised(error)
        if raised.passing is None:
            return raised.own
        for member in self._called:
            member.pass_through(raised)
        raise raised.passing

    def cancel_if_all_are(self, why: str) -> None:
        """Cancel the handler, if none of its jobs is to go on."""
        are_all = all(member.cancel_reason is not None for member in self._called)
        if self._called and are_all:  # rule: a cancel of one job does not reach the others
            self.at.slots.let_go(self.members[0])
            cancel(self._scope, why)

    # As handlers see it, by `current_attempt`.

    @property
    def queue(self) -> Queue[Any, Any, Any]:
        return self.at.queue

    @property
    def runtime(self) -> Runtime:
        return self.at.runtime

    @property
    def started(self) -> bool:
        return True

    def running_job(self) -> RunningJob[Any, Any, Any]:
        raise NotInJob(
            "this handler is called with a batch of jobs, and no job is its own: current_jobs() has"
            " all of them, in the order of the inputs"
        )

    def running_jobs(self) -> list[RunningJob[Any, Any, Any]]:
        """The jobs that the handler is called with, in the order of the inputs."""
        return [member.running_job() for member in self._called]

    def returned_within_around(self, output: Any) -> None:
        """Note what the handler returned: a cancel of all may cut `around` short."""
        self._within_around = output

    @asynccontextmanager
    async def waiting(self) -> AsyncGenerator[None]:
        """A block in which a task of the handler waits for a job, if possible without its slot."""
        # To the slots the first job stands for all.
        first = self.members[0]
        if not self.at.slots.give_back(first) and self.at.slots.tell_limit():
            self.runtime.events.emit(TooManyWaiting(most=self.runtime.waiting.most, **first.facts))
        try:
            yield
        finally:
            if not self._scope.cancel_called:
                turn = self.at.slots.want(first)
                if turn is not None:
                    with trio.CancelScope(shield=True, deadline=self._scope.deadline):
                        await turn.wait()
