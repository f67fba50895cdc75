"""Says in the database that this worker is there, and by which sessions others can tell.

Whoever finds that these sessions are gone knows that the process is, and need not wait until the
leases of its jobs are over.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import trio

from .._queue import Queue
from .._runtime import Runtime
from .._store.failures import StatementFailed
from .._store.protocol import DeclaredQueue, Worker
from .former_keys import FormerKeys

#: How often it is said again though nothing has changed, in seconds.
_INTERVAL: Final = 30.0
#: Workers that are gone and of which nothing was heard for this long have ended.
_SILENCE: Final = timedelta(minutes=10)
#: How long the goodbye may take, in seconds.
_GOODBYE: Final = 1.0


class Announcer:
    """One for each client that runs queues."""

    def __init__(self, queues: Sequence[Queue[Any, Any, Any]], runtime: Runtime) -> None:
        self._runtime = runtime
        self._former_keys = FormerKeys(runtime)
        #: Set once it was said for the first time.
        self.written = trio.Event()
        #: Why it was not said the latest time, if it was not.
        self.latest_failure: StatementFailed | None = None
        self._worker = Worker(
            id=runtime.worker_id,
            version=_version(),
            queues=[
                DeclaredQueue(
                    queue.name,
                    queue.default_job_timeout,
                    queue.default_max_attempts,
                    queue.on_failure_name,
                    queue.lock_name,
                    None if queue.limit is None else queue.limit.size,
                    None if queue.limit is None else queue.limit.path,
                    None if queue.rate is None else queue.rate.interval,
                    None if queue.rate is None else queue.rate.burst,
                    queue.default_retry_delay,
                    None if queue.fair_by is None else queue.fair_by.path,
                    None if queue.rate is None else queue.rate.path,
                    None if queue.rate is None else queue.rate.cost_path,
                    None if queue.ordered_by is None else queue.ordered_by.split("."),
                    None if queue.ordered_by is None else queue.if_failed == "hold",
                )
                for queue in queues
            ],
        )

    async def run(self) -> None:
        """Announce the worker until cancelled, and say goodbye."""
        tries = self._runtime.tries()
        try:
            while True:
                pause = _INTERVAL
                try:
                    changed = await self._runtime.store.announce(self._worker)
                    self.written.set()
                    # rule: what is held up in vain is let go
                    await self._former_keys.let_go(changed)
                except StatementFailed as failure:
                    self.latest_failure = failure
                    pause = tries.failed(failure)
                else:
                    tries.worked()
                with trio.move_on_after(pause):
                    await self._runtime.hints.announce.wait()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _GOODBYE):
                await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        try:
            await self._runtime.store.dismiss(self._worker.id, _SILENCE)
        except StatementFailed:
            # Others see that its sessions are gone.
            return


def _version() -> str:
    try:
        return version("m25")
    except PackageNotFoundError:
        # It runs from where its source lies.
        return "unknown"
