"""The tree of what runs for a client, drawn once.

    caller's nursery
    └─ m25.open(conn)              the pool, and one nursery
       ├─ enqueuer                 while the block lasts: concurrent enqueues share a statement
       │  └─ notifier              notifies workers of new work, many jobs at once
       ├─ waiters                  while anybody waits for a job: asks for all jobs that are
       │                           waited for, and listens for their ends
       ├─ holders of limits        while anybody waits for a place of a limit, or holds one, outside
       │                           of a job: asks for places, and renews their leases
       └─ services                 once started, here or in a nursery of the caller's; the store
          │                        has connections for these alone meanwhile
          ├─ managers              a stop waits for these
          │  └─ manager …          one per queue
          ├─ surveys               which queues have jobs that are due
          ├─ sweeper               which jobs have lost their owners
          ├─ announcer             that this worker is there
          ├─ unserved queues       which queues no worker serves
          ├─ pruner                deletes what ended long ago, where a queue has a `keep`
          ├─ scheduler             gives each tick of a schedule its job
          ├─ loop watch            notices handlers that block Trio's loop
          └─ listener              receives notifications of work, whoever enqueued it

A service is a class with `run`. To add a service, write the class, and add a line in `_start_all`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from ._cancelling import cancel
from ._errors import QueueStartError
from ._groups import unwrapped
from ._queue import Queue
from ._runtime import Runtime
from ._scheduler import Scheduler
from ._store.protocol import CancelAsked, Hinted, QueueChanged, StackAsked
from ._supervisor import keep_running
from ._worker.announcer import Announcer
from ._worker.environment import Around, Environment
from ._worker.manager import Manager
from ._worker.pruner import Pruner
from ._worker.surveys import Surveys
from ._worker.sweeper import Sweeper
from ._worker.unserved import UnservedQueues

if TYPE_CHECKING:
    from ._client import M25


class Services:
    """One run of a client's queues, from its start to its end."""

    def __init__(
        self,
        queues: Sequence[Queue[Any, Any, Any]],
        runtime: Runtime,
        m: M25,
        around: Sequence[Around],
        scheduler: Scheduler | None = None,
    ) -> None:
        self._queues = queues
        self.scheduler = scheduler
        self._runtime = runtime
        self._m = m
        self._around = around
        self._stop_asked = trio.Event()
        #: The same for handlers: setting it stops nothing.
        self._stopping = trio.Event()
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    @property
    def queue_names(self) -> Sequence[str]:
        """The queues that are run."""
        return [queue.name for queue in self._queues]

    async def run(
        self, start_timeout: float, grace: float, task_status: trio.TaskStatus[None]
    ) -> None:
        """Run all services until they are stopped or cancelled.

        They have started when each queue has initialised, which may take `start_timeout` seconds.
        After a stop, running handlers have `grace` seconds to finish; queues that have not started
        by then never do.

        Raises:
            QueueStartError: a queue did not initialise in time; none is left running.
        """
        try:
            with unwrapped(), self._scope:
                async with self._runtime.store.working():
                    await self._serve(start_timeout, grace, task_status)
        finally:
            self._ended.set()

    def ask_to_stop(self) -> None:
        """Ask all to stop in an orderly way."""
        self._stop_asked.set()
        self._stopping.set()

    async def stop(self) -> None:
        """Stop all services in an orderly way, and return once they have stopped."""
        self.ask_to_stop()
        await self._ended.wait()

    async def cancel(self) -> None:
        """Cancel all services, and return once they have ended.

        The wait is shielded, and as long as handlers shield themselves: what they use, and what
        their results are written by, must be there meanwhile. A clean-up of m25's own is bounded.
        """
        self._stopping.set()
        cancel(self._scope, "shutting down: the client's block was left")
        with trio.CancelScope(shield=True):
            await self._ended.wait()

    async def _serve(
        self, start_timeout: float, grace: float, task_status: trio.TaskStatus[None]
    ) -> None:
        managers = [
            Manager(queue, self._runtime, self._environment(queue)) for queue in self._queues
        ]
        async with trio.open_nursery() as services:
            async with trio.open_nursery() as nursery:
                deadline = trio.current_time() + start_timeout
                until_stopped = trio.CancelScope()
                services.start_soon(self._stop_when_asked, managers, grace, until_stopped)
                # rule: what has started before a stop is stopped in an orderly way
                with until_stopped:
                    await self._start_all(managers, services, nursery, deadline, start_timeout)
                task_status.started()
                await self._stop_asked.wait()
                # One may have started just as it was asked.
                _stop(managers, grace)
            services.cancel_scope.cancel()

    async def _start_all(
        self,
        managers: Sequence[Manager],
        services: trio.Nursery,
        nursery: trio.Nursery,
        deadline: float,
        start_timeout: float,
    ) -> None:
        """Start the managers in `nursery`, and all other services in theirs."""
        runtime = self._runtime
        announcer = Announcer(self._queues, runtime)
        # What the statements of their first claims and outcomes read.
        read = [
            queue
            for queue in self._queues
            if queue.on_failure is not None or queue.lock_name is not None
        ]
        if read:
            self._start(services, "announcer", announcer.run)
            # rule: a queue's on_failure is known before its first claim
            what = "limit" if read[0].on_failure is None else "on_failure"
            await _wait_until_written(announcer, read[0].name, what, start_timeout)
        await _start_managers(managers, nursery, deadline, start_timeout)
        if managers:
            self._start(services, "loop watch", runtime.loop_watch.run)
            if not read:
                self._start(services, "announcer", announcer.run)
            self._start(services, "surveys", Surveys(self._queues, runtime).run)
            self._start(services, "sweeper", Sweeper(self._queues, runtime).run)
            self._start(services, "unserved queues", UnservedQueues(runtime).run)
            if any(queue.keep is not None for queue in self._queues):
                self._start(services, "pruner", Pruner(self._queues, runtime).run)
            listener = Listener(self._queues, runtime)
            self._start(services, "listener", listener.run)
            await listener.listens.wait()
        if self.scheduler is not None:
            self._start(services, "scheduler", self.scheduler.run)
            # From then on no tick of theirs is missed.
            schedule = next(iter(self.scheduler.schedules.values()))
            what, queue_name = f"schedule {schedule.name!r}", schedule.queue.name
            await _wait_until_written(self.scheduler, queue_name, what, start_timeout)

    async def _stop_when_asked(
        self, managers: Sequence[Manager], grace: float, until_stopped: trio.CancelScope
    ) -> None:
        await self._stop_asked.wait()
        # Before the others are cancelled: a lifespan may wait in a thread, for as long as it takes.
        _stop(managers, grace)  # rule: after a stop nothing is claimed, whatever still starts
        cancel(until_stopped, "shutting down: its queue was stopped before all had started")

    def _environment(self, queue: Queue[Any, Any, Any]) -> Environment:
        return Environment(
            queue, self._runtime, self._m, stopping=self._stopping, around=self._around
        )

    def _start(
        self, nursery: trio.Nursery, service: str, run: Callable[[], Awaitable[None]]
    ) -> None:
        nursery.start_soon(keep_running, service, run, self._runtime)


