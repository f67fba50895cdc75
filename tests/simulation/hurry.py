"""Histories in which many jobs are due at once, so that workers claim ahead of their slots.

Claims ahead are made where jobs take milliseconds. Those of simulated clusters take seconds, as
faults need time to come between. So in these histories it is as if time passed slowly: what a queue
runs in ten seconds is claimed ahead.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Final
from unittest import mock

from m25._worker import ahead

#: Of each queue, in each process.
SLOTS: Final = 3


def is_hurried(seed: int) -> bool:
    """Whether many jobs are due at once in the history of this seed: in every third, by chance."""
    # Of its own, so that the rest of the history is the same without it.
    return random.Random(f"hurry {seed}").random() < 1 / 3


@contextlib.contextmanager
def in_slow_motion(applies: bool) -> Iterator[None]:
    """Claims ahead are for jobs that take seconds."""
    if not applies:
        yield
        return
    with mock.patch.object(ahead, "_WORK", 10.0), mock.patch.object(ahead, "_SHORTEST_COUNT", 0.2):
        yield
