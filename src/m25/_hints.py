"""Hints, within one client, that there may be work, or a job to cancel.

The parts that enqueue, settle, sweep or listen leave a hint; the queue's claimer, or the surveys,
then looks at once instead of at the next poll. A hint only saves time: whether there is work, or a
cancel was asked for, the database alone says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .pg._wakeup import Wakeup

if TYPE_CHECKING:
    from ._store.protocol import NewJob


class QueueHint:
    """Whether a queue may have work to claim; the queue's claimer waits for it."""

    def __init__(self, limiter: str | None = None) -> None:
        #: The name of the queue's limit, if it has one.
        self.limiter = limiter
        #: A job may be due.
        self.due = True
        #: A job may be due that lies before the scan cursor, where the latest claim ended.
        self.rewind = False
        #: The latest survey has found the queue paused: claims would bring nothing.
        self.is_paused = False
        #: Somebody may have paused or resumed the queue since its claimer last looked.
        self.has_changed = False
        #: Set when the claimer is to look again: at this hint, or since a slot is free, outcomes
        #: were written, or the queue is stopping.
        self.wakeup: Wakeup = Wakeup()
        #: Jobs whose cancel somebody may have asked for, by id.
        self.to_cancel: set[str] = set()
        #: Whether any job's cancel may have been asked for: a notification may have been missed.
        self.to_cancel_any = False
        #: Set when there are any.
        self.cancels: Wakeup = Wakeup()
        #: Jobs whose stack somebody may have asked for, by id.
        self.stacks_asked: set[str] = set()
        #: Set when there are any.
        self.stacks: Wakeup = Wakeup()

    @property
    def may_be_paused(self) -> bool:
        """Whether the queue is paused, or may be since the latest look."""
        return self.is_paused or self.has_changed

    def set(self, *, rewind: bool = False) -> None:
        """Say that there may be work; with `rewind`, that it may lie before the scan cursor."""
        self.due = True
        self.rewind = self.rewind or rewind
        self.wakeup.set()


class Hints:
    """One for each client."""

    def __init__(self) -> None:
        #: By name, the queues that this client runs.
        self.queues: dict[str, QueueHint] = {}
        #: Set when there may be a scheduled job that the latest survey has not seen.
        self.survey: Wakeup = Wakeup()
        #: Set when a schedule may have been paused or resumed here.
        self.schedules: Wakeup = Wakeup()
        #: Set when the worker's sessions are others than it last announced.
        self.announce: Wakeup = Wakeup()

    def work(self, queue_name: str, *, rewind: bool = False) -> None:
        """Say that a queue may have work; a queue that this client does not run is ignored."""
        if hint := self.queues.get(queue_name):
            hint.set(rewind=rewind)

    def enqueued(self, jobs: Sequence[NewJob]) -> None:
        """Say that these jobs were put on their queues."""
        if self.queues:
            for name in {job.queue_name for job in jobs}:
                self.work(name)
        for job in jobs:
            if job.scheduled_at is not None:
                self.survey.set()
                break

    def room(self, limiter: str) -> None:
        """Say that a job has ended under a limit: another may run, of any queue that has it."""
        for hint in self.queues.values():
            if hint.limiter == limiter:
                hint.set()

    def queue_changed(self, queue_name: str) -> None:
        """Say that somebody may have paused or resumed a queue: one claim, and a survey, find out.

        A queue that this client does not run is ignored.
        """
        if hint := self.queues.get(queue_name):
            hint.is_paused = False
            hint.has_changed = True
            hint.set(rewind=True)
            self.survey.set()

    def paused(self, queue_name: str) -> None:
        """Say that a queue is paused: it is not to be claimed from until it has changed again."""
        if hint := self.queues.get(queue_name):
            hint.is_paused = True
            hint.wakeup.set()

    def cancel(self, queue_name: str, job_id: str) -> None:
        """Say that somebody may have asked for the cancel of a job."""
        if hint := self.queues.get(queue_name):
            hint.to_cancel.add(job_id)
            hint.cancels.set()

    def ask_for_stack(self, queue_name: str, job_id: str) -> None:
        """Say that somebody may have asked where the handler of a job waits."""
        if hint := self.queues.get(queue_name):
            hint.stacks_asked.add(job_id)
            hint.stacks.set()

    def cancel_anywhere(self) -> None:
        """Say that the cancel of any job may have been asked for."""
        for hint in self.queues.values():
            hint.to_cancel_any = True
            hint.cancels.set()

    def work_anywhere(self) -> None:
        """Say that any queue may have work."""
        for hint in self.queues.values():
            hint.set()