class Listener:
    """Receives the notifications of this client's queues, and leaves hints of them."""

    def __init__(self, queues: Sequence[Queue[Any, Any, Any]], runtime: Runtime) -> None:
        self._names = [queue.name for queue in queues]
        self._runtime = runtime
        #: Set once the channels are subscribed, or could not be. Each connection of the listener
        #: begins with `None`, at which every queue looks for work.
        self.listens = trio.Event()

    async def run(self) -> None:
        """Leave hints for the managers, until cancelled."""
        try:
            async with self._runtime.store.listen(self._names, self._heard):
                self.listens.set()
                await trio.sleep_forever()
        finally:
            self.listens.set()

    def _heard(self, hinted: Hinted | None) -> None:
        hints = self._runtime.hints
        if hinted is None:
            # On a new connection, too: the worker has another session.
            hints.announce.set()
            hints.work_anywhere()
            hints.cancel_anywhere()  # rule: after a gap any may be to be cancelled
        elif isinstance(hinted, CancelAsked):
            hints.cancel(hinted.queue_name, hinted.job_id)
        elif isinstance(hinted, StackAsked):
            hints.ask_for_stack(hinted.queue_name, hinted.job_id)
        elif isinstance(hinted, QueueChanged):
            hints.queue_changed(hinted.queue_name)
        else:
            hints.work(hinted)


def _stop(managers: Sequence[Manager], grace: float) -> None:
    for manager in managers:
        if manager.has_started:
            manager.stop(grace)


async def _wait_until_written(
    service: Announcer | Scheduler, queue_name: str, what: str, start_timeout: float
) -> None:
    """Wait until the database knows what is declared here, `what` of a queue's among it.

    Raises:
        QueueStartError: it did not answer in time.
    """
    with trio.move_on_after(start_timeout):
        await service.written.wait()
        return
    failure = service.latest_failure
    reason = f"its {what} could not be written down within {start_timeout:g} s"
    if failure is not None:
        reason += f"; {failure.brief}"
    raise QueueStartError(queue_name, reason) from failure and failure.__cause__


async def _start_managers(
    managers: Sequence[Manager], nursery: trio.Nursery, deadline: float, start_timeout: float
) -> None:
    """Start all managers in `nursery`, until `deadline`, `start_timeout` after the beginning.

    Raises:
        QueueStartError: a queue was not opened, or its first claim not answered, in time.
    """
    waiting = list(managers)

    async def start(manager: Manager) -> None:
        await nursery.start(manager.run)
        waiting.remove(manager)

    with trio.CancelScope(deadline=deadline):
        async with trio.open_nursery() as starting:
            for manager in managers:
                starting.start_soon(start, manager)
    for manager in waiting:
        reason, cause = manager.latest_failure
        raise QueueStartError(
            manager.queue.name, f"{reason}, within {start_timeout:g} s"
        ) from cause
