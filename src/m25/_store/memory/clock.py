"""The clock of a store in memory."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import trio

from .rows import MICROSECOND, SECOND, UNIX_EPOCH


class Clock:
    """It stands at `epoch` when it is first looked at, and runs as Trio's does, a mock one too."""

    def __init__(self, epoch: datetime) -> None:
        self._epoch = (epoch - UNIX_EPOCH) // MICROSECOND
        #: What Trio's clock showed at `epoch`.
        self._origin = math.nan

    def now(self) -> int:
        """What it shows, in microseconds since the epoch of Unix."""
        now = trio.current_time()
        if math.isnan(self._origin):
            self._origin = now
        return self._epoch + round((now - self._origin) * SECOND)

    def move(self, by: timedelta) -> None:
        """Set it forward, or back."""
        self.now()
        self._epoch += by // MICROSECOND
