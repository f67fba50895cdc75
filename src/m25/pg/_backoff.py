"""Waits between tries: they double, and differ at random, so that a thousand clients of a server
that is back do not come at once.
"""

from __future__ import annotations

import random


class Backoff:
    """How long to wait before the next try of one thing that failed.

    Args:
        first: the wait after the first failure, in seconds.
        longest: the longest wait, in seconds.
        rng: spreads each wait over its upper half; give a seeded one to have the same waits again.
    """

    def __init__(
        self, first: float = 0.1, longest: float = 2.5, rng: random.Random | None = None
    ) -> None:
        self._first = first
        self._longest = longest
        self._rng = rng or random.Random()  # noqa: S311 - it spreads load
        #: Failures in a row, up to now.
        self.failures = 0

    def failed(self) -> float:
        """Count a failure; return how long to wait before the next try, in seconds.

        The wait doubles with each failure in a row, up to `longest`, and is spread over its upper
        half, so that those who failed together do not come back together.
        """
        self.failures += 1
        # A float has an end: two to the power of thousands of failures would be beyond it.
        doublings = min(self.failures - 1, 64)
        return min(self._first * 2.0**doublings, self._longest) * self._rng.uniform(0.5, 1.0)

    def worked(self) -> None:
        """The next failure is the first one again."""
        self.failures = 0
