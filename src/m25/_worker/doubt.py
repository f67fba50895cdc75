"""Makes sure of jobs that have begun although their claim is in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import trio

from .._queue import Queue
from .._runtime import Runtime
from .._store.protocol import ClaimedJob
from ..pg._backoff import Backoff
from .ledger import Ledger

#: How long a claim in doubt is made sure of while somebody has some of its rows locked, in seconds:
#: the queue's claims, and the results of the other rows, wait for it.
_LONGEST_CONFIRMATION: Final = 1.0


async def confirm(
    begun: Sequence[ClaimedJob], queue: Queue[Any, Any, Any], runtime: Runtime, ledger: Ledger
) -> None:
    """Confirm the jobs that have begun, and fence those that are not ours.

    A row that stays locked may be ours or not. Its job is fenced, too: its lease ends it.

    Raises:
        StatementFailed: the database did not answer.
    """
    running = ledger.running
    backoff = Backoff(rng=runtime.rng)
    give_up_at = trio.current_time() + _LONGEST_CONFIRMATION
    while True:
        answer = await runtime.store.confirm(begun, queue.lease)
        locked = answer.locked if trio.current_time() < give_up_at else frozenset[str]()
        for job in begun:
            if job in running and job.id not in answer.ids and job.id not in locked:
                running[job].fence()
        begun = [job for job in begun if job.id in locked]
        if not begun:
            return
        await trio.sleep(backoff.failed())
