"""A queue's manager: the tree of what runs for one queue, its restarts, and its end.

    manager.run                       what the jobs share (`lifespan`) is open around what follows,
    │                                 which is restarted, with a pause, should it fail
    └─ services                       cancelled once the executors are done
       ├─ settler                     writes outcomes, releases what was cut short; shielded
       ├─ heartbeats                  every heartbeat_interval; shielded
       ├─ starter                     reserved → executing, for a queue with `setup`
       ├─ cancels                     cancels what somebody asked to be cancelled; shielded
       ├─ stacks                   answers where handlers wait, to those who ask
       └─ executors                   cancelled once a stop's grace is over
          ├─ claimer
          └─ executor …               one per running job, in tasks that run one after the other

Settler, heartbeats and cancels end with the executors, and not before: a handler that shields
itself keeps its lease meanwhile, and can be cut off. However `services` ends, a shielded and
bounded clean-up follows: outcomes that are still waiting are written, and jobs that were cut short
are released.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from .._cancelling import cancel
from .._crash import in_words
from .._events import OutcomesUnwritten
from .._hints import QueueHint
from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import StatementFailed
from .._supervisor import keep_running
from .ahead import ahead_of
from .batch_claims import BatchClaimer, BatchLedger
from .cancels import Cancels
from .claimer import Claimer
from .environment import Environment
from .heartbeats import Heartbeats
from .ledger import Ledger
from .limited import LimitedClaims
from .places import places_of
from .settler import Settler
from .slots import Slots
from .stacks import Stacks
from .starter import Starter

#: How long the clean-up may take, in seconds. Where an outcome or a release could not be written by
#: then, the lease of its job runs out, and another process ends the attempt.
CLEAN_UP: Final = 5.0
#: The same where no claim was answered yet: there is next to nothing to write.
_CLEAN_UP_UNSTARTED: Final = 1.0


class Manager:
    """Runs the jobs of one queue, in this process."""

    def __init__(
        self, queue: Queue[Any, Any, Any], runtime: Runtime, environment: Environment
    ) -> None:
        self.queue = queue
        self._environment = environment
        self._runtime = runtime
        self._hint = runtime.hints.queues[queue.name] = QueueHint(queue.lock_name)
        slots, process = Slots(runtime.waiting, self._slots_changed), runtime.process_slots
        places = None if queue.lock_name is None else places_of(queue)
        if queue.batch is None:
            ahead = ahead_of(queue) if places is None else places
            self._ledger = Ledger(queue.max_concurrency, slots, ahead, process)
        else:
            self._ledger = BatchLedger(queue.max_concurrency, slots, process, queue.batch.size)
        limiter = queue.lock_name
        limited = (
            None
            if limiter is None or places is None
            else LimitedClaims(queue, limiter, runtime, self._hint, self._ledger, places)
        )
        self._settler = Settler(queue, runtime, self._ledger, limited)
        self._heartbeats = Heartbeats(queue, runtime, self._ledger, self._settler)
        self._claimer = (Claimer if queue.batch is None else BatchClaimer)(
            queue,
            runtime,
            self._hint,
            self._ledger,
            self._settler,
            self._heartbeats,
            environment,
            limited,
        )
        self._cancels = Cancels(queue, runtime, self._hint, self._ledger, self._settler)
        self._stacks = Stacks(runtime, self._hint, self._ledger)
        self._executors = trio.CancelScope()
        self._stop_asked = trio.Event()
        #: After a stop: when the executors are cancelled, by Trio's clock.
        self._cancel_at = math.inf

    @property
    def latest_failure(self) -> tuple[str, BaseException | None]:
        """Why the queue has not started yet, in words, and the error that is the reason, if any."""
        if (error := self._environment.failure) is not None:
            what = self._environment.shared_in_words
            return f"its {what} could not be opened, {in_words(error)}", error
        if (failure := self._claimer.latest_failure) is not None:
            return f"its first claim was not answered; {failure.brief}", failure.__cause__
        if not self._environment.is_open:
            return f"its {self._environment.shared_in_words} did not open", None
        return "its first claim was not answered", None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the queue until stopped or cancelled. It has started once a claim was answered."""
        name = self.queue.name
        process = self._runtime.process_slots
        if process is not None:
            process.add(self._ledger, self._hint.wakeup.set)
        try:
            await self._environment.run(
                lambda: keep_running(
                    f"manager of queue {name!r}",
                    lambda: self._serve(task_status),
                    self._runtime,
                    queue=name,
                )
            )
        finally:
            # Not after each failure: what one run of the manager could not write, the next writes.
            self._emit_unwritten()
            if process is not None:
                process.remove(self._ledger)
            del self._runtime.hints.queues[name]

    @property
    def has_started(self) -> bool:
        """Whether its first claim was answered."""
        return self._claimer.has_started

    def stop(self, grace: float) -> None:
        """Claim no more; handlers that still run after `grace` seconds are cancelled."""
        if self._stop_asked.is_set():
            return
        self._claimer.stop()
        self._environment.stop()
        self._cancel_at = trio.current_time() + grace
        self._stop_asked.set()
        self._hint.wakeup.set()

    def _slots_changed(self) -> None:
        """Let those go on that can; the claimer has what is left."""
        self._ledger.grant()
        self._hint.wakeup.set()

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        self._executors = trio.CancelScope()
        starter = Starter(self.queue, self._runtime)
        self._ledger.hold_back()
        kept = [trio.CancelScope(shield=True) for _ in range(3)]
        try:
            async with trio.open_nursery() as services:
                # A handler may shield itself from a cancellation, for longer than a lease.
                services.start_soon(_run_in, kept[0], self._settler.run)
                # rule: leases are kept while a handler runs
                services.start_soon(_run_in, kept[1], self._heartbeats.run)
                services.start_soon(_run_in, kept[2], self._cancels.run)
                services.start_soon(self._cancel_executors)
                if self.queue.handler.setup is not None:
                    services.start_soon(starter.run)
                try:
                    with self._executors:
                        async with trio.open_nursery() as executors:
                            services.start_soon(self._stacks.run, executors)
                            await self._claimer.run(executors, starter, task_status)
                finally:
                    for scope in kept:
                        scope.cancel()
                services.cancel_scope.cancel()
        finally:
            bound = CLEAN_UP if self._claimer.has_started else _CLEAN_UP_UNSTARTED
            # rule: the last writes are shielded
            with trio.CancelScope(shield=True, deadline=trio.current_time() + bound):
                await self._clean_up()

    async def _cancel_executors(self) -> None:
        """Cancel the executors once a stop's grace is over; a deadline could not say why."""
        await self._stop_asked.wait()
        await trio.sleep_until(self._cancel_at)
        cancel(self._executors, "shutting down: the grace of its queue's stop is over")

    async def _clean_up(self) -> None:
        ledger, tries = self._ledger, self._runtime.tries()
        # Where the claim in doubt was not committed after all, the database refuses its outcomes,
        # and its jobs are pending.
        ledger.write_held_back()
        while ledger.owes or ledger.has_locked or ledger.in_doubt is not None:
            try:
                await self._settler.write()
                if not ledger.has_outcomes:
                    await self._claimer.release_unheld()
            except StatementFailed as failure:
                await trio.sleep(tries.failed(failure))
            else:
                if ledger.has_locked:
                    await self._settler.wait_until_owed()

    def _emit_unwritten(self) -> None:
        jobs = self._ledger.unwritten()
        if jobs or self._ledger.in_doubt is not None:
            self._runtime.events.emit(OutcomesUnwritten(queue=self.queue.name, job_ids=jobs))


async def _run_in(scope: trio.CancelScope, run: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await run()
