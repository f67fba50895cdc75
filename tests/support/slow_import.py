"""A queue whose process takes long to import this module."""

from __future__ import annotations

import os
import time

import m25
from m25._processes import MARK

#: How long the process takes, in seconds; the program itself takes no time.
TAKES = 1.5

if MARK in os.environ:
    time.sleep(TAKES)


@m25.queue("slow to import", runs="process", max_concurrency=1)
def sleeping(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
