"""What the queues were like a little while ago, as far as anybody has looked."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Final

import attrs

from ._questions import Overview

#: For how long it is remembered, in seconds.
_LENGTH: Final = 600.0
#: No two samples are closer than this.
_STEP: Final = 1.5
_MOST: Final = int(_LENGTH / _STEP) + 1


@attrs.frozen
class Sample:
    """A queue at one time."""

    #: By Trio's clock.
    at: float
    #: How many jobs were due and waited, or ran.
    depth: int
    #: How many attempts had ended within the minute before, and how many of these had failed.
    ended: int
    failed: int
    #: For how long they had waited and run on average, in seconds; `None` where none had ended.
    latency: float | None


class History:
    """Of all queues. What is gone is forgotten."""

    def __init__(self) -> None:
        self._samples = defaultdict[str, deque[Sample]](lambda: deque(maxlen=_MOST))

    def add(self, at: float, seen: Overview) -> None:
        """Keep what was seen."""
        for queue in seen.queues:
            samples = self._samples[queue.name]
            if samples and at - samples[-1].at < _STEP:
                continue
            rate = seen.rates.get(queue.name)
            latency = None if rate is None else (rate.waited + rate.ran).total_seconds()
            ended, failed = (0, 0) if rate is None else (rate.ended, rate.failed)
            samples.append(Sample(at, queue.due + queue.running, ended, failed, latency))
        for name in self._samples.keys() - {queue.name for queue in seen.queues}:
            del self._samples[name]

    def of(self, queue: str, now: float) -> Sequence[Sample]:
        """The samples of a queue, the oldest first."""
        return [each for each in self._samples.get(queue, ()) if now - each.at <= _LENGTH]
