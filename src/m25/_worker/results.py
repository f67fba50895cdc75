"""What becomes of a job whose executor has ended: what the ledger owes of it, and the event."""

from __future__ import annotations

from typing import Any

import attrs

from .._events import JobReleased, JobSetAside, JobSnoozed
from .._queue import Queue
from .._runtime import Runtime
from .._store.protocol import Outcome, Release, SetAside
from .._timestamps import duration_to_text, timestamp_from_text
from .endings import InDoubt, LeftToNewer, Snoozed, Unfinished
from .environment import Environment
from .executor import Executor
from .ledger import Ledger, Owed
from .newer import NewerInputs
from .setup_pause import SetupPause


@attrs.frozen
class Results:
    """One for each claimer."""

    queue: Queue[Any, Any, Any]
    runtime: Runtime
    ledger: Ledger
    environment: Environment
    setup_pause: SetupPause
    newer: NewerInputs

    def take(self, executor: Executor, *, is_stopping: bool) -> None:
        """Have the result of a job written."""
        result, children_of = executor.result, executor.children_of
        ledger, events = self.ledger, self.runtime.events
        if executor.row.unknown_since is not None:
            self.newer.ran(executor.row, result)
        if isinstance(result, Outcome):
            owed = Owed(result, executor.row, self.queue.retry)
            ledger.owe(owed.with_children_of(children_of))
            if executor.setup_failed:
                self.setup_pause.failed()
            else:
                self.setup_pause.worked()
        elif isinstance(result, SetAside):
            ledger.owe_release(Release(*executor.job, set_aside=result, children_of=children_of))
            self.setup_pause.worked()
            until = timestamp_from_text(result.until).isoformat()
            events.emit(JobSetAside(until=until, awaits=result.awaits, **executor.facts))
        elif isinstance(result, Snoozed):
            delay = duration_to_text(result.delay)
            ledger.owe_release(Release(*executor.job, delay=delay, children_of=children_of))
            self.setup_pause.worked()
            events.emit(JobSnoozed(seconds=result.delay.total_seconds(), **executor.facts))
        elif isinstance(result, LeftToNewer):
            # rule: what is newer is left to newer workers
            ledger.owe_release(self.newer.release(executor, result))
        elif isinstance(result, InDoubt):
            # rule: a commit in doubt is released
            ledger.owe_release(Release(*executor.job, session_lost=True))
            ledger.commits_in_doubt[executor.job] = result
        elif result is Unfinished.COMMITTED:
            if self.queue.makes_room and self.queue.lock_name is not None:
                self.runtime.hints.room(self.queue.lock_name)
        elif result is not Unfinished.FENCED:
            lost = result is Unfinished.LOST_CONNECTION
            release = Release(*executor.job, setup_failed=executor.setup_failed, session_lost=lost)
            # rule: what is cut short is released
            ledger.owe_release(release._replace(children_of=children_of))
            if executor.setup_failed:
                self.setup_pause.failed()
            elif result is Unfinished.CUT_SHORT:
                why_cut_short = self.environment.why_cut_short
                reason = "its queue is stopping" if is_stopping else why_cut_short
                events.emit(JobReleased(reason=reason, **executor.facts))
            elif result in (Unfinished.TOO_LATE, Unfinished.LOST_CONNECTION):
                events.emit(JobReleased(reason=result.value, **executor.facts))
