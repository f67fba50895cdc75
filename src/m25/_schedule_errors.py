"""What is raised about schedules."""

from __future__ import annotations

from ._errors import UsageError


class InvalidSchedule(UsageError, ValueError):
    """A schedule cannot be declared like this: an expression, a time zone, an option is none."""
