"""What is raised about schedules."""

from __future__ import annotations

from ._errors import M25Error, UsageError


class InvalidSchedule(UsageError, ValueError):
    """A schedule cannot be declared like this: an expression, a time zone, an option is none."""


class DuplicateSchedule(UsageError):
    """A schedule of this name was already added to the client."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"schedule {name!r} was already added; names of schedules are unique within a database"
        )
        self.name = name


class NoScheduleFound(M25Error):
    """No schedule of this name was ever declared in this database, or added to this client."""

    def __init__(self, name: str, *, is_added: bool = True) -> None:
        hint = (
            "it is written down when a client that has added it is started"
            if is_added
            else "this client has not added it, and only who has knows its jobs"
        )
        super().__init__(f"there is no schedule {name!r}; {hint}")
        self.name = name
