"""What becomes of a job whose key another one was the last to take: one rule for both stores."""

from __future__ import annotations

import enum
from typing import NamedTuple

from .._lifecycle import FINAL, JobStatus
from .columns import JobRow
from .protocol import UniqueJob


class Taker(NamedTuple):
    """The job that was the last to take a key."""

    #: That of its first attempt.
    id: str
    #: Whether it still holds the key.
    is_held: bool
    #: Its latest attempt; `None` where it was deleted.
    row: JobRow | None

    @property
    def has_begun(self) -> bool:
        """Whether any attempt of it was ever claimed, or none will be: it stays as it is."""
        row = self.row
        return row is None or row.has_begun is not False or row.status != JobStatus.PENDING.value

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self.row is not None and JobStatus(self.row.status) not in FINAL


class Decision(enum.Enum):
    """What is to be done with a new job."""

    #: It takes the key.
    INSERT = enum.auto()
    REFUSE = enum.auto()
    #: The other job is what the caller gets.
    RETURN = enum.auto()
    #: It takes the place of the other job, which has not begun.
    REPLACE = enum.auto()
    #: It takes the key, and is run after the other job.
    FOLLOW = enum.auto()


def decide(new: UniqueJob, taker: Taker) -> Decision:
    """What is to be done with a job whose key another one was the last to take."""
    if new.then == "rerun_after" and taker.has_begun and taker.is_live:
        # rule: a job that runs is followed by one more
        return Decision.FOLLOW
    if not taker.is_held:
        return Decision.INSERT
    match new.then:
        case "return" if taker.row is not None:
            return Decision.RETURN
        case "replace" | "debounce" | "rerun_after" if not taker.has_begun:
            return Decision.REPLACE
        case _:
            return Decision.REFUSE
