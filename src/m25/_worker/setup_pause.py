"""After a setup that failed, a queue's process tries none for a while."""

from __future__ import annotations

import math
import random

import trio

from ..pg._backoff import Backoff


class SetupPause:
    """The pauses grow from one failure to the next; a setup that works ends them."""

    def __init__(self, rng: random.Random) -> None:
        self._backoff = Backoff(rng=rng)
        self._over_at = -math.inf

    @property
    def left(self) -> float:
        """How long no setup is to be tried, in seconds; not above 0: one may be tried now."""
        return self._over_at - trio.current_time()

    def failed(self) -> None:
        """A setup has failed."""
        self._over_at = trio.current_time() + self._backoff.failed()

    def worked(self) -> None:
        """A setup has worked."""
        if self._over_at > -math.inf:
            self._backoff.worked()
            self._over_at = -math.inf
