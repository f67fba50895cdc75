"""What the jobs of one queue share, in this process: how their handler is called, and with what.

It is opened before the queue's first claim and left after its last job. Where it cannot be opened,
or fails while jobs run, it is opened again after a pause.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import attrs
import trio

from .._errors import AroundSwallowed, LifespanEnded
from .._events import LifespanExitTimedOut, QueueUnready
from .._handler import Handler, sort_raised
from .._in_transaction import in_transaction
from .._processes import ProcessPool
from .._queue import Queue
from .._queue_checks import check_context_maker
from .._remote import processes_for, remote_handler
from .._running_job import RunningJob, current_attempt, current_jobs
from .._runtime import Runtime
from .._supervisor import RAN_WELL
from ..pg._backoff import Backoff
from .threads import Threads

if TYPE_CHECKING:
    from .._client import M25
    from .executor import Executor

#: The type of each of a client's `around`: called for each job, and what it returns is entered
#: around the call of the job's handler.
Around: TypeAlias = Callable[[RunningJob[Any, Any, Any]], AbstractAsyncContextManager[Any]]

#: How long a lifespan may take to end, in seconds.
LONGEST_EXIT: Final = 5.0


def check_around(around: object) -> None:
    """Check what is to be entered around handlers.

    Raises:
        TypeError: it is no sequence of functions that take a job and return what can be entered.
    """
    if not isinstance(around, Sequence) or isinstance(around, str):
        raise TypeError(
            "around must be a sequence of functions that take a RunningJob and return an async "
            f"context manager, not {around!r:.80}"
        )
    for number, each in enumerate(cast("Sequence[object]", around)):
        check_context_maker(f"around[{number}]", each, TypeError, ["a RunningJob"])


class Environment:
    """One for each manager; it outlasts the manager's restarts."""

    def __init__(
        self,
        queue: Queue[Any, Any, Any],
        runtime: Runtime,
        m: M25,
        *,
        stopping: trio.Event,
        around: Sequence[Around] = (),
    ) -> None:
        self._queue = queue
        self._runtime = runtime
        #: The client, as handlers see it.
        self.m = m
        #: Set once the queues of this client begin to stop.
        self.stopping = stopping
        self._around = around
        #: The queue's handler, as it is to be called while this is open.
        self.handler: Handler[Any, Any, Any] = queue.handler
        #: Why it could not be opened when that was last tried, if it could not.
        self.failure: BaseException | None = None
        #: Whether it was ever opened.
        self.is_open = False
        #: When scopes around the queue end its jobs, by Trio's clock, as far as is known.
        self.must_end_by = math.inf
        self._scope = trio.CancelScope()
        self._stop_asked = trio.Event()

    @property
    def shared_in_words(self) -> str:
        """What the jobs share."""
        return "processes" if self._queue.runs == "process" else "lifespan"

    @property
    def why_cut_short(self) -> str:
        """Why jobs were cancelled that no stop has cancelled, in words."""
        if self.stopping.is_set():
            return "its worker was cancelled"
        if self._queue.runs == "process":
            return "the processes of its queue failed, or its worker was cancelled"
        if self._queue.lifespan is not None:
            return "the lifespan of its queue ended, or its worker was cancelled"
        return "its worker was cancelled"

    async def run(self, body: Callable[[], Awaitable[None]]) -> None:
        """Open it, run `body` in it until that returns, and leave it.

        Where it cannot be opened, or ends while `body` runs, both begin again after a pause.
        """
        backoff = Backoff(rng=self._runtime.rng)
        while not self._stop_asked.is_set():
            began, has_ended = trio.current_time(), False

            async def run() -> None:
                nonlocal has_ended
                self.failure = None
                await body()
                has_ended = True

            error: BaseException | None = None
            passing: BaseException | None = None
            try:
                await self.run_once(run)
            except BaseException as raised:  # noqa: BLE001 - sorted
                sorted_ = sort_raised(raised)
                error, passing = sorted_.own, sorted_.passing
            if error is None and passing is None and not (has_ended or self._stop_asked.is_set()):
                error = LifespanEnded(
                    "the lifespan ended its block while its queue ran, by a scope of its own"
                )
            if error is not None:
                self.failure = error
                if trio.current_time() - began > RAN_WELL:
                    backoff.worked()
                pause = math.nan if has_ended or passing else backoff.failed()
                self._runtime.events.emit(
                    QueueUnready(
                        queue=self._queue.name,
                        what=self.shared_in_words,
                        error=error,
                        pause=pause,
                    )
                )
                if pause > 0:
                    with trio.move_on_after(pause):
                        await self._stop_asked.wait()
            if passing is not None:
                raise passing
            if has_ended:
                return

    def stop(self) -> None:
        """Do not wait any longer for what is not open yet."""
        self._stop_asked.set()
        self._scope.cancel()

    async def run_once(self, body: Callable[[], Awaitable[None]]) -> None:
        """Open it, run `body` in it, and leave it within a bound.

        Raises:
            BaseException: whatever opening it, `body` or leaving it raises.
        """
        # This scope is around the lifespan's own scopes, as it must be: while the lifespan is
        # entered, a stop cancels it; afterwards it shields and bounds the lifespan's end.
        self._scope = entering = trio.CancelScope()
        is_open = False
        with entering:
            async with self.open():
                is_open = self.is_open = True
                self.must_end_by = trio.current_effective_deadline()
                self._scope = trio.CancelScope()
                try:
                    await body()
                finally:
                    entering.shield = True
                    entering.deadline = trio.current_time() + LONGEST_EXIT
        if is_open and entering.cancelled_caught:
            self._runtime.events.emit(
                LifespanExitTimedOut(queue=self._queue.name, seconds=LONGEST_EXIT)
            )
        # What was shielded may have been cancelled meanwhile.
        await trio.lowlevel.checkpoint_if_cancelled()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Enter what the jobs share; in the block `handler` is ready to be called."""
        async with AsyncExitStack() as stack:
            shared: Any = None
            if self._queue.lifespan is not None:
                shared = await stack.enter_async_context(self._queue.lifespan())
            handler = self._queue.handler
            if self._queue.runs == "process":
                processes = processes_for(self._queue)
                await stack.enter_async_context(processes.open())
                handler = remote_handler(handler, partial(_call_process, processes))
            function = handler.function
            if self._queue.runs == "thread":
                function = Threads(function, self._queue.max_concurrency).call
            if self._queue.transactional:
                function = partial(_call_in_transaction, function)
            function = self._with_arguments(function, shared)
            if self._around:
                function = partial(self._call_around, function)
            self.handler = attrs.evolve(handler, function=function)
            yield

    def _with_arguments(
        self, function: Callable[..., Awaitable[Any]], shared: Any
    ) -> Callable[..., Awaitable[Any]]:
        arguments = self._queue.handler.arguments
        given = {"shared": shared} if arguments.shared else {}
        if arguments.resource_by_name:

            def call(value: Any, resource: Any) -> Awaitable[Any]:
                return function(value, resource=resource, **given)

            return call
        return partial(function, **given) if given else function

    async def _call_around(
        self, function: Callable[..., Awaitable[Any]], value: Any, *resource: Any
    ) -> Any:
        """Call the handler within each of `around`, the first of them outermost; of a batch, each
        is entered for every job.
        """
        jobs = current_jobs()
        swallowed: BaseException | None = None
        async with AsyncExitStack() as stack:
            try:
                for make in self._around:
                    for job in jobs:
                        await stack.enter_async_context(make(job))
                output = await function(value, *resource)
                cast("Executor", current_attempt.get()).returned_within_around(output)
                return output
            except BaseException as error:
                swallowed = error
                raise
        # A `return` in the block does not lead here: one of `around` has swallowed an exception.
        if isinstance(swallowed, Exception):
            raise swallowed
        raise AroundSwallowed(
            "one of `around` ended the handler before it returned, by a scope of its own"
        ) from swallowed


async def _call_process(processes: ProcessPool, text: str) -> str:
    """Call a handler in a process, for the job whose task this is."""
    executor = cast("Executor", current_attempt.get())
    return await processes.call(text, executor.while_waiting_to_begin)


async def _call_in_transaction(
    function: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any
) -> Any:
    """Call a handler in a transaction, for the job whose task this is."""
    transaction = cast("Executor", current_attempt.get()).transaction
    assert transaction is not None, "its queue is transactional"
    connection = await transaction.begin()
    with in_transaction("the handler of a transactional queue"):
        return await function(*args, connection=connection, **kwargs)
