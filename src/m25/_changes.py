"""What is to be changed about a pending job, as callers say it."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Final

from ._errors import InvalidJob
from ._job import Job
from ._store.protocol import Change


class Unchanged(enum.Enum):
    """The type of `UNCHANGED`, which says that an argument was not given: `None` is a value."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED


def make_change(scheduled_at: datetime | Unchanged | None, priority: int | Unchanged) -> Change:
    """What the store is to do, of what a caller gave.

    Raises:
        InvalidJob: nothing is to be changed, or a value is not as `Job` has it.
    """
    reschedule = scheduled_at is not UNCHANGED
    if not reschedule and priority is UNCHANGED:
        raise InvalidJob("nothing is to be changed: give scheduled_at=, priority=, or both")
    # A job that is made has its values checked.
    job = Job(
        None,
        scheduled_at=None if isinstance(scheduled_at, Unchanged) else scheduled_at,
        priority=0 if isinstance(priority, Unchanged) else priority,
    )
    return Change(
        reschedule, job.scheduled_at, None if isinstance(priority, Unchanged) else job.priority
    )
