"""Hints, within one client, that there may be work.

Whoever enqueues, settles, sweeps or hears a notification leaves a hint, and whoever can act on it
acts at once in place of at the next poll. A hint saves time, and nothing is believed from it.
"""

from __future__ import annotations

from .pg._wakeup import Wakeup


class QueueHint:
    """Whether a queue may have work to claim; its manager waits for it."""

    def __init__(self) -> None:
        #: Something may be due.
        self.due = True
        #: Something may be due that lies before where the latest claims have ended.
        self.rewind = False
        #: Lets the manager look again: at this hint, or at whatever else has changed for it.
        self.wakeup = Wakeup()

    def set(self, *, rewind: bool = False) -> None:
        """There may be work; with `rewind`, before where the latest claims have ended."""
        self.due = True
        self.rewind = self.rewind or rewind
        self.wakeup.set()


class Hints:
    """One for each client."""

    def __init__(self) -> None:
        #: By name, the queues that this client runs.
        self.queues: dict[str, QueueHint] = {}
        #: There may be a scheduled job which the latest survey has not seen.
        self.survey = Wakeup()

    def work(self, queue_name: str, *, rewind: bool = False) -> None:
        """A queue may have work; what this client does not run is none of its business."""
        if hint := self.queues.get(queue_name):
            hint.set(rewind=rewind)

    def work_anywhere(self) -> None:
        """Any queue may have work."""
        for hint in self.queues.values():
            hint.set()
