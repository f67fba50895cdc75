"""What the log says of a database that goes away: when it went, now and then that it is still away,
and when it is back; however many calls fail meanwhile."""

from __future__ import annotations

import logging
import math
from typing import Final

import trio

from ._store.failures import brief

_logger = logging.getLogger("m25.database")

_FIRST_REMINDER: Final = 10.0  # seconds
_LONGEST_REMINDER: Final = 300.0  # seconds
#: Calls that fail within so many seconds after others were answered belong to the same health: some
#: kind of call may fail all the time while others work.
_PEACE: Final = 10.0


class DatabaseHealth:
    """One for each client: all that use the database tell it how they fared."""

    def __init__(self) -> None:
        self._failing = False
        self._began = -math.inf
        self._answered_at = -math.inf
        self._failures = 0
        self._reminder = _FIRST_REMINDER
        self._remind_at = 0.0
        #: Whether the log says, so far, that the database is away.
        self._said = False

    def failed(self, error: Exception) -> None:
        """A call failed, and will be repeated."""
        now = trio.current_time()
        if not self._failing and now - self._answered_at >= _PEACE:
            self._began = now
            self._failures = 0
            self._reminder = _FIRST_REMINDER
            self._remind_at = now + self._reminder
            self._said = True
            _logger.warning("database call failed; will be repeated", extra={"error": brief(error)})
        elif now >= self._remind_at:
            self._reminder = min(self._reminder * 2, _LONGEST_REMINDER)
            self._remind_at = now + self._reminder
            self._said = True
            _logger.warning(
                "database calls still fail",
                extra={
                    "error": brief(error),
                    "failures": self._failures,
                    "seconds": now - self._began,
                },
            )
        self._failing = True
        self._failures += 1

    def worked(self) -> None:
        """A call was answered."""
        if self._failing:
            self._failing = False
            self._answered_at = trio.current_time()
            if self._said:
                self._said = False
                _logger.info(
                    "database answers again",
                    extra={
                        "failures": self._failures,
                        "seconds": self._answered_at - self._began,
                    },
                )
