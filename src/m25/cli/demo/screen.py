"""How the demo is shown: what a screen is, and the one of plain lines."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import attrs
import trio

from m25 import JobStatus

from .account import Line

#: The least time between two plain lines of counts, in seconds.
_PLAIN_INTERVAL: Final = 2.0

#: The statuses, in the order of a job's life.
STATUSES: Final = tuple(status.value for status in JobStatus)


@attrs.frozen
class View:
    """How the queues stand."""

    #: How many jobs are in which status, by queue.
    counts: Mapping[str, Counter[str]]
    #: Each worker, and its state.
    workers: Sequence[str]
    #: How many files there are to read.
    files: int

    @property
    def files_done(self) -> int:
        """How many files were read, or could not be."""
        counts = self.counts.get("sources", Counter[str]())
        return counts["succeeded"] + counts["failed"]


class Screen(Protocol):
    """Where the demo is shown."""

    def say(self, event: str) -> None:
        """Show an event."""

    def show(self, view: View) -> None:
        """Show how the queues stand."""

    def account(self, lines: Sequence[Line]) -> None:
        """Show the account."""


class Clock:
    """Seconds since the beginning."""

    def __init__(self) -> None:
        self._began = trio.current_time()

    def __str__(self) -> str:
        return f"{trio.current_time() - self._began:5.1f} s"


class PlainScreen:
    """Lines, for a log or a pipe."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._show_at = 0.0
        self._shown = View({}, (), 0)

    def say(self, event: str) -> None:
        """Show an event."""
        sys.stdout.write(f"{self._clock}  {event}\n")
        sys.stdout.flush()

    def show(self, view: View) -> None:
        """Show how the queues stand, now and then."""
        if view.counts and view != self._shown and trio.current_time() >= self._show_at:
            self._show_at = trio.current_time() + _PLAIN_INTERVAL
            self._shown = view
            queues = [
                f"{queue}: " + ", ".join(f"{counts[s]} {s}" for s in STATUSES if counts[s])
                for queue, counts in view.counts.items()
            ]
            self.say("; ".join([f"{view.files_done} of {view.files} files", *queues]))

    def account(self, lines: Sequence[Line]) -> None:
        """Show the account as a table."""
        rows = [("act", "what the rows say", "expected", "found", "")]
        rows += [
            (line.act, line.what, str(line.expected), str(line.found), verdict(line))
            for line in lines
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        sys.stdout.write("\n")
        for act, what, expected, found, right in rows:
            sys.stdout.write(
                f"{act:{widths[0]}}  {what:{widths[1]}}  {expected:>{widths[2]}}  "
                f"{found:>{widths[3]}}  {right}\n"
            )
        sys.stdout.write("\n")


def verdict(line: Line) -> str:
    """Whether a line is right, in a word."""
    return "ok" if line.is_right else "WRONG"
